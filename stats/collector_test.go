package stats

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/cgroup"
	"tare/spec"
	"tare/store"
)

// host is a collector with a store, cgroups and layers of its own.
type host struct {
	*Collector
	t *testing.T
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	log := slog.New(slog.DiscardHandler)
	st, _, err := store.Open(filepath.Join(t.TempDir(), "pods"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := cgroup.Open(context.Background(), cgroup.DriverCgroupfs, fmt.Sprintf("/tare-stats-%d", os.Getpid()), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	layers, images := t.TempDir(), t.TempDir()
	c, err := New(t.Context(), Options{Layers: layers, Images: images}, Deps{Store: st, Cgroups: tree, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if c.mountpoint != images {
		t.Errorf("mount point %s, want %s: both are on one filesystem", c.mountpoint, images)
	}
	t.Cleanup(func() { c.Close() })
	h := &host{c, t}
	h.await("the first pass, over an empty store, is made", func() bool { return len(c.kick) == 0 })
	time.Sleep(10 * time.Millisecond)
	return h
}

// container records a container whose process is in a cgroup of its own, until the test is over.
func (h *host) container(id spec.ContainerID, script string) *store.Container {
	h.t.Helper()
	path, err := h.Cgroups.Path("", "pod", id)
	if err != nil {
		h.t.Fatal(err)
	}
	group, err := h.Cgroups.Create(h.t.Context(), path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "read go; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx := context.Background()
		group.Kill(ctx)
		cmd.Wait()
		if err := group.Remove(ctx); err != nil {
			h.t.Error(err)
		}
	})
	files := group.Join()
	if len(files) == 0 {
		h.t.Skip("the process would have to be born in a cgroup v2")
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			h.t.Fatal(err)
		}
	}
	fmt.Fprintln(stdin, "go")
	ctr := &store.Container{ID: id, Pod: "pod", State: store.ContainerRunning, CreatedAt: time.Now(), StartedAt: time.Now(),
		Pid: cmd.Process.Pid, CgroupPath: string(path)}
	p := &store.Pod{ID: "pod", State: store.PodReady, Spec: spec.Pod{UID: "u"}, Containers: map[spec.ContainerID]*store.Container{id: ctr}}
	if err := h.Store.Create(p); err != nil {
		h.t.Fatal(err)
	}
	return ctr
}

func (h *host) await(what string, holds func() bool) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// cgroupFiles counts the open files of this process in cgroups.
func cgroupFiles() (n int) {
	for _, fd := range fds(os.Getpid()) {
		target, _ := os.Readlink(fdDir(os.Getpid()) + "/" + fd)
		if strings.Contains(target, "/tare-stats-") {
			n++
		}
	}
	return n
}

func TestCollector(t *testing.T) {
	h := newHost(t)
	ctr := h.container("c1", "exec 5</dev/null; while :; do :; done")
	h.await("processor time", func() bool { return h.Container(ctr, Basic).Usage.CPU.Total > 50*time.Millisecond })
	all := h.Container(ctr, Full)
	if all.NanoCores == 0 || all.OpenFiles == 0 || len(all.Usage.Detail.Processes) != 1 || all.Sockets.Time.IsZero() {
		t.Errorf("%+v %+v", all, all.Usage)
	}
	if want := uint64(len(fds(ctr.Pid))); all.Descriptors != want {
		t.Errorf("%d descriptors, want %d", all.Descriptors, want)
	}
	p, err := h.Store.Pod("pod")
	if err != nil {
		t.Fatal(err)
	}
	pod := h.Pod(p, Basic)
	if len(pod.Containers) != 1 || pod.Processes != 1 || pod.OwnCgroup || pod.Usage.CPU.Total == 0 {
		t.Errorf("%+v", pod)
	}
	if n := cgroupFiles(); n == 0 {
		t.Error("no file is kept open")
	}
	_, err = h.Store.Update("pod", func(p *store.Pod) error {
		p.Containers["c1"].State, p.Containers["c1"].FinishedAt = store.ContainerExited, time.Now()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.await("files are closed when the container ends", func() bool { return cgroupFiles() == 0 })
	if late := h.Container(ctr, Basic); late.Usage == nil { // the caller's record is older than the store's
		t.Error("a cgroup that is there was not read")
	}
	if n := cgroupFiles(); n != 0 {
		t.Errorf("%d files are open after a late reading", n)
	}
}

func TestRefresh(t *testing.T) {
	h := newHost(t)
	ctr := &store.Container{ID: "c1", Pod: "pod", State: store.ContainerCreated, CreatedAt: time.Now()}
	p := &store.Pod{ID: "pod", State: store.PodReady, Spec: spec.Pod{UID: "u"}, Containers: map[spec.ContainerID]*store.Container{"c1": ctr}}
	if err := h.Store.Create(p); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.layers, "c1/upper"), 0o700); err != nil {
		t.Fatal(err)
	}
	measured := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.Collector.measured)
	}
	time.Sleep(20 * time.Millisecond)
	if measured() != 0 {
		t.Error("layers are measured though nobody asks")
	}
	first := h.Container(ctr, Basic)
	if first.Usage != nil || !first.Layer.Time.Equal(ctr.CreatedAt) || first.Layer.Bytes != 0 {
		t.Errorf("before it was measured: %+v", first)
	}
	h.await("layer is measured", func() bool { return h.Layers().Inodes == 2 })
	if l := h.Container(ctr, Basic).Layer; l.Inodes != 2 || !l.Time.After(ctr.CreatedAt) {
		t.Errorf("%+v", l)
	}
	if err := h.Store.Delete("pod"); err != nil {
		t.Fatal(err)
	}
	h.await("it is forgotten with the container", func() bool { return measured() == 0 })
}

func TestFilesystem(t *testing.T) {
	h := newHost(t)
	fs, err := h.Filesystem()
	if err != nil || fs.Bytes == 0 || fs.Device == "" {
		t.Errorf("%+v, %v", fs, err)
	}
}

func BenchmarkContainers(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	st, _, err := store.Open(filepath.Join(b.TempDir(), "pods"))
	if err != nil {
		b.Fatal(err)
	}
	tree, err := cgroup.Open(context.Background(), cgroup.DriverCgroupfs, fmt.Sprintf("/tare-stats-%d", os.Getpid()), log)
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	dir := b.TempDir()
	c, err := New(b.Context(), Options{Layers: dir, Images: dir}, Deps{Store: st, Cgroups: tree, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const n = 50
	p := &store.Pod{ID: "pod", State: store.PodReady, Spec: spec.Pod{UID: "u"}, Containers: map[spec.ContainerID]*store.Container{}}
	for i := range n {
		id := spec.ContainerID(fmt.Sprintf("c%d", i))
		path, err := tree.Path("", "pod", id)
		if err != nil {
			b.Fatal(err)
		}
		g, err := tree.Create(b.Context(), path, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer g.Remove(context.Background())
		p.Containers[id] = &store.Container{ID: id, Pod: "pod", State: store.ContainerRunning, CgroupPath: string(path),
			Spec: spec.Container{Name: string(id)}}
	}
	if err := st.Create(p); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, ctr := range p.Containers {
			if c.Container(ctr, Basic).Usage == nil {
				b.Fatal("nothing was read")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/50containers")
}
