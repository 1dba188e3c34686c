package pod

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestBadPlugin: a plugin that refuses, takes too long, wants what cannot be or dies, costs one call at most.
func TestBadPlugin(t *testing.T) {
	d := ownDaemon(t, options{config: "nri.plugin_request_timeout = \"300ms\"\n"})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	refuse := func(at string) func(string) error {
		return func(event string) error {
			if event == at {
				return errors.New("not on this node")
			}
			return nil
		}
	}
	adjust := func(change func(*api.ContainerAdjustment)) func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		return func(*api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
			a := &api.ContainerAdjustment{}
			change(a)
			return a, nil, nil
		}
	}
	tests := []struct {
		name   string
		plugin *plugin
		call   string // which is refused
		code   codes.Code
		words  []string
	}{
		{"refuses a pod", &plugin{before: refuse("run pod")}, "run", codes.FailedPrecondition, []string{"NRI: plugin 10-test: not on this node"}},
		{"refuses a container", &plugin{before: refuse("create created")}, "create", codes.FailedPrecondition, []string{"NRI: plugin 10-test: not on this node"}},
		{"refuses a start", &plugin{before: refuse("start created")}, "start", codes.FailedPrecondition, []string{"not on this node"}},
		{"judges what plugins adjust", &plugin{
			create: adjust(func(a *api.ContainerAdjustment) { a.AddEnv("A", "b") }),
			judge: func(a *api.ContainerAdjustment) error {
				return fmt.Errorf("no variables on this node, such as %s", a.Env[0].Key)
			},
		}, "create", codes.FailedPrecondition, []string{`NRI: validator "10-test"`, "no variables on this node, such as A"}},
		{"wants another PID namespace", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "pid", Path: "/proc/1/ns/pid"})
		})}, "create", codes.FailedPrecondition, []string{"linux.namespaces", "not supported"}},
		{"wants a namespace that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "network", Path: "/proc/1/ns/ipc"})
		})}, "start", codes.FailedPrecondition, []string{"network namespace", "/proc/1/ns/ipc"}},
		{"wants a sysctl of the host", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("kernel.pid_max", "500") })},
			"create", codes.FailedPrecondition, []string{"sysctl kernel.pid_max", "would change the host"}},
		{"wants a sysctl of another's namespace", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "ipc", Path: "/proc/1/ns/ipc"})
			a.SetLinuxSysctl("kernel.msgmax", "500")
		})}, "create", codes.FailedPrecondition, []string{"sysctl kernel.msgmax", "/proc/1/ns/ipc"}},
		{"wants a sysctl that there is none of", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.core.no_such", "5") })},
			"start", codes.FailedPrecondition, []string{"sysctl", "net/core/no_such"}},
		{"wants a sysctl that takes another value", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxSysctl("net.core.somaxconn", "many") })},
			"start", codes.FailedPrecondition, []string{"sysctl", "net/core/somaxconn", "many", "invalid argument"}},
		{"wants memory of what is no node", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "1-0") })},
			"create", codes.FailedPrecondition, []string{"NRI", "memory_policy.nodes", "1-0"}},
		{"wants memory of a node that is not there", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "777") })},
			"start", codes.FailedPrecondition, []string{"memory_policy", "MPOL_BIND 777"}},
		{"wants a network device that is not there", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddLinuxNetDevice("no-such", &api.LinuxNetDevice{Name: "data0"})
		})}, "start", codes.FailedPrecondition, []string{"network device no-such", "data0"}},
		{"wants a network device of a bad name", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddLinuxNetDevice("much-too-long-a-name", &api.LinuxNetDevice{Name: "data0"})
		})}, "create", codes.FailedPrecondition, []string{"much-too-long-a-name"}},
		{"wants a mount from nowhere", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddMount(&api.Mount{Source: "/no/such", Destination: "/x", Type: "bind", Options: []string{"bind"}})
		})}, "create", codes.FailedPrecondition, []string{"/no/such"}},
		{"wants a limit that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.AddRlimit("RLIMIT_NOISE", 1, 1) })},
			"create", codes.FailedPrecondition, []string{"RLIMIT_NOISE"}},
		{"wants a limit above the host's", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.AddRlimit("RLIMIT_NOFILE", 1<<40, 1<<40) })},
			"start", codes.FailedPrecondition, []string{"rlimit", "RLIMIT_NOFILE"}},
		{"wants a policy Linux has not", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_ISO})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "scheduler.policy", "SCHED_ISO"}},
		{"wants a realtime priority that is none", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_RR, Priority: 100})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "scheduler.priority 100"}},
		{"wants an I/O priority of no class", &plugin{create: adjust(func(a *api.ContainerAdjustment) { a.SetLinuxIOPriority(&api.LinuxIOPriority{Priority: 3}) })},
			"create", codes.FailedPrecondition, []string{"NRI", "io_priority.class"}},
		{"wants an I/O priority beyond the last", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxIOPriority(&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: 8})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "io_priority.priority 8"}},
		{"wants a filter with an unknown action", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "seccomp_policy", "defaultAction", "SCMP_ACT_MAYBE"}},
		{"wants a filter that asks somebody", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", ListenerPath: "/run/agent"})
		})}, "create", codes.FailedPrecondition, []string{"seccomp_policy", "listenerPath", "not supported"}},
		{"wants an unknown device", &plugin{create: adjust(func(a *api.ContainerAdjustment) {
			a.AddCDIDevice(&api.CDIDevice{Name: "example.com/no=thing"})
		})}, "create", codes.FailedPrecondition, []string{"NRI", "example.com/no=thing"}},
		{"does not answer", &plugin{before: func(event string) error {
			if event == "create created" {
				time.Sleep(time.Second)
			}
			return nil
		}}, "", codes.OK, nil},
		{"refuses an end", &plugin{before: refuse("stop stopped")}, "", codes.OK, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.plugin.only = "bad"
			p := newPlugin(t, d, tt.plugin)
			call, err := d.calls(t, podConfig("bad"))
			if call != tt.call {
				t.Fatalf("the call that failed is %q: %v; want %q", call, err, tt.call)
			}
			if tt.call != "" {
				refused(t, err, tt.code, tt.words...)
			}
			p.stub.Stop()
			if call, err := d.calls(t, podConfig("good")); err != nil {
				t.Errorf("after the plugin has gone, %s: %v", call, err)
			}
		})
	}
}

// calls leads a pod through its life, and returns the first call that failed.
func (d *daemon) calls(t *testing.T, config *runtime.PodSandboxConfig) (failed string, err error) {
	t.Helper()
	run, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "run", err
	}
	defer func() {
		if _, removeErr := d.runtime.RemovePodSandbox(deadline(t), &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId}); removeErr != nil {
			t.Errorf("remove pod: %v", removeErr)
		}
	}()
	p := &pod{d, t, run.PodSandboxId, config}
	id, err := p.tryCreate(p.containerConfig(sleeper))
	if err != nil {
		return "create", err
	}
	if _, err := d.runtime.StartContainer(deadline(t), &runtime.StartContainerRequest{ContainerId: id}); err != nil {
		return "start", err
	}
	if _, err := d.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: id}); err != nil {
		return "stop", err
	}
	return "", nil
}
