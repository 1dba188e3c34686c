package pod

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The rows: what the CRI demands of each field of a pod sandbox's and a container's configuration.
// A row's name begins with the field's. rows_sandbox_test.go has the PodSandboxConfig,
// rows_namespace_test.go the namespaces, rows_container_test.go the ContainerConfig and rows_security_test.go its
// security context. What takes more than a row is a test of its own:
//
//	metadata (identity)                  TestSameCallsAtOnce
//	log_directory, log_path              TestLogPathRows, TestLogs, TestLogPieces, TestLogReopen…, TestNoLog
//	port_mappings                        TestHostPort, TestHostNetworkPorts; cni: TestHostPorts
//	command, args, envs, working_dir     TestCommand, TestEnvironment, TestWorkingDir
//	stdin, stdin_once, tty               TestAttachInput, TestAttachTerminal, TestStreamRefusals
//	devices, privileged                  TestDevices, TestPrivileged
//	resources                            TestUpdate, TestUpdateRefusals, the tests of stats
//	run_as_user, …username, …group       TestUsers
//	masked_paths, readonly_paths         TestMaskedPaths
//	stop_signal                          TestStopSignal
//	namespace_options                    TestPIDModes, TestTargetRows, TestNodeNetworkAndIPC, TestNamespaces…, TestUserNamespace…
//	state, reason, exit_code             TestExits, TestBadStarts, TestDaemonRestart, TestBothKilled
//	NotFound, idempotence                TestUnknownIDs, TestOrders, TestSameCallsAtOnce
//	what is refused                      TestBadPods, TestBadUserNamespaces, TestBadContainers; cri: Test…Refuses
//
// That no field of the API is forgotten is package cri's TestFieldsAreKnown.

// row is one container: what is sent, what the kernel then shows, and what the status tells.
type row struct {
	name  string
	sent  option
	shell map[string]string // a command in the container, and what it prints
	proc  map[string]string // a field of /proc/PID/status on the host, and its value
	tells any               // what told picks out of the status; nil: nothing is looked at
	told  func(*runtime.ContainerStatus) any
}

// check runs a row's container in p.
func (r row) check(t *testing.T, p *pod) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		q := *p
		q.t = t
		options := []option{sleeper}
		if r.sent != nil {
			options = append(options, r.sent)
		}
		c := q.start(options...)
		c.shows(r.shell)
		got := procStatus(c.pid())
		for _, field := range slices.Sorted(maps.Keys(r.proc)) {
			if got[field] != r.proc[field] {
				t.Errorf("/proc/PID/status: %s is %q, want %q", field, got[field], r.proc[field])
			}
		}
		if r.told != nil {
			tells(t, r.told(c.status()), r.tells)
		}
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
	})
}

// shows runs commands in the container and compares what they print.
func (c *ctr) shows(want map[string]string) {
	c.t.Helper()
	for _, cmd := range slices.Sorted(maps.Keys(want)) {
		if got := c.exec(cmd); got != want[cmd] {
			c.t.Errorf("%s: %q, want %q", cmd, got, want[cmd])
		}
	}
}

func tells(t *testing.T, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("status tells %v, want %v", got, want)
	}
}
