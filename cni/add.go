package cni

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"tare/crash"
	"tare/spec"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Add attaches a pod to the network by the configuration in force. On error nothing is left
// of it, or is being removed behind. Ending ctx kills the plugin that runs and undoes.
//
// Errors: ErrInvalidArgument names a field of p; ErrFailedPrecondition: no usable configuration,
// a plugin that is not installed, a host port that is taken; ErrResourceExhausted: no address is
// free; ErrUnavailable: the plugin asks to try later; context.DeadlineExceeded: it hung.
func (n *Network) Add(ctx context.Context, p Pod) (Result, error) {
	list, err := n.conf.current()
	if err != nil {
		return Result{}, err
	}
	rec, err := n.plan(p, list)
	if err != nil {
		return Result{}, err
	}
	defer n.busy.Lock(p.ID)()
	n.gate.RLock()
	defer n.gate.RUnlock()
	if old, err := n.recordOf(p.ID); err != nil {
		return Result{}, err
	} else if old != nil {
		return Result{}, fmt.Errorf("pod has a network already: %w", errdefs.ErrAlreadyExists)
	}
	if err := n.records.write(rec); err != nil {
		return Result{}, err
	}
	crash.Point("network-add.recorded")
	answer, err := n.libcni.AddNetworkList(ctx, list, rec.runtimeConf())
	crash.Point("network-add.added")
	var result Result
	if err == nil {
		result, err = readResult(answer, list.Name)
	}
	if err != nil {
		n.abandon(ctx, rec)
		return Result{}, fmt.Errorf("network %s: %w", list.Name, err)
	}
	return result, nil
}

// plan is everything that is known before a plugin runs.
func (n *Network) plan(p Pod, list *libcni.NetworkConfigList) (*record, error) {
	if p.ID == "" || p.NetNS == "" {
		return nil, fmt.Errorf("pod id %q, network namespace %q: both are needed: %w", p.ID, p.NetNS, errdefs.ErrInvalidArgument)
	}
	args, err := args(p)
	if err != nil {
		return nil, err
	}
	cidrs, err := readPodCIDRs(n.opts.DataDir)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(p, cidrs)
	if err != nil {
		return nil, err
	}
	return &record{Pod: p.ID, NetNS: p.NetNS, Config: list.Bytes, Args: args, Capabilities: caps}, nil
}

// abandon undoes an ADD that failed, now or behind. Preconditions: the pod's lock is held.
func (n *Network) abandon(ctx context.Context, rec *record) {
	undo, cancel := undoContext(ctx, n.opts.Timeout)
	defer cancel()
	if err := n.detach(undo, rec); err != nil {
		n.log.Warn("network DEL after a failed ADD failed, will be retried", "pod", rec.Pod, "err", err)
		n.giveToRetry(rec.Pod)
	}
}

// giveToRetry has the attachment's DEL repeated until it succeeds, and swept by the next GC.
func (n *Network) giveToRetry(id spec.PodID) {
	n.mu.Lock()
	n.suspect[id] = struct{}{}
	n.mu.Unlock()
	n.retry.add(id)
}

// readResult takes the pod's addresses out of ADD's answer.
func readResult(answer types.Result, network string) (Result, error) {
	r, err := types100.GetResult(answer)
	if err != nil {
		return Result{}, fmt.Errorf("read ADD's result: %w", err)
	}
	result := Result{Interface: interfaceName, Network: network}
	for _, ip := range r.IPs {
		if ip.Interface != nil && !ofPod(r.Interfaces, *ip.Interface) {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			result.IPs = append(result.IPs, a.Unmap())
		}
	}
	if len(result.IPs) == 0 {
		return Result{}, fmt.Errorf("ADD's result has no address for %s", interfaceName)
	}
	return result, nil
}

// ofPod says whether the interface at this index is the pod's. Results before 1.0 may leave the
// sandbox out.
func ofPod(interfaces []*types100.Interface, index int) bool {
	if index < 0 || index >= len(interfaces) {
		return false
	}
	i := interfaces[index]
	named := slices.ContainsFunc(interfaces, func(i *types100.Interface) bool { return i.Sandbox != "" })
	return i.Name == interfaceName && (i.Sandbox != "" || !named)
}
