package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNetNSGone unbinds and deletes the files of a pod's network namespace: the pod goes on, also over a restart of
// the daemon, and stops without a trace.
func TestNetNSGone(t *testing.T) {
	d := ownDaemon(t, options{})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	p := d.runPod(t)
	c := p.start(sleeper)
	bound := onlyEntry(t, d.path("netns"))
	if err := errors.Join(unix.Unmount(bound, unix.MNT_DETACH), os.Remove(bound)); err != nil {
		t.Fatal(err)
	}
	other := d.runPod(t).start(sleeper)
	other.exec("ping -c 1 -W 2 " + p.ip())
	p.start(sleeper).exec("ping -c 1 -W 2 " + other.ip())
	d.signal(syscall.SIGTERM)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if s := p.status(); s.State != runtime.PodSandboxState_SANDBOX_READY {
		t.Errorf("after a restart the pod is %s", s.State)
	}
	c.exec("ping -c 1 -W 2 " + other.ip())
	p.start(sleeper)
}

func onlyEntry(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s has %v, %v, want one", dir, list, err)
	}
	return filepath.Join(dir, list[0].Name())
}

// TestCgroupGone moves a container's processes out of its cgroup and removes that, in every hierarchy. Execs are
// refused, statistics leave it out, updates fail, and the container can be stopped and removed, with nothing left.
func TestCgroupGone(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	c, healthy := p.start(sleeper), p.start(sleeper)
	removeCgroups(t, c.pid())
	if _, err := c.tryExec(0, "true"); status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.NotFound {
		t.Errorf("exec: %v", err)
	}
	stats, err := d.runtime.ListContainerStats(deadline(t), &runtime.ListContainerStatsRequest{
		Filter: &runtime.ContainerStatsFilter{PodSandboxId: p.id},
	})
	if err != nil || !hasStats(stats, healthy.id) {
		t.Errorf("stats: %v, %v", stats, err)
	}
	_, err = d.runtime.UpdateContainerResources(deadline(t), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{CpuShares: 100},
	})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("update: %v", err)
	}
	pid := c.pid()
	c.stop(2)
	gone(t, pid)
	if err := c.tryRemove(); err != nil {
		t.Error(err)
	}
	p.start(sleeper).exec("true")
}

func hasStats(resp *runtime.ListContainerStatsResponse, id string) bool {
	for _, s := range resp.GetStats() {
		if s.Attributes.Id == id {
			return true
		}
	}
	return false
}

// removeCgroups removes the cgroups that processes of a container are in; these go where the suite is.
func removeCgroups(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for line := range strings.Lines(string(text)) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), suite.cgroup)
		dirs, err := filepath.Glob("/sys/fs/cgroup" + suite.cgroup + path)
		more, err2 := filepath.Glob("/sys/fs/cgroup/*" + suite.cgroup + path)
		if path == "" || err != nil || err2 != nil {
			continue
		}
		for _, dir := range append(dirs, more...) {
			evacuate(t, dir)
			if err := os.Remove(dir); err == nil {
				removed++
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	if removed == 0 {
		t.Fatalf("no cgroup removed: %s", text)
	}
}

// evacuate moves all processes of a cgroup to its parent.
func evacuate(t *testing.T, dir string) {
	t.Helper()
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for pid := range strings.Lines(string(procs)) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.procs"), []byte(pid), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadOnlyEtc starts a daemon whose /etc cannot be written: nothing of it is needed.
func TestReadOnlyEtc(t *testing.T) {
	if err := unix.Mount("/etc", "/etc", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount("/etc", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("", "/etc", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	d.serves(t)
}
