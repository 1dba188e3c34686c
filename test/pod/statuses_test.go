package pod

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podComplete holds a pod's status to what kubelets refuse to go without (k8s.io/cri-client,
// verifySandboxStatus).
func podComplete(s *runtime.PodSandboxStatus) error {
	m := s.GetMetadata()
	if s.GetId() == "" || m.GetName() == "" || m.GetNamespace() == "" || m.GetUid() == "" || s.GetCreatedAt() <= 0 {
		return fmt.Errorf("id, metadata or time of a pod is missing: %v", s)
	}
	if s.Network == nil || s.Linux.GetNamespaces().GetOptions() == nil || s.RuntimeHandler != "" && s.RuntimeHandler != "tare" {
		return fmt.Errorf("network, namespaces or handler of a pod: %v", s)
	}
	return nil
}

// ctrComplete is the same of a container (verifyContainerStatus), and that its times come in order.
func ctrComplete(s *runtime.ContainerStatus) error {
	if s.GetId() == "" || s.GetMetadata().GetName() == "" || s.GetCreatedAt() <= 0 || s.GetImage().GetImage() == "" || s.GetImageRef() == "" || s.GetImageId() == "" {
		return fmt.Errorf("id, metadata, time or image of a container is missing: %v", s)
	}
	if s.GetUser().GetLinux() == nil || s.GetResources().GetLinux() == nil || s.LogPath == "" || s.StopSignal == 0 {
		return fmt.Errorf("user, resources, log or stop signal of a container is missing: %v", s)
	}
	started, finished := s.StartedAt, s.FinishedAt
	switch s.State {
	case runtime.ContainerState_CONTAINER_CREATED:
		if started != 0 || finished != 0 || s.Reason != "" {
			return fmt.Errorf("created: %v", s)
		}
	case runtime.ContainerState_CONTAINER_RUNNING:
		if started < s.CreatedAt || finished != 0 || s.Reason != "" {
			return fmt.Errorf("running: %v", s)
		}
	case runtime.ContainerState_CONTAINER_EXITED:
		if finished < started || finished < s.CreatedAt || s.Reason == "" {
			return fmt.Errorf("exited: %v", s)
		}
	default:
		return fmt.Errorf("state %s", s.State)
	}
	return nil
}

