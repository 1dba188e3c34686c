package pod

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Known escapes from containers, each with its own moves, and where it is tried here. Where it can be, the
// move is seen to work against something that does not defend itself.
//
//	CVE-2016-9962  descriptors, memory and root of a process on its way in   TestEscapeHunt, TestDescriptors
//	CVE-2019-5736  the runtime's program by /proc/self/exe                   TestEscapeOverwrite
//	CVE-2019-16884 volumes over /proc                                        TestEscapeMounts, TestBadContainers
//	CVE-2019-19921 /proc and /dev that an image has as links                 TestHostileRoots, TestRacePlaces
//	CVE-2020-15257 abstract sockets                                          TestEscapeAbstractSockets
//	CVE-2021-30465 mount targets exchanged meanwhile                         TestRacePlaces, TestRaceFiles
//	CVE-2021-41103 state that others can read                                TestModes
//	CVE-2022-0492  release_agent of cgroup v1, and devices.allow             TestEscapeReleaseAgent
//	CVE-2022-0811  sysctls with more in them                                 TestEscapeSysctls
//	CVE-2022-1708  endless output of execs                                   TestExecSyncMuchOutput, TestEscapeExecHangs
//	CVE-2022-23648 volumes of an image, and image volumes, by links          TestEscapeImageVolumes, TestEscapeHostileConfigs
//	CVE-2022-29162 inheritable capabilities                                  TestEscapeInheritable
//	CVE-2023-25173 supplementary groups                                      TestEscapeGroups, TestUserRows
//	CVE-2024-21626 working directories and commands by /proc/self/fd         TestEscapeDescriptorPaths
//	CVE-2024-40635 users beyond the numbers                                  TestEscapeUsers, TestImageUsers
//	CVE-2025-31133 /dev/null that is something else                          TestRaceDevices, TestEscapeMounts
//	CVE-2025-52565 /dev/console that is something else                       TestRaceDevices
//	CVE-2025-52881 writes to /proc led elsewhere                             TestEscapeProcWrites, TestRacePlaces
//	CVE-2026-53495 and the like: execs that never end                        TestEscapeExecHangs, TestExecSyncTimeoutTree
//	archives that leave the layer                                            TestEscapeLayers, TestHostileImages
//	users and groups of an image                                             TestEscapeUserFiles
//	log paths and termination messages by links                              TestLogPathRows, TestRaceLogs, TestRaceTerminationMessage
//	profiles, devices and volumes of the host by links                       TestEscapeHostPaths, TestHostileVolumes
//	neighbours that share PIDs                                               TestEscapeNeighbours, TestIsolatedPower
//	isolated containers and their pod                                        TestIsolatedPower
//	file handles ("shocker")                                                 TestEscapeHandles
//	keyrings of others                                                       TestEscapeKeyrings
//	calls deep into the kernel                                               TestEscapeCalls
//	terminals of others                                                      TestEscapeTerminals, TestEscapeTyping
//	setuid files and those of unmapped owners                                TestEscapeSetuid
//	processes faster than who kills them                                     TestEscapeStorm
//	descriptors that outlive their container elsewhere                       TestEscapePassedDescriptors
//	names and output that are no text                                        TestEscapeText...

var full = flag.Bool("full", false, "races run thousands of rounds, not some hundreds")

// rounds is how often a race is run.
func rounds(short int) int {
	if *full {
		return 4 * short
	}
	return short
}

// attack is a volume with the program of test/attack, at /attack.
func attack() option {
	return volume(&runtime.Mount{HostPath: filepath.Join(suite.bin, "attack"), ContainerPath: "/attack", Readonly: true})
}

func added(capabilities ...string) option {
	return secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.Capabilities = &runtime.Capability{AddCapabilities: capabilities}
	})
}

// users are pods without and with a user namespace.
var users = map[string][]podOption{"": nil, "in a user namespace": {inUserNS}}

// fails says that no line of an attack's output tells of a success.
func (c *ctr) fails() {
	c.t.Helper()
	for line := range strings.Lines(c.logged("stdout")) {
		if strings.HasPrefix(line, "escaped") {
			c.t.Error(strings.TrimSpace(line))
		}
	}
}

// keeps is fails for a command that ends.
func (c *ctr) keeps(args ...string) {
	c.t.Helper()
	resp, err := c.tryExec(10, args...)
	if err != nil {
		c.t.Errorf("%q: %v", args, err)
	} else if resp.ExitCode == 0 || strings.Contains(string(resp.Stdout), "escaped") {
		c.t.Errorf("%q: exit code %d: %s%s", args, resp.ExitCode, resp.Stdout, resp.Stderr)
	}
}

// outside is a directory of the host that nothing done in a container may reach.
type outside struct {
	t      *testing.T
	dir    string
	canary string // a file in it
	names  []string
}

// has puts a program there, which tells that it ran.
func (o *outside) has(program string) {
	o.t.Helper()
	o.names = append(o.names, program)
	path := filepath.Join(o.dir, program)
	writeFile(o.t, path, "#!/bin/sh\necho escaped\n")
	if err := os.Chmod(path, 0o755); err != nil {
		o.t.Fatal(err)
	}
}

const canaryText = "of the host"

// parameters are those of the kernel that attacks are after.
var parameters = []string{"kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/sysrq", "kernel/hostname", "kernel/poweroff_cmd", "vm/panic_on_oom"}

// unharmed makes such a directory. When the test is over, it has to be as it was, and so have the host's mounts and
// parameters.
func unharmed(t *testing.T) *outside {
	t.Helper()
	o := &outside{t: t, dir: t.TempDir(), names: []string{"canary"}}
	o.canary = filepath.Join(o.dir, "canary")
	writeFile(t, o.canary, canaryText)
	before := hostState(t)
	t.Cleanup(func() {
		o.check()
		await(t, "mounts and parameters of the host are as they were", func() error {
			for what, was := range before {
				if now := hostState(t)[what]; now != was {
					return errors.New(what + " was " + was + "\nand is " + now)
				}
			}
			return nil
		})
	})
	return o
}

// check looks at the directory.
func (o *outside) check() {
	o.t.Helper()
	if entries := mustReadDir(o.t, o.dir); len(entries) != len(o.names) {
		o.t.Errorf("outside of the containers there is %v", entries)
	}
	if text, err := os.ReadFile(o.canary); err != nil || string(text) != canaryText {
		o.t.Errorf("a file outside of the containers says %q, %v", text, err)
	}
	if info, err := os.Stat(o.canary); err != nil || info.Mode() != 0o644 {
		o.t.Errorf("a file outside of the containers is %v, %v", info, err)
	}
}

func hostState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if !strings.Contains(line, " nsfs ") { // pods come and go
			state["mounts"] += line
		}
	}
	for _, name := range parameters {
		value, err := os.ReadFile("/proc/sys/" + name)
		if errors.Is(err, fs.ErrNotExist) { // of another kernel
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		state[name] = string(value)
	}
	return state
}
