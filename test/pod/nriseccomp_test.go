package pod

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPluginFilters: a plugin's seccomp policy is in the place of what the request asked for, be that a profile, none or
// privileges, for the container's process and for commands in it. The plugin has seen what it replaces.
func TestPluginFilters(t *testing.T) {
	config, handlers := ociConfig(t)
	d := ociDaemon(t, config)
	saw := make(chan *api.LinuxSeccomp, 1)
	newPlugin(t, d, &plugin{create: func(c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
		saw <- c.Linux.SeccompPolicy
		a := &api.ContainerAdjustment{}
		a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{
			DefaultAction: "SCMP_ACT_ALLOW",
			Syscalls:      []*api.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: api.UInt32(uint32(unix.EXDEV))}},
		})
		return a, nil, nil
	}})
	profile := func(kind runtime.SecurityProfile_ProfileType) option {
		return secured(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: kind}
		})
	}
	privileged := func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }
	for _, handler := range append([]string{""}, handlers...) {
		for name, tt := range map[string]struct {
			option option
			sees   bool
		}{
			"default":    {profile(runtime.SecurityProfile_RuntimeDefault), true},
			"unconfined": {profile(runtime.SecurityProfile_Unconfined), false},
			"privileged": {secured(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true }), false},
		} {
			t.Run(cmp.Or(handler, "native")+"/"+name, func(t *testing.T) {
				c := d.runPodBy(t, handler, privileged).start(sleeper, tt.option)
				if policy := <-saw; (policy != nil) != tt.sees || tt.sees && !slices.ContainsFunc(policy.Syscalls, func(s *api.LinuxSyscall) bool {
					return slices.Contains(s.Names, "mkdir")
				}) {
					t.Errorf("the plugin saw %v", policy)
				}
				if s := procStatus(c.pid()); s["Seccomp"] != "2" || s["Seccomp_filters"] != "1" {
					t.Errorf("the process has filters: %s, mode %s", s["Seccomp_filters"], s["Seccomp"])
				}
				out := c.exec("grep ^Seccomp_filters /proc/self/status; mkdir /made 2>&1; touch /touched && echo touched")
				if got := strings.Join(strings.Fields(out), " "); got != "Seccomp_filters: 1 mkdir: can't create directory '/made': Invalid cross-device link touched" {
					t.Errorf("a command says %q", got)
				}
			})
		}
	}
}