// TestStatusesAreComplete looks at pods and containers in every state, by every call that shows them.
func TestStatusesAreComplete(t *testing.T) {
	leavesNothing(t, suite.shared)
	events := subscribe(t, suite.shared)
	inNode := podNamespaces(func(n *runtime.NamespaceOption) { n.Network = runtime.NamespaceMode_NODE })
	p, node := suite.shared.runPod(t), suite.shared.runPod(t, inNode, func(c *runtime.PodSandboxConfig) { c.Hostname = "" })
	failed := p.create(command("/no/such/program"))
	if err := failed.tryStart(); err == nil {
		t.Error("a program that is not there was started")
	}
	ended := p.start(script("exit 3"))
	ended.finish()
	all := []*ctr{p.create(sleeper), p.start(sleeper), failed, ended, node.start(sleeper)}
	check := func(when string) {
		t.Helper()
		for _, c := range all {
			if err := ctrComplete(c.status()); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		for _, p := range []*pod{p, node} {
			before := time.Now().UnixNano()
			resp, err := p.runtime.PodSandboxStatus(deadline(t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id})
			if err == nil {
				err = podComplete(resp.Status)
			}
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if resp.Timestamp < before || resp.Timestamp > time.Now().UnixNano() || len(resp.Info) != 0 {
				t.Errorf("%s: timestamp %d, info %v", when, resp.Timestamp, resp.Info)
			}
			var got, want []string
			for _, s := range resp.ContainersStatuses {
				got = append(got, s.Id)
				if err := ctrComplete(s); err != nil {
					t.Errorf("%s: in the pod's: %v", when, err)
				}
			}
			for _, c := range all {
				if c.pod == p {
					want = append(want, c.id)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: containers %q, want %q", when, got, want)
			}
		}
	}
	check("ready")
	for _, p := range []*pod{p, node} {
		if _, err := p.runtime.StopPodSandbox(deadline(t), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Fatal(err)
		}
		if got := p.status().State; got != runtime.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("a stopped pod is %s", got)
		}
	}
	check("stopped")
	for stopped := 0; stopped < 2; {
		e, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		id := e.PodSandboxStatus.GetId()
		if id != p.id && id != node.id {
			continue
		}
		err = podComplete(e.PodSandboxStatus)
		for _, s := range e.ContainersStatuses {
			err = errors.Join(err, ctrComplete(s))
		}
		if err != nil || e.CreatedAt <= 0 {
			t.Errorf("event %s: at %d, %v", e.ContainerEventType, e.CreatedAt, err)
		}
		if e.ContainerId == id && e.ContainerEventType == runtime.ContainerEventType_CONTAINER_STOPPED_EVENT {
			stopped++
		}
	}
}

// TestRuntimeCalls are the calls about the runtime itself.
func TestRuntimeCalls(t *testing.T) {
	leavesNothing(t, suite.shared)
	r, ctx := suite.shared.runtime, deadline(t)
	version, err := r.Version(ctx, &runtime.VersionRequest{Version: "0.1.0"})
	// Kubelets refuse any other version, and empty names (kuberuntime, validate of its versions).
	if err != nil || version.Version != "0.1.0" || version.RuntimeName == "" || version.RuntimeVersion == "" || version.RuntimeApiVersion != "v1" {
		t.Errorf("%v, %v", version, err)
	}
	config, err := r.RuntimeConfig(ctx, &runtime.RuntimeConfigRequest{})
	if err != nil || config.Linux == nil || config.Linux.CgroupDriver != runtime.CgroupDriver_CGROUPFS {
		t.Errorf("%v, %v: this daemon is configured for cgroupfs", config, err)
	}
	for _, verbose := range []bool{false, true} {
		s, err := r.Status(ctx, &runtime.StatusRequest{Verbose: verbose})
		if err != nil {
			t.Fatal(err)
		}
		conditions := map[string]bool{}
		for _, c := range s.Status.Conditions {
			conditions[c.Type] = c.Status
		}
		if !conditions["RuntimeReady"] || !conditions["NetworkReady"] {
			t.Errorf("%v", s.Status)
		}
		if (len(s.Info) > 0) != verbose {
			t.Errorf("verbose %t: info %v", verbose, s.Info)
		}
	}
}

// TestRuntimeConfigRefusals: address ranges that are none change nothing.
func TestRuntimeConfigRefusals(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, cidr := range []string{"10.0.0.0", "10.0.0.0/33", "10.1.0.0/16,10.2.0.0/16", "10.1.0.0/16,", "all"} {
		_, err := suite.shared.runtime.UpdateRuntimeConfig(deadline(t), &runtime.UpdateRuntimeConfigRequest{
			RuntimeConfig: &runtime.RuntimeConfig{NetworkConfig: &runtime.NetworkConfig{PodCidr: cidr}},
		})
		refused(t, err, codes.InvalidArgument, "runtime_config.network_config.pod_cidr")
	}
	for _, none := range []*runtime.UpdateRuntimeConfigRequest{{}, {RuntimeConfig: &runtime.RuntimeConfig{NetworkConfig: &runtime.NetworkConfig{}}}} {
		if _, err := suite.shared.runtime.UpdateRuntimeConfig(deadline(t), none); err != nil {
			t.Errorf("%v: %v", none, err)
		}
	}
	if ip := suite.shared.runPod(t).ip(); !strings.HasPrefix(ip, "10.201.") {
		t.Errorf("a pod has %s: the range of the configuration is no more", ip)
	}
}

// TestUpdatePodResources records what the kubelet says of a pod, all or nothing.
func TestUpdatePodResources(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) {
		c.Linux.Resources = &runtime.LinuxContainerResources{CpuShares: 11, MemoryLimitInBytes: 1 << 30}
		c.Linux.Overhead = &runtime.LinuxContainerResources{CpuShares: 12}
	})
	ask := func(r *runtime.UpdatePodSandboxResourcesRequest) error {
		_, err := p.runtime.UpdatePodSandboxResources(deadline(t), r)
		return err
	}
	recorded := func(words ...string) {
		t.Helper()
		resp, err := p.runtime.PodSandboxStatus(deadline(t), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if !strings.Contains(resp.Info["info"], word) {
				t.Errorf("no %s in %s", word, resp.Info["info"])
			}
		}
	}
	type res = runtime.LinuxContainerResources
	type request = runtime.UpdatePodSandboxResourcesRequest
	recorded(`"CPUShares":11`, `"Memory":1073741824`, `"CPUShares":12`)
	if err := ask(&request{PodSandboxId: p.id, Resources: &res{CpuShares: 21, MemoryLimitInBytes: 1 << 31}}); err != nil {
		t.Error(err)
	}
	recorded(`"CPUShares":21`, `"Memory":2147483648`, `"CPUShares":12`)
	if err := ask(&request{PodSandboxId: prefix(p.id), Overhead: &res{CpuShares: 22}}); err != nil {
		t.Error(err)
	}
	refused(t, ask(&request{PodSandboxId: p.id, Resources: &res{CpuShares: 31, CpuPeriod: 1}}), codes.InvalidArgument, "resources.cpu_period")
	refused(t, ask(&request{PodSandboxId: p.id, Overhead: &res{CpuQuota: 1}, Resources: &res{CpuShares: 31}}), codes.InvalidArgument, "overhead.cpu_quota")
	refused(t, ask(&request{PodSandboxId: "nothing", Resources: &res{}}), codes.NotFound, "nothing")
	recorded(`"CPUShares":21`, `"CPUShares":22`)
}
