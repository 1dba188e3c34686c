package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/stats"
	"tare/store"
)

// PodSandboxStats tells what a pod sandbox and its running containers use.
func (s *Server) PodSandboxStats(_ context.Context, r *runtime.PodSandboxStatsRequest) (*runtime.PodSandboxStatsResponse, error) {
	p, err := s.deps.Store.ResolvePod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	return &runtime.PodSandboxStatsResponse{Stats: s.podStats(p)}, nil
}

func (s *Server) podStats(p *store.Pod) *runtime.PodSandboxStats {
	return wirePodStats(s.deps.Stats.Pod(p, stats.Basic))
}

func wirePodStats(p stats.Pod) *runtime.PodSandboxStats {
	linux := &runtime.LinuxPodSandboxStats{
		Cpu: wireCPU(p.Usage, p.NanoCores), Memory: wireMemory(p.Usage), Network: wireTraffic(p),
		Process: &runtime.ProcessUsage{Timestamp: spec.Nanos(p.Time), ProcessCount: number(p.Processes)},
		Io:      &runtime.IoUsage{Timestamp: spec.Nanos(p.Usage.Time), Psi: wirePressure(p.Usage.IOPressure)},
	}
	for _, c := range p.Containers {
		linux.Containers = append(linux.Containers, wireContainerStats(c))
	}
	return &runtime.PodSandboxStats{
		Attributes: &runtime.PodSandboxAttributes{
			Id: string(p.Record.ID), Metadata: wirePodMetadata(&p.Record.Spec),
			Labels: p.Record.Spec.Labels, Annotations: p.Record.Spec.Annotations,
		},
		Linux: linux,
	}
}

// defaultInterface is what runtimes call a pod's interface, CNI's CNI_IFNAME.
const defaultInterface = "eth0"

// wireTraffic converts network counters. A pod in the host's network has none of its own, nor does
// one that is not connected yet or any more: kubelets end with a panic when usage comes without a
// default interface (addCRIPodNetworkStats in pkg/kubelet/stats).
func wireTraffic(p stats.Pod) *runtime.NetworkUsage {
	out := &runtime.NetworkUsage{Timestamp: spec.Nanos(p.Time)}
	for _, i := range p.Network {
		usage := &runtime.NetworkInterfaceUsage{
			Name: i.Name, RxBytes: number(i.Rx.Bytes), RxErrors: number(i.Rx.Errors),
			TxBytes: number(i.Tx.Bytes), TxErrors: number(i.Tx.Errors),
		}
		if i.Name == defaultInterface {
			out.DefaultInterface = usage
		} else {
			out.Interfaces = append(out.Interfaces, usage)
		}
	}
	if out.DefaultInterface == nil {
		return nil
	}
	return out
}
