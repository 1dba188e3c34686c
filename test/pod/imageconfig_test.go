package pod

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// configured is the image registry.LocalHost/configured:all, which says something about
// everything.
var configured = registry.LocalHost + "/configured:all"

var configuredConfig = v1.Config{
	Entrypoint: []string{"sh", "-c", `echo "$0 $*"`},
	Cmd:        []string{"image", "cmd"},
	Env:        []string{"PATH=/bin", "FROM=image", "BOTH=image"},
	User:       "www-data",
	WorkingDir: "/from/image",
	StopSignal: "SIGUSR1",
	Labels:     map[string]string{"label": "of the image"},
}

func TestCommand(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	p := d.runPod(t)
	tests := []struct {
		name          string
		command, args []string
		want          string
	}{
		{"image", nil, nil, "image cmd\n"},
		{"arguments replace cmd", nil, []string{"my", "args"}, "my args\n"},
		{"command replaces both", []string{"echo", "mine"}, nil, "mine\n"},
		{"command and arguments", []string{"echo"}, []string{"mine", "too"}, "mine too\n"},
	}
	for _, tt := range tests {
		_, out := p.output(image(configured), func(c *runtime.ContainerConfig) { c.Command, c.Args = tt.command, tt.args })
		if out != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, out, tt.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	p := d.runPod(t)
	_, out := p.output(image(configured), command("env"), func(c *runtime.ContainerConfig) {
		c.Envs = []*runtime.KeyValue{
			{Key: "BOTH", Value: []byte("first")}, {Key: "MINE", Value: []byte("a=b c\xff")}, {Key: "BOTH", Value: []byte("request")}, {Key: "EMPTY"},
		}
	})
	got := strings.Split(strings.TrimSpace(out), "\n")
	want := []string{"PATH=/bin", "FROM=image", "BOTH=request", "MINE=a=b c\xff", "EMPTY=", "HOME=/var/www", "HOSTNAME=pod"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func TestUsers(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	p := d.runPod(t)
	id := func(n int64) *runtime.Int64Value { return &runtime.Int64Value{Value: n} }
	tests := []struct {
		name   string
		image  string
		change func(*runtime.LinuxContainerSecurityContext)
		want   string // uid, gid, groups
	}{
		{"image's by name", configured, nil, "33 33 33"},
		{"none", busybox, nil, "0 0 0"},
		{"by id", busybox, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = id(33) }, "33 33 33"},
		{"by id, not in the image", busybox, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = id(4711) }, "4711 0 0"},
		{"by id and group", busybox, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser, s.RunAsGroup = id(4711), id(4712) }, "4711 4712 4712"},
		{"by name", busybox, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUsername = "daemon" }, "1 1 1"},
		{"by name and group", busybox, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUsername, s.RunAsGroup = "daemon", id(7) }, "1 7 7"},
		{"request over image", configured, func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = id(1) }, "1 1 1"},
		{"groups", busybox, func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = id(33), id(44), []int64{55, 66}
		}, "33 44 44 55 66"},
	}
	for _, tt := range tests {
		s, out := p.output(image(tt.image), script(`echo $(id -u) $(id -g) $(id -G)`), secured(func(s *runtime.LinuxContainerSecurityContext) {
			if tt.change != nil {
				tt.change(s)
			}
		}))
		got := strings.Fields(out)
		if len(got) > 2 {
			slices.Sort(got[2:])
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, got, tt.want)
		}
		if u := s.User.GetLinux(); strings.Join(got[:2], " ") != fmtInt(int(u.Uid))+" "+fmtInt(int(u.Gid)) {
			t.Errorf("%s: status says %v", tt.name, u)
		}
	}
}

func TestWorkingDir(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	p := d.runPod(t)
	for dir, want := range map[string]string{"": "/from/image\n", "/mine": "/mine\n", "/mine//too/../three": "/mine/three\n"} {
		_, out := p.output(image(configured), command("pwd"), func(c *runtime.ContainerConfig) { c.WorkingDir = dir })
		if out != want {
			t.Errorf("working directory %q: got %q, want %q", dir, out, want)
		}
	}
}

