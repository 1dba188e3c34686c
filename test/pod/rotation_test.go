package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// rotation is one of a log, as the kubelet does it (k8s.io/kubernetes, pkg/kubelet/logs/container_log_manager.go,
// rotateLatestLog and processContainer), while which the daemon is killed.
type rotation struct {
	point   string // where; empty: before the call comes
	victim  string // daemon, or both: the keeper, too
	kubelet string // what it does then, one of kubelets
}

// The kubelet puts the renamed log back before the next daemon serves, or later, or never: it was killed, too.
var kubelets = []string{"puts it back", "is late", "dies"}

// TestRotationCutShort kills the daemon while a log is rotated. Whatever the kubelet then does, the log at
// its path grows again, and all files of it together have each line once.
func TestRotationCutShort(t *testing.T) {
	bin, err := crashBin()
	if err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{bin: bin})
	d.pull(t, busybox)
	for _, point := range []string{"", "log-reopen.noted", "log-reopen.opened", "log.carried", "log.replacing", "log-reopen.replaced"} {
		for _, victim := range []string{"daemon", "both"} {
			if victim == "both" && !*fully {
				continue
			}
			for _, kubelet := range kubelets {
				r := rotation{point, victim, kubelet}
				t.Run(strings.Join([]string{"at", point, victim, "kubelet", kubelet}, " "), func(t *testing.T) { r.check(t, d) })
			}
		}
	}
}

func (r rotation) check(t *testing.T, d *daemon) {
	h := &household{pod: d.runPod(t), orders: t.TempDir()}
	h.writer = h.start(script("i=0; while :; do echo $i; i=$((i+1)); echo $i > /orders/written; usleep 1000; done"),
		volume(&runtime.Mount{HostPath: h.orders, ContainerPath: "/orders"}))
	log := h.writer.logFile()
	h.grows(100, log)
	first, second := log+".20260101-000001", log+".20260101-000002"
	if err := os.Rename(log, first); err != nil {
		t.Fatal(err)
	}
	r.cut(h)
	back := func() {
		if err := os.Rename(first, log); err != nil {
			t.Fatal(err)
		}
	}
	if r.kubelet == "puts it back" {
		back()
		h.writesOn()
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	switch r.kubelet {
	case "is late":
		h.writesOn()
		back()
	case "dies":
		// The next one looks whether there is a log.
		if _, err := os.Stat(log); errors.Is(err, fs.ErrNotExist) {
			err = h.writer.reopenLog()
			if err != nil {
				t.Fatal(err)
			}
		}
		h.grows(h.lines(r.files(log)...), r.files(log)...)
		growsAt(t, log)
	case "puts it back":
		growsAt(t, log)
	}
	if err := os.Rename(log, second); err != nil {
		t.Fatal(err)
	}
	if err := h.writer.reopenLog(); err != nil {
		t.Fatal(err)
	}
	growsAt(t, log)
	h.lines(r.files(log)...)
	h.remove()
}

// cut calls for the log to be reopened and has the daemon killed then.
func (r rotation) cut(h *household) {
	h.t.Helper()
	if r.point == "" {
		if r.victim == "both" {
			_ = syscall.Kill(h.keeperPID(), syscall.SIGKILL) // a test of the daemon's end follows
		}
		h.signal(syscall.SIGKILL)
		return
	}
	plan := h.path("state/crash.plan")
	// A keeper that lives on counts for each text anew.
	writeFile(h.t, plan+".new", fmt.Sprintf("%s 1 %s in %s\n", r.point, r.victim, h.t.Name()))
	if err := os.Rename(plan+".new", plan); err != nil {
		h.t.Fatal(err)
	}
	ctx, hangUp := context.WithTimeout(context.Background(), callTimeout)
	called := make(chan error, 1)
	go func() { // ends with ctx
		_, err := h.runtime.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: h.writer.id})
		called <- err
	}()
	select {
	case <-h.done:
	case <-ctx.Done():
		h.t.Errorf("%s is not passed", r.point)
	}
	hangUp() // else the call waits for the next daemon
	if err := <-called; err == nil {
		h.t.Error("the call succeeds")
	}
}

// writesOn returns when the writer has written some lines more.
func (h *household) writesOn() {
	h.t.Helper()
	written := func() (n int) {
		text, _ := os.ReadFile(filepath.Join(h.orders, "written")) // it may be empty just now
		_, _ = fmt.Sscan(string(text), &n)
		return n
	}
	before := 0
	await(h.t, "the container writes", func() error {
		now := written()
		if before = cmp.Or(before, now); before == 0 || now < before+50 {
			return fmt.Errorf("line %d, first %d", now, before)
		}
		return nil
	})
}

// files are those of a log, in the order they were written in.
func (r rotation) files(log string) []string {
	rotated, _ := filepath.Glob(log + ".*")
	return append(rotated, log)
}

// growsAt waits until the file that is at a path is longer than it was.
func growsAt(t *testing.T, path string) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "what is at the log path grows", func() error {
		now, err := os.Stat(path)
		if err == nil && now.Size() <= before.Size() {
			err = fmt.Errorf("%d bytes", now.Size())
		}
		return err
	})
}
