package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestHugeContainers: what is too much for the kernel or for a message is refused with the name of what it is, at
// create or at start, and leaves nothing; what is just not too much works.
func TestHugeContainers(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	dir := t.TempDir()
	at := func(path string) option { return volume(&runtime.Mount{HostPath: dir, ContainerPath: path}) }
	deep := strings.Repeat("/d", 200)
	named := func(n int) option { return func(c *runtime.ContainerConfig) { c.LogPath = strings.Repeat("l", n) } }
	annotated := func(n, size int) option {
		return func(c *runtime.ContainerConfig) {
			c.Annotations, c.Labels = map[string]string{}, map[string]string{}
			for i := range n {
				key := fmt.Sprintf("key-%d", i)
				c.Annotations[key], c.Labels[key] = strings.Repeat("v", size), key
			}
		}
	}
	arguments := command("true", strings.Repeat("x", 100<<10))
	many := func(n int) option {
		return func(c *runtime.ContainerConfig) {
			arguments(c)
			for range n {
				c.Args = append(c.Args, strings.Repeat("x", 100<<10))
			}
		}
	}
	volumes := func(n int) option {
		return func(c *runtime.ContainerConfig) {
			for i := range n {
				at(fmt.Sprintf("/v/%d", i))(c)
			}
		}
	}
	tests := []struct {
		name   string
		change option
		code   codes.Code // OK: it runs
		words  []string
	}{
		{"arguments and variables of less than the kernel takes", many(15), codes.OK, nil},
		{"arguments of more than the kernel takes together", many(80), codes.InvalidArgument, []string{"more than the kernel takes"}},
		{"10,000 annotations and labels", annotated(10000, 32), codes.OK, nil},
		{"a message beyond the limit", annotated(1, 17<<20), codes.ResourceExhausted, []string{"larger than max"}},
		{"a log path as long as a name may be", named(255), codes.OK, nil},
		{"a log path longer than a name may be", named(256), codes.InvalidArgument, []string{"log_path"}},
		{"a log path longer than a path may be", func(c *runtime.ContainerConfig) { c.LogPath = strings.Repeat("l/", 3000) + "x" }, codes.InvalidArgument, []string{"log_path"}},
		{"a volume 200 directories deep", at(deep), codes.OK, nil},
		{"a volume at a path longer than one may be", at(strings.Repeat("/d", 2100)), codes.InvalidArgument, []string{"mounts[0].container_path", "4095"}},
		{"a volume at a name longer than one may be", at("/" + strings.Repeat("d", 256)), codes.InvalidArgument, []string{"ddd"}},
		{"a volume of a path longer than one may be", volume(&runtime.Mount{HostPath: strings.Repeat("/d", 2100), ContainerPath: "/x"}), codes.InvalidArgument, []string{"mounts[0].host_path"}},
		{"a working directory longer than one may be", func(c *runtime.ContainerConfig) { c.WorkingDir = strings.Repeat("/d", 2100) }, codes.InvalidArgument, []string{"working_dir", "4095"}},
		{"a program longer than a path may be", command(strings.Repeat("/d", 2100)), codes.InvalidArgument, []string{"/d/d"}},
		{"200 volumes", volumes(200), codes.OK, nil},
		{"1000 volumes", volumes(1000), codes.InvalidArgument, []string{"volumes", "more than the kernel passes on at once"}},
		{"a name with a NUL byte", func(c *runtime.ContainerConfig) { c.LogPath = "a\x00b" }, codes.InvalidArgument, []string{"log_path"}},
		{"a path with a NUL byte", at("/a\x00b"), codes.InvalidArgument, []string{"mounts[0].container_path"}},
		{"a path of two lines", at("/a\nb"), codes.OK, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			config := p.containerConfig(sleeper, tt.change)
			id, err := p.tryCreate(config)
			c := &ctr{p, id, config}
			if err == nil { // some things show only now
				err = c.tryStart()
				defer func() {
					if err := c.tryRemove(); err != nil {
						t.Error(err)
					}
				}()
			}
			if tt.code != codes.OK {
				refused(t, err, tt.code, tt.words...)
				if err != nil && len(err.Error()) > 16<<10 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
			} else if err != nil {
				t.Errorf("%.500s", err)
			} else {
				c.status()
			}
		})
	}
	for _, e := range mustReadDir(t, p.config.LogDirectory) {
		if err := os.RemoveAll(filepath.Join(p.config.LogDirectory, e.Name())); err != nil {
			t.Error(err)
		}
	}
	c := p.start(sleeper)
	_, err := c.tryExec(10, "true", strings.Repeat("x", 200<<10))
	refused(t, err, codes.InvalidArgument, "more than the kernel takes")
}

// TestHugePods: the same of pods.
func TestHugePods(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	for name, tt := range map[string]struct {
		change podOption
		words  []string
	}{
		"a kernel parameter of a megabyte": {func(c *runtime.PodSandboxConfig) {
			c.Linux.Sysctls = map[string]string{"net.ipv4.ip_forward": strings.Repeat("1", 1<<20)}
		}, []string{"sysctls"}},
		"a kernel parameter of a long name": {func(c *runtime.PodSandboxConfig) {
			c.Linux.Sysctls = map[string]string{"net." + strings.Repeat("x", 5000): "1"}
		}, []string{"sysctls"}},
		"a log directory longer than a path may be":  {func(c *runtime.PodSandboxConfig) { c.LogDirectory = strings.Repeat("/d", 2100) }, []string{"log_directory"}},
		"a cgroup parent longer than a path may be":  {func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = strings.Repeat("/d", 2100) }, []string{"cgroup_parent"}},
		"a cgroup parent of a name too long":         {func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = "/" + strings.Repeat("d", 256) }, []string{"cgroup_parent"}},
		"a log directory with a NUL byte":            {func(c *runtime.PodSandboxConfig) { c.LogDirectory = "/tmp/a\x00b" }, []string{"log_directory"}},
		"a hostname with a NUL byte":                 {func(c *runtime.PodSandboxConfig) { c.Hostname = "a\x00b" }, []string{"hostname"}},
		"a cgroup parent with a NUL byte":            {func(c *runtime.PodSandboxConfig) { c.Linux.CgroupParent = "/a\x00b" }, []string{"cgroup_parent"}},
		"a kernel parameter's value with a NUL byte": {func(c *runtime.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{"net.ipv4.ip_forward": "1\x00"} }, []string{"sysctls"}},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, d)
			badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("huge", tt.change)}, codes.InvalidArgument, tt.words...)
		})
	}
}