func TestStopSignal(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	p := d.runPod(t)
	// The shell handles a signal when its child has ended, hence the wait.
	const trap = `for s in TERM USR1 USR2 QUIT; do trap "echo $s; exit 0" $s; done; echo ready; while :; do sleep 1000 & wait; done`
	tests := []struct {
		name, ref string
		signal    runtime.Signal
		want      string
	}{
		{"default", busybox, 0, "TERM"},
		{"image", configured, 0, "USR1"},
		{"request", configured, runtime.Signal_SIGNAL_SIGUSR2, "USR2"},
	}
	for _, tt := range tests {
		c := p.start(image(tt.ref), script(trap), func(c *runtime.ContainerConfig) { c.StopSignal = tt.signal })
		c.says("ready")
		c.stop(20)
		if got := c.logged("stdout"); got != "ready\n"+tt.want+"\n" {
			t.Errorf("%s: the container says %q, want %s", tt.name, got, tt.want)
		}
		s := c.finish()
		if s.ExitCode != 0 || s.Reason != "Completed" {
			t.Errorf("%s: exit code %d, reason %q", tt.name, s.ExitCode, s.Reason)
		}
		if got := s.StopSignal.String(); got != "SIGNAL_SIG"+tt.want && got != "SIG"+tt.want {
			t.Errorf("%s: status says stop signal %s", tt.name, got)
		}
	}
}

func TestExits(t *testing.T) {
	leavesNothing(t, suite.shared)
	// With PIDs of its own a container is process 1, which signals without a handler do not kill.
	p := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD }))
	tests := []struct {
		name    string
		options []option
		stop    int64 // grace; -1: ends by itself
		code    int32
		reason  string
	}{
		{"success", []option{command("true")}, -1, 0, "Completed"},
		{"failure", []option{command("false")}, -1, 1, "Error"},
		{"code", []option{script("exit 255")}, -1, 255, "Error"},
		{"killed", []option{script("kill -9 $$")}, -1, 137, "Error"},
		{"terminated", []option{script("kill -TERM $$")}, -1, 143, "Error"},
		{"stopped", []option{command("sleep", "1000000")}, 0, 137, "Error"},
		{"out of memory", []option{command("tail", "/dev/zero"), func(c *runtime.ContainerConfig) { c.Linux.Resources.MemoryLimitInBytes = 16 << 20 }}, -1, 137, "OOMKilled"},
		{"child out of memory", []option{script("tail /dev/zero; exit 9"), func(c *runtime.ContainerConfig) { c.Linux.Resources.MemoryLimitInBytes = 16 << 20 }}, -1, 9, "Error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := p.start(tt.options...)
			if tt.stop >= 0 {
				c.stop(tt.stop)
			}
			s := c.finish()
			if s.ExitCode != tt.code || s.Reason != tt.reason {
				t.Errorf("exit code %d, reason %q, want %d, %q", s.ExitCode, s.Reason, tt.code, tt.reason)
			}
			if s.CreatedAt <= 0 || s.StartedAt < s.CreatedAt || s.FinishedAt < s.StartedAt {
				t.Errorf("created %d, started %d, finished %d", s.CreatedAt, s.StartedAt, s.FinishedAt)
			}
		})
	}
}

// TestLabels: what a request says comes back as it was.
func TestLabels(t *testing.T) {
	leavesNothing(t, suite.shared)
	odd := map[string]string{"a": "b", "empty": "", "io.kubernetes.pod.name": "x/y", "ünïcode": "\n\"quoted\"\t"}
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Annotations = odd })
	c := p.create(func(c *runtime.ContainerConfig) { c.Labels, c.Annotations = odd, odd })
	s := c.status()
	for what, got := range map[string]map[string]string{"labels": s.Labels, "annotations": s.Annotations, "pod's annotations": p.status().Annotations} {
		if len(got) != len(odd) {
			t.Errorf("%s: %q", what, got)
		}
		for k, v := range odd {
			if got[k] != v {
				t.Errorf("%s: %q is %q, want %q", what, k, got[k], v)
			}
		}
	}
	list, err := p.runtime.ListContainers(deadline(t), &runtime.ListContainersRequest{
		Filter: &runtime.ContainerFilter{LabelSelector: map[string]string{"a": "b", "empty": ""}},
	})
	if err != nil || len(list.Containers) != 1 || list.Containers[0].Id != c.id {
		t.Errorf("containers with these labels: %v, %v", list, err)
	}
}
