package nri

import (
	"maps"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
	"tare/store"
)

// wirePod is a pod as plugins see it.
func wirePod(p *store.Pod) *adaptation.PodSandbox {
	out := &adaptation.PodSandbox{
		Id: string(p.ID), Name: p.Spec.Name, Uid: p.Spec.UID, Namespace: p.Spec.Namespace,
		Labels: p.Spec.Labels, Annotations: p.Spec.Annotations, RuntimeHandler: p.Handler,
		Linux: &adaptation.LinuxPodSandbox{
			CgroupParent: p.Spec.CgroupParent, CgroupsPath: p.CgroupPath,
			PodOverhead: wireResources(p.Spec.Overhead), PodResources: wireResources(p.Spec.Resources),
		},
	}
	for _, ip := range p.IPs {
		out.Ips = append(out.Ips, ip.String())
	}
	if p.NetNS != "" {
		out.Linux.Namespaces = []*adaptation.LinuxNamespace{{Type: "network", Path: p.NetNS}}
	}
	return out
}

var states = map[store.ContainerState]adaptation.ContainerState{
	store.ContainerCreated:  adaptation.ContainerState_CONTAINER_CREATED,
	store.ContainerStarting: adaptation.ContainerState_CONTAINER_CREATED,
	store.ContainerRunning:  adaptation.ContainerState_CONTAINER_RUNNING,
	store.ContainerExited:   adaptation.ContainerState_CONTAINER_STOPPED,
	store.ContainerRemoving: adaptation.ContainerState_CONTAINER_STOPPED,
}

// wireContainer is a container as plugins see it. The library changes it while it asks one after the other: the maps are
// its own.
func wireContainer(c *store.Container) *adaptation.Container {
	out := &adaptation.Container{
		Id: string(c.ID), PodSandboxId: string(c.Pod), Name: c.Spec.Name, State: states[c.State],
		Labels: c.Spec.Labels, Annotations: maps.Clone(c.OCI.Annotations), Args: c.OCI.Process.Args, Env: texts(c.OCI.Process.Env),
		Mounts: api.FromOCIMounts(c.OCI.Mounts), Hooks: api.FromOCIHooks(c.OCI.Hooks), Pid: uint32(c.Pid),
		CreatedAt: spec.Nanos(c.CreatedAt), StartedAt: spec.Nanos(c.StartedAt), FinishedAt: spec.Nanos(c.FinishedAt),
		ExitCode: c.ExitCode, StatusReason: c.Reason, StatusMessage: c.Message,
		User:  &adaptation.User{Uid: c.User.UID, Gid: c.User.GID, AdditionalGids: c.User.Groups},
		Image: &adaptation.Image{Name: c.ImageName, Digest: digest(c.ImageRef), ConfigDigest: string(c.Image)},
		Linux: &adaptation.LinuxContainer{
			Namespaces:  api.FromOCILinuxNamespaces(c.OCI.Linux.Namespaces),
			Devices:     api.FromOCILinuxDevices(c.OCI.Linux.Devices),
			Resources:   api.FromOCILinuxResources(c.OCI.Linux.Resources, nil),
			OomScoreAdj: api.Int(c.OCI.Process.OOMScoreAdj),
			CgroupsPath: c.CgroupPath,
			IoPriority:  api.FromOCILinuxIOPriority(c.OCI.Process.IOPriority),
			NetDevices:  api.FromOCILinuxNetDevices(c.OCI.Linux.NetDevices),
			Sysctl:      maps.Clone(c.OCI.Linux.Sysctl),
			Scheduler:   api.FromOCILinuxScheduler(c.OCI.Process.Scheduler),
			SeccompProfile: &adaptation.SecurityProfile{
				ProfileType: profiles[c.Spec.Security.Seccomp.Kind], LocalhostRef: c.Spec.Security.Seccomp.Name,
			},
		},
	}
	if p := c.OCI.Linux.Seccomp; p != nil {
		out.Linux.SeccompPolicy = api.FromOCILinuxSeccomp(p)
	}
	for _, l := range c.OCI.Process.Rlimits {
		out.Rlimits = append(out.Rlimits, &adaptation.POSIXRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard})
	}
	for _, name := range c.Spec.CDIDevices {
		out.CDIDevices = append(out.CDIDevices, &adaptation.CDIDevice{Name: name})
	}
	return out
}

// digest is that of a digest reference; of an image that has none, there is none but its configuration's.
func digest(ref string) string {
	_, digest, _ := strings.Cut(ref, "@")
	return digest
}

// texts are variables whose values may be no text, as strings of messages have to be. The list is the caller's own.
func texts(env []string) []string {
	out := slices.Clone(env)
	for i := range out {
		out[i] = strings.ToValidUTF8(out[i], "\uFFFD")
	}
	return out
}

// wireResources is what a request asks for, nothing where it does not.
func wireResources(r *spec.Resources) *adaptation.LinuxResources {
	if r == nil {
		return nil
	}
	out := &adaptation.LinuxResources{
		Cpu:     &adaptation.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems},
		Memory:  &adaptation.LinuxMemory{},
		Unified: maps.Clone(r.Unified),
	}
	if r.CPUPeriod != 0 {
		out.Cpu.Period = api.UInt64(r.CPUPeriod)
	}
	if r.CPUQuota != 0 {
		out.Cpu.Quota = api.Int64(r.CPUQuota)
	}
	if r.CPUShares != 0 {
		out.Cpu.Shares = api.UInt64(r.CPUShares)
	}
	if r.Memory != 0 {
		out.Memory.Limit = api.Int64(r.Memory)
	}
	if r.MemorySwap != 0 {
		out.Memory.Swap = api.Int64(r.MemorySwap)
	}
	if r.MemoryReservation != 0 {
		out.Memory.Reservation = api.Int64(r.MemoryReservation)
	}
	if r.Pids != 0 {
		out.Pids = &api.LinuxPids{Limit: r.Pids}
	}
	for _, h := range r.Hugepages {
		out.HugepageLimits = append(out.HugepageLimits, &adaptation.HugepageLimit{PageSize: h.PageSize, Limit: h.Limit})
	}
	return out
}

// rlimit is a plugin's limit in the runtime specification's terms.
func rlimit(l *adaptation.POSIXRlimit) specs.POSIXRlimit {
	return specs.POSIXRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard}
}

var profiles = map[spec.ProfileKind]api.SecurityProfile_ProfileType{
	spec.ProfileUnset:          adaptation.SecurityProfile_UNCONFINED,
	spec.ProfileRuntimeDefault: adaptation.SecurityProfile_RUNTIME_DEFAULT,
	spec.ProfileUnconfined:     adaptation.SecurityProfile_UNCONFINED,
	spec.ProfileLocalhost:      adaptation.SecurityProfile_LOCALHOST,
}

// seccompPolicy is a plugin's policy in the runtime specification's terms.
func seccompPolicy(p *adaptation.LinuxSeccomp) *specs.LinuxSeccomp {
	if p == nil {
		return nil
	}
	out := &specs.LinuxSeccomp{
		DefaultAction: specs.LinuxSeccompAction(p.DefaultAction), ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata,
		Syscalls: api.ToOCILinuxSyscalls(p.Syscalls),
	}
	if p.DefaultErrno != nil {
		out.DefaultErrnoRet = new(uint(p.DefaultErrno.Value))
	}
	for _, a := range p.Architectures {
		out.Architectures = append(out.Architectures, specs.Arch(a))
	}
	for _, f := range p.Flags {
		out.Flags = append(out.Flags, specs.LinuxSeccompFlag(f))
	}
	return out
}
