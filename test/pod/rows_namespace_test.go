package pod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNamespaceRows runs a container in pods of every combination of namespaces that makes sense, and
// compares which of them are the host's.
func TestNamespaceRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	const pod, container, node = runtime.NamespaceMode_POD, runtime.NamespaceMode_CONTAINER, runtime.NamespaceMode_NODE
	host := namespaces(t, os.Getpid())
	for _, tt := range []struct {
		name              string
		network, pid, ipc runtime.NamespaceMode
		user              bool
		hosts             []string // kinds
	}{
		{"all the pod's", pod, pod, pod, false, []string{"user"}},
		{"pid CONTAINER", pod, container, pod, false, []string{"user"}},
		{"pid NODE", pod, node, pod, false, []string{"user", "pid"}},
		{"network NODE", node, container, pod, false, []string{"user", "net", "uts"}},
		{"ipc NODE", pod, container, node, false, []string{"user", "ipc"}},
		{"all NODE", node, node, node, false, []string{"user", "net", "uts", "pid", "ipc"}},
		{"user POD", pod, container, pod, true, nil},
		{"user POD, pid POD", pod, pod, pod, true, nil},
		{"user POD, pid NODE", pod, node, pod, true, []string{"pid"}},
		{"user POD, network NODE", node, container, pod, true, []string{"net", "uts"}},
		{"user POD, ipc NODE", pod, container, node, true, []string{"ipc"}},
		{"user POD, all else NODE", node, node, node, true, []string{"net", "uts", "pid", "ipc"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := []podOption{podNamespaces(func(n *runtime.NamespaceOption) { n.Network, n.Pid, n.Ipc = tt.network, tt.pid, tt.ipc })}
			if tt.user {
				options = append(options, inUserNS)
			}
			if tt.network == node {
				options = append(options, named(""))
			}
			p := suite.shared.runPod(t, options...)
			c := p.start(sleeper)
			compare(t, "container and host", namespaces(t, c.pid()), host, tt.hosts...)

			sent := p.config.Linux.SecurityContext.NamespaceOptions
			got := p.status().Linux.Namespaces.Options
			if got.Network != sent.Network || got.Pid != sent.Pid || got.Ipc != sent.Ipc {
				t.Errorf("status tells %v, sent was %v", got, sent)
			}
			user := sent.UsernsOptions
			if user == nil { // what not to have one means
				user = &runtime.UserNamespace{Mode: node}
			}
			if got.UsernsOptions.String() != user.String() {
				t.Errorf("status tells of the user namespace %v, sent was %v", got.UsernsOptions, user)
			}
			// Whatever the combination, the file systems of the kernel are there and work.
			c.shows(map[string]string{
				"test -e /proc/self/status && test -d /sys/class/net/lo && test -c /dev/null && echo ok": "ok\n",
				"touch /dev/shm/row-$$ && rm /dev/shm/row-$$ && test -d /dev/mqueue && echo ok":          "ok\n",
				"head -c1 /dev/urandom | wc -c": "1\n",
			})
			if tt.pid == node {
				if got := c.exec("cat /proc/" + fmtInt(os.Getpid()) + "/comm"); !strings.Contains(filepath.Base(os.Args[0]), strings.TrimSpace(got)) {
					t.Errorf("the host's process is %q, want this one", got)
				}
			}
		})
	}
}

// TestContainerNamespaceRows: which modes a container may have in a pod of which mode.
func TestContainerNamespaceRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	const pod, container, node = runtime.NamespaceMode_POD, runtime.NamespaceMode_CONTAINER, runtime.NamespaceMode_NODE
	pids := func(m runtime.NamespaceMode) option {
		return secured(func(s *runtime.LinuxContainerSecurityContext) { s.NamespaceOptions.Pid = m })
	}
	for of, modes := range map[runtime.NamespaceMode]map[runtime.NamespaceMode]bool{
		pod:       {pod: true, container: true, node: false},
		container: {pod: false, container: true, node: false},
		node:      {pod: false, container: true, node: true},
	} {
		p := suite.shared.runPod(t, podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = of }))
		for mode, allowed := range modes {
			t.Run("pid "+mode.String()+" in a pod of "+of.String(), func(t *testing.T) {
				config := p.containerConfig(sleeper, pids(mode))
				id, err := p.tryCreate(config)
				if !allowed {
					refused(t, err, codes.InvalidArgument, "linux.security_context.namespace_options.pid", mode.String())
					return
				}
				c := &ctr{p, id, config}
				if err == nil {
					err = c.tryStart()
				}
				if err != nil {
					t.Fatal(err)
				}
				own := namespaces(t, c.pid())["pid"]
				if hosts := own == namespaces(t, os.Getpid())["pid"]; hosts != (mode == node) {
					t.Errorf("the PID namespace is the host's: %v", hosts)
				}
			})
		}
	}
	p := suite.shared.runPod(t)
	for name, change := range map[string]func(*runtime.NamespaceOption){
		"network": func(n *runtime.NamespaceOption) { n.Network = node },
		"ipc":     func(n *runtime.NamespaceOption) { n.Ipc = node },
		"userns_options": func(n *runtime.NamespaceOption) {
			n.UsernsOptions = &runtime.UserNamespace{Uids: mapping(), Gids: mapping()}
		},
		"target_id": func(n *runtime.NamespaceOption) { n.TargetId = "x" },
	} {
		t.Run(name+" unlike the pod's", func(t *testing.T) {
			_, err := p.tryCreate(p.containerConfig(secured(func(s *runtime.LinuxContainerSecurityContext) { change(s.NamespaceOptions) })))
			refused(t, err, codes.InvalidArgument, "linux.security_context.namespace_options."+name)
		})
	}
}

// TestTargetRows: whose PID namespace a container may have (KEP-277).
func TestTargetRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	created, exited, elsewhere := p.create(sleeper), p.start(script("true")), suite.shared.runPod(t).start(sleeper)
	exited.finish()
	for name, tt := range map[string]struct {
		target string
		code   codes.Code
	}{
		"none":                     {"", codes.InvalidArgument},
		"a container of no pod":    {"feed", codes.InvalidArgument},
		"a container of another":   {elsewhere.id, codes.InvalidArgument},
		"one that has not started": {created.id, codes.FailedPrecondition},
		"one that has exited":      {exited.id, codes.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			config := p.containerConfig(sleeper, secured(func(s *runtime.LinuxContainerSecurityContext) {
				s.NamespaceOptions.Pid, s.NamespaceOptions.TargetId = runtime.NamespaceMode_TARGET, tt.target
			}))
			id, err := p.tryCreate(config)
			if err == nil { // whether it runs shows at the start
				c := &ctr{p, id, config}
				err = c.tryStart()
			}
			refused(t, err, tt.code, "linux.security_context.namespace_options.target_id", tt.target)
		})
	}
}
