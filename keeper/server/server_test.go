package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tare/keeper"
	"tare/keeper/server"
	"tare/nsutil"
)

// TestInProcess runs client and server in this process, where the race detector sees both: many
// callers at once, exits, logs, files, rotation, and a client that goes and comes back. The server is never
// the same process as its client otherwise; here it also reaps the test's children, of which there are
// no others.
func TestInProcess(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := server.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(log)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()

	h := &harness{t: t, dir: dir, exits: map[string]chan keeper.Exit{}}
	h.connect(log)
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for w := range 6 {
		all.Go(func() {
			for i := range 15 {
				h.container(fmt.Sprintf("%d-%d", w, i))
				h.exec(fmt.Sprintf("exec-%d-%d", w, i))
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
	h.client.Close()
	<-h.client.Lost()
	h.connect(log)
	if l, err := h.client.List(t.Context()); err != nil || len(l.Processes)+len(l.Stored) > 0 {
		t.Errorf("left: %+v, %v", l, err)
	}
	if err := h.client.Stop(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

type harness struct {
	t      *testing.T
	dir    string
	client *keeper.Client

	mu    sync.Mutex
	exits map[string]chan keeper.Exit
}

func (h *harness) connect(log *slog.Logger) {
	c, err := keeper.Connect(h.t.Context(), keeper.Options{StateDir: h.dir, Log: log, Exited: func(e keeper.Exit) { h.exit(e.Key) <- e }})
	if err != nil {
		h.t.Fatal(err)
	}
	h.client = c
}

// exit is the channel on which a key's exit is awaited.
func (h *harness) exit(key string) chan keeper.Exit {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.exits[key] == nil {
		h.exits[key] = make(chan keeper.Exit, 1)
	}
	return h.exits[key]
}

func script(out *os.File, text string) *nsutil.Program {
	b := nsutil.NewBuilder()
	o := b.File(out, "out")
	b.Stdio(o, o, o)
	b.Fork()
	b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", text}, []string{"PATH=/usr/bin:/bin"})
	return b.Program()
}

// container lives the life of one: run, log, rotation, stored files, exit, forget.
func (h *harness) container(key string) {
	path := filepath.Join(h.dir, key)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer r.Close()
	ctx := h.t.Context()
	ran, err := h.client.Run(ctx, keeper.Run{Key: key, Program: script(w, "seq 1 500; exit 3"), Stdout: r, Log: file})
	w.Close()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer ran.PidFD.Close()
	_ = h.client.OpenLog(ctx, key, file) // it may be too late, which is an error
	if err := h.client.Put(ctx, key, r); err != nil {
		h.t.Error(err)
	}
	e := <-h.exit(key)
	if e.Status.ExitStatus() != 3 || e.Pid != ran.Pid {
		h.t.Errorf("exit %+v", e)
	}
	if data, err := os.ReadFile(path); err != nil || strings.Count(string(data), "\n") != 500 {
		h.t.Errorf("log of %d lines, %v", strings.Count(string(data), "\n"), err)
	}
	files, err := h.client.Get(ctx, key)
	if err != nil || len(files) != 1 {
		h.t.Errorf("get: %d files, %v", len(files), err)
	}
	for _, f := range files {
		f.Close()
	}
	for _, do := range []func() error{
		func() error { return h.client.Drop(ctx, key) },
		func() error { return h.client.Forget(ctx, key) },
	} {
		if err := do(); err != nil {
			h.t.Error(err)
		}
	}
}

func (h *harness) exec(key string) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer null.Close()
	ran, err := h.client.Run(h.t.Context(), keeper.Run{Key: key, Program: script(null, "exit 4"), Tether: true})
	if err != nil {
		h.t.Error(err)
		return
	}
	ran.PidFD.Close()
	if e := <-ran.Exited; e.Status.ExitStatus() != 4 {
		h.t.Errorf("exit %+v", e)
	}
}
