package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/nsutil"
	"tare/security/apparmor"
	"tare/security/selinux"
)

// minimumKernel is the oldest kernel the runtime is made for (docs/architecture.md).
var minimumKernel = [2]int{6, 8}

func kernelFeatures() []feature {
	release := kernelRelease()
	return []feature{
		{
			name: "Linux " + release, required: true, has: "6.8 or newer",
			probe: func() error { return kernelAtLeast(release) }, lacks: "the runtime is made for 6.8 or newer",
		},
		{
			name: "AppArmor", has: "profiles are enforced", lacks: "profiles are refused, and RuntimeDefault is none",
			probe: apparmor.Enabled,
		},
		{
			name: "apparmor_parser", has: "RuntimeDefault is the profile " + apparmor.DefaultName, lacks: "RuntimeDefault is no profile",
			probe: func() error { _, err := apparmor.Parser(); return err },
		},
		{
			name: "SELinux", has: "pods and containers are labelled", lacks: "labels are ignored", probe: selinux.Enabled,
		},
		{
			name: "seccomp filters", has: "profiles are enforced", lacks: "pods run with the profile Unconfined only",
			probe: nsutil.ProbeSeccomp,
		},
	}
}

func fileFeatures(root string) []feature {
	return []feature{
		{
			name: "overlay in " + root, required: true, has: "root file systems, no host mounts",
			probe: func() error { return nsutil.ProbeOverlay(root) },
		},
		{
			name: "idmapped overlay layers", has: "pods with user namespaces, nothing chowned",
			lacks: "pods with user namespaces are refused",
			probe: func() error { return nsutil.ProbeOverlayIDMapped(root) },
		},
		{
			name: "clone of detached mounts", has: "/dev/shm of a pod without a host mount",
			lacks: "/dev/shm of a pod is a host mount, image volumes are one for a moment", probe: nsutil.ProbeCloneDetached,
		},
		{
			name: "recursive read-only mounts", has: "recursiveReadOnly: Enabled",
			lacks: "recursiveReadOnly is refused", probe: nsutil.ProbeRecursiveReadonly,
		},
		{
			name: "mount options of volumes", has: "noexec, nodev and nosuid", lacks: "volumes with mount options are refused",
			probe: nsutil.ProbeMountOptions,
		},
	}
}

func processFeatures() []feature {
	return []feature{
		{
			name: "user namespaces", has: "hostUsers: false", lacks: "pods with hostUsers: false are refused",
			probe: nsutil.ProbeUserNS,
		},
		{
			name: "user namespaces in user namespaces", has: "runtime handler isolated",
			lacks: "pods of the runtime handler isolated cannot start containers", probe: nsutil.ProbeNestedUserNS,
		},
		{
			name: "the host's network in a user namespace", has: "hostUsers: false with hostNetwork: true",
			lacks: "pods with hostUsers: false need a network of their own", probe: nsutil.ProbeUserNSHostNetwork,
		},
		{
			name: "time namespaces", has: "a pod's clocks can be set", lacks: "a restored pod's clocks jump",
			probe: nsutil.ProbeTimeNS,
		},
		{
			name: "descriptors of other processes", has: "containers live on if the keeper is killed",
			lacks: "if the keeper is killed and the daemon with it, containers are ended", probe: nsutil.ProbePidfdGetfd,
		},
		{
			name: "exit status by pidfd", has: "no exit code is lost if the keeper is killed",
			lacks: "if the keeper is killed, exit codes of its containers are unknown (255)", probe: nsutil.ProbePidfdExit,
		},
		{
			name: "proc of other PID namespaces", has: "a container that shares PIDs starts out of its neighbours' sight",
			lacks: "a neighbour that has CAP_SYS_PTRACE in no user namespace can look at the host through it", probe: nsutil.ProbeProcPIDNS,
		},
		{
			name: "CAP_SYS_RESOURCE", has: "oom_score_adj goes down as far as asked",
			lacks: "oom_score_adj does not go below the daemon's own", probe: nsutil.ProbeOOMScore,
		},
	}
}

func cgroupFeatures() []feature {
	mode, driver, err := cgroup.Detect()
	rows := []feature{{
		name: "cgroup " + mode.String(), required: true, has: fmt.Sprintf("driver auto is %s", driver),
		probe: func() error { return err },
	}}
	if err != nil {
		return rows
	}
	if driver == cgroup.DriverSystemd {
		rows = append(rows, feature{
			name: "systemd answers", has: "it makes the pods' cgroups", lacks: "driver auto is cgroupfs then",
			probe: func() error { return cgroup.ProbeSystemd(context.Background()) },
		})
	}
	own, err := unifiedCgroup()
	rows = append(rows, feature{
		name: "birth in a cgroup v2", has: "containers are counted from their first instruction",
		lacks: "containers move into their cgroups after birth",
		probe: func() error {
			if err != nil {
				return err
			}
			return nsutil.ProbeIntoCgroup(own)
		},
	})
	found, err := controllers(mode)
	rows = append(rows, feature{
		name: "controllers", has: strings.Join(found, " "), lacks: "limits are not applied",
		probe: func() error { return err },
	})
	for _, name := range []string{"cpu", "memory", "pids"} {
		rows = append(rows, feature{
			name: "controller " + name, has: "limits are applied", lacks: "its limits are not applied",
			probe: func() error { return listed(found, name) },
		})
	}
	return rows
}

// unifiedCgroup is the directory of this process's cgroup v2, cgroups(7).
func unifiedCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(mount, path)
			if _, err := os.Stat(filepath.Join(dir, "cgroup.events")); err == nil {
				return dir, nil
			}
			if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
				return dir, nil // the root of the hierarchy has no events
			}
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted")
}

// controllers lists what the host has mounted and enabled: in /proc/cgroups for v1 (cgroups(7)),
// in the root's cgroup.controllers for v2.
func controllers(mode cgroup.Mode) ([]string, error) {
	if mode == cgroup.Unified {
		text, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		return strings.Fields(string(text)), err
	}
	text, err := os.ReadFile("/proc/cgroups")
	var found []string
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, "\t")
		var hierarchy, groups, enabled int
		if n, _ := fmt.Sscan(rest, &hierarchy, &groups, &enabled); n == 3 && hierarchy != 0 && enabled == 1 {
			found = append(found, name)
		}
	}
	return found, err
}

func listed(list []string, name string) error {
	for _, s := range list {
		if s == name {
			return nil
		}
	}
	return errors.New("the kernel has it not, or has it disabled")
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func kernelAtLeast(release string) error {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("read release %q: %w", release, err)
	}
	if major < minimumKernel[0] || major == minimumKernel[0] && minor < minimumKernel[1] {
		return fmt.Errorf("it is %d.%d", major, minor)
	}
	return nil
}

func fileSays(path, want string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return plain(err)
	}
	if !strings.HasPrefix(string(text), want) {
		return fmt.Errorf("%s is %q", path, strings.TrimSpace(string(text)))
	}
	return nil
}

// plain says of a file that is not there, what that means here.
func plain(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("not in this kernel")
	}
	return err
}

// nearest is the closest directory to path that exists, path itself if it does.
func nearest(path string) string {
	for path != "/" {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}
