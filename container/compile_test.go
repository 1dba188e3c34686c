package container

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/cgroup"
	"tare/nsutil"
	"tare/sandbox"
	"tare/security"
	"tare/spec"
	"tare/test/golden"
)

// place is a file that stands for one a program would be given; the compiler only names it.
func place(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// start prepares a compilation of a container without touching the host: its sources are stand-ins.
func start(t testing.TB, pod *spec.Pod, c *spec.Container) Start {
	t.Helper()
	oci, err := Assemble(Request{
		ID: "c0ffee", Spec: c, Pod: pod, PodDir: "/run/tare/sandboxes/p",
		Image:      ocispec.ImageConfig{Entrypoint: []string{"/bin/server"}, Cmd: []string{"--help"}, Env: []string{"PATH=/bin"}},
		User:       security.Identity{UID: 1000, GID: 1000, Groups: []uint32{10, 20}, Home: "/home/me"},
		CgroupPath: "/kubepods/pod1/c0ffee", CgroupV2: true, OpenFiles: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := Start{OCI: oci, Attach: "/run/tare/rootfs", Mounts: place(t, "bare"), Prepared: &Prepared{Rootfs: place(t, "rootfs"), Nodes: map[string]*os.File{}}}
	for _, m := range oci.Mounts {
		src := Source{IsDir: true}
		if m.Type == "bind" || m.Type == shmType {
			src = Source{place(t, m.Source), filepath.Dir(m.Destination) != "/etc"}
		}
		s.Prepared.Sources = append(s.Prepared.Sources, src)
	}
	s.Sandbox = &sandbox.Sandbox{Namespaces: map[sandbox.Kind]*os.File{}}
	for _, kind := range sandbox.New("p", pod, sandbox.Layout{}).Kinds {
		s.Sandbox.Namespaces[kind] = place(t, string(kind))
		if kind == sandbox.User {
			for _, n := range defaultNodes {
				s.Prepared.Nodes["/dev/"+n.name] = place(t, n.name)
			}
		}
	}
	s.Cgroup.Dir = place(t, "cgroup")
	for i := range s.Stdio {
		s.Stdio[i] = place(t, "stdio")
	}
	return s
}

func compile(t *testing.T, s Start) *nsutil.Program {
	t.Helper()
	p, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPrograms(t *testing.T) {
	own := spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}
	readonly := own
	readonly.ReadonlyRootfs, readonly.NoNewPrivs = true, true
	plain := spec.Container{Security: own, Mounts: []spec.Mount{
		{ContainerPath: "/data/sub", HostPath: "/srv/sub", Readonly: true},
		{ContainerPath: "/data", HostPath: "/srv"},
	}}
	userns := &spec.UserNamespace{UID: spec.IDMap{Host: 100000, Length: 65536}, GID: spec.IDMap{Host: 100000, Length: 65536}}
	for _, tt := range []struct {
		name string
		pod  spec.Pod
		c    spec.Container
	}{
		{"container", spec.Pod{Hostname: "web-0"}, plain},
		{"container-userns", spec.Pod{Hostname: "web-0", Namespaces: spec.Namespaces{User: userns}}, spec.Container{Security: own}},
		{"container-isolated", spec.Pod{Hostname: "web-0", Isolated: true, Namespaces: spec.Namespaces{User: userns}}, spec.Container{Security: own}},
		{"container-readonly", spec.Pod{Hostname: "web-0"}, spec.Container{Security: readonly, WorkingDir: "/srv/app"}},
		{"container-tty", spec.Pod{Hostname: "web-0"}, spec.Container{Security: own, TTY: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			golden.Check(t, tt.name, compile(t, start(t, &tt.pod, &tt.c)).String())
		})
	}
}

// TestNUL: what others read whole is not executed up to its NUL byte: an image's command could pass by the conditions of hooks.
func TestNUL(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"argument": func(s *specs.Spec) { s.Process.Args[0] = "/bin/server\x00" },
		"variable": func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=secret\x00b") },
		"cwd":      func(s *specs.Spec) { s.Process.Cwd = "/a\x00b" },
	} {
		s := start(t, &spec.Pod{Hostname: "a"}, &spec.Container{})
		change(s.OCI)
		if _, err := Compile(s); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "NUL") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	hooks := &specs.Hooks{Poststop: []specs.Hook{{Path: "/x", Args: []string{"a\x00b"}}}}
	if err := checkHooks(hooks); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("hook: %v", err)
	}
}

// TestProgramOnCgroupV1 has two hierarchies, one of them of two controllers.
func TestProgramOnCgroupV1(t *testing.T) {
	s := start(t, &spec.Pod{Hostname: "web-0"}, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	for i, m := range s.OCI.Mounts {
		if m.Type == "cgroup2" {
			s.OCI.Mounts[i].Type = cgroupType
		}
	}
	s.Cgroup = Cgroup{Procs: []string{"/sys/fs/cgroup/memory/kubepods/pod1/c0ffee/tasks", "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c0ffee/tasks"}, Shown: []cgroup.Directory{
		{Hierarchy: "memory", Controllers: []string{"memory"}, Path: "/sys/fs/cgroup/memory/kubepods/pod1/c0ffee"},
		{Hierarchy: "cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}, Path: "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c0ffee"},
	}}
	golden.Check(t, "container-cgroup1", compile(t, s).String())
}

// TestAdjustedProgram has what only plugins ask for.
func TestAdjustedProgram(t *testing.T) {
	s := start(t, &spec.Pod{Hostname: "web-0"}, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	s.OCI.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0-1,64", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	s.OCI.Linux.Namespaces = append(s.OCI.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	s.OCI.Linux.Sysctl = map[string]string{"net.core.somaxconn": "77", "kernel.msgmax": "4321"}
	golden.Check(t, "container-adjusted", compile(t, s).String())
}

// TestProgramAmongNeighbours joins the PID namespace of others: the last thing before it is confined.
func TestProgramAmongNeighbours(t *testing.T) {
	s := start(t, &spec.Pod{Hostname: "web-0"}, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModePod}}})
	s.PIDNS, s.SharedPIDs = place(t, "init"), place(t, "pid")
	golden.Check(t, "container-shared-pids", compile(t, s).String())
}

// TestPathsInRoot: once a program is in the container's root, it resolves no path the way a container could have changed:
// it opens under a root, without magic links, and writes to, changes and mounts on nothing by its name.
func TestPathsInRoot(t *testing.T) {
	files, err := filepath.Glob("testdata/container*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("programs %q, %v", files, err)
	}
	for _, file := range files {
		program, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, after, entered := strings.Cut(string(program), "chdir              /\n")
		if !entered {
			t.Errorf("%s: the root is not entered", file)
		}
		for line := range strings.Lines(after) {
			step := strings.Fields(line)
			switch op := strings.Join(step[1:], " "); {
			case op == "openat /", strings.HasPrefix(op, "write hooks "): // the root itself, and the rendezvous
			case slices.Contains([]string{"openat", "open", "write", "chmod", "fchmodat", "chown", "mount", "umount2", "mkdir", "unlinkat", "renameat"}, step[1]):
				t.Errorf("%s: in the container's root, %s", file, op)
			}
		}
	}
}

// TestHookPrograms: the program waits with everything in place, before it enters the root and before the
// command; a hook enters the namespaces of who waits.
func TestHookPrograms(t *testing.T) {
	pod := spec.Pod{Hostname: "web-0"}
	s := start(t, &pod, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	hook := specs.Hook{Path: "/usr/bin/vendor-hook", Args: []string{"vendor-hook", "update"}, Env: []string{"A=b"}}
	s.OCI.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{hook}, StartContainer: []specs.Hook{hook}}
	s.Meeting = place(t, "meeting")
	golden.Check(t, "container-hooks", compile(t, s).String())
	p := Hook(HookRun{Hook: hook, Sandbox: s.Sandbox, PidFD: place(t, "pidfd"), Cgroup: s.Cgroup, Stdio: s.Stdio})
	golden.Check(t, "hook", p.String())
}

func TestExecProgram(t *testing.T) {
	pod := spec.Pod{Hostname: "web-0"}
	s := start(t, &pod, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	p, err := Enter(Entry{OCI: s.OCI, Sandbox: s.Sandbox, PidFD: place(t, "pidfd"), Cgroup: s.Cgroup, Args: []string{"true"}, Stdio: s.Stdio})
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "exec", p.String())
}

func BenchmarkCompile(b *testing.B) {
	s := start(b, &spec.Pod{Hostname: "web-0"}, &spec.Container{Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	for b.Loop() {
		p, err := Compile(s)
		if err != nil {
			b.Fatal(err)
		}
		p.Encode()
	}
}
