package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/keeper"
	"tare/nsutil"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// binary is the real keeper, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "keeper")
	build := exec.Command("go", "build", "-o", binary, "tare/cmd/keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build keeper: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// node is a state directory with its keeper, and a client.
type node struct {
	*keeper.Client
	t     testing.TB
	dir   string
	exits chan keeper.Exit
}

// newNode starts a keeper that is gone when the test ends.
func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, dir: filepath.Join(t.TempDir(), "state"), exits: make(chan keeper.Exit, 1000)}
	n.connect()
	t.Cleanup(func() {
		if err := n.Stop(context.Background(), true); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(n.dir, "keeper.log"))
			t.Logf("keeper.log:\n%s", log)
		}
	})
	return n
}

func (n *node) connect() {
	n.t.Helper()
	exits := n.exits
	c, err := keeper.Connect(n.t.Context(), keeper.Options{
		StateDir: n.dir, Binary: binary,
		Exited: func(e keeper.Exit) { exits <- e },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.Client = c
}

// program is one that executes argv with the three descriptors; nil ones are /dev/null.
func program(t testing.TB, out, errout *os.File, argv ...string) *nsutil.Program {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	b := nsutil.NewBuilder()
	in := b.File(null, "null")
	o, e := in, in
	if out != nil {
		o = b.File(out, "stdout")
	}
	if errout != nil {
		e = b.File(errout, "stderr")
	}
	b.Stdio(in, o, e)
	b.NewSession(false)
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = argv[0]
	}
	b.Exec([]string{path}, argv, []string{"PATH=/usr/bin:/bin"})
	return b.Program()
}

func shell(t testing.TB, out, errout *os.File, script string) *nsutil.Program {
	return program(t, out, errout, "sh", "-c", script)
}

func (n *node) run(r keeper.Run) keeper.Ran {
	n.t.Helper()
	ran, err := n.Run(n.t.Context(), r)
	if err != nil {
		n.t.Fatalf("run %s: %v", r.Key, err)
	}
	n.t.Cleanup(func() { ran.PidFD.Close() })
	return ran
}

// exit waits for the exit of a key, which has to be the next one.
func (n *node) exit(key string) keeper.Exit {
	n.t.Helper()
	e := receive(n.t, n.exits)
	if e.Key != key {
		n.t.Fatalf("exit of %q, want %q", e.Key, key)
	}
	return e
}

// receive bounds waiting, so that a lost event fails the test instead of hanging it.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came within 20 s")
		panic("not reached")
	}
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestExitStatuses(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		name, script string
		want         syscall.WaitStatus
	}{
		{"success", "exit 0", 0},
		{"code", "exit 42", 42 << 8},
		{"killed", "kill -KILL $$", 9},
		{"terminated", "kill -TERM $$", 15},
		{"hung up", "kill -HUP $$", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := time.Now()
			ran := n.run(keeper.Run{Key: c.name, Program: shell(t, nil, nil, c.script)})
			e := n.exit(c.name)
			if e.Status != c.want || !e.Known || e.Pid != ran.Pid {
				t.Errorf("exit %+v of pid %d, want status %#x", e, ran.Pid, int(c.want))
			}
			if e.Time.Before(before) || e.Time.After(time.Now()) {
				t.Errorf("exit at %v, which is not between %v and now", e.Time, before)
			}
		})
	}
}

// TestInheritance sees that nothing of the keeper's own settings comes through to programs.
func TestInheritance(t *testing.T) {
	n := newNode(t)
	r, w := pipe(t)
	ran := n.run(keeper.Run{Key: "a", Tether: true, Program: shell(t, w, nil,
		"grep -E '^(Sig(Blk|Ign)):' /proc/self/status; ls /proc/self/fd; pwd")})
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n/\n"; string(out) != want {
		t.Errorf("inherited:\n%s\nwant:\n%s", out, want)
	}
	receive(t, ran.Exited)
}

func TestFailedOperation(t *testing.T) {
	n := newNode(t)
	_, err := n.Run(t.Context(), keeper.Run{Key: "a", Program: program(t, nil, nil, "/no/such/program")})
	var op *nsutil.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.ENOENT) || op.Name != "execve" {
		t.Fatalf("error %v, want that of execve, ENOENT", err)
	}
	if want := "execve /no/such/program: no such file or directory"; err.Error() != want {
		t.Errorf("error text %q, want %q", err, want)
	}
	// The key is free, and no exit is reported.
	n.run(keeper.Run{Key: "a", Program: shell(t, nil, nil, "exit 3")})
	if e := n.exit("a"); e.Status.ExitStatus() != 3 {
		t.Errorf("status %v, want 3", e.Status)
	}
}

func TestKeys(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	ran := n.run(keeper.Run{Key: "a", Program: program(t, nil, nil, "sleep", "1000")})
	if _, err := n.Run(ctx, keeper.Run{Key: "a", Program: program(t, nil, nil, "true")}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second run: %v, want already exists", err)
	}
	if err := n.Forget(ctx, "a"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("forget of a running process: %v, want failed precondition", err)
	}
	if err := n.Stop(ctx, false); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("stop while a process runs: %v, want failed precondition", err)
	}
	if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("a"); e.Status.Signal() != unix.SIGTERM {
		t.Errorf("status %v, want SIGTERM", e.Status)
	}
	l, err := n.List(ctx)
	if err != nil || len(l.Processes) != 1 || l.Processes[0].State != keeper.Exited || l.Processes[0].Status.Signal() != unix.SIGTERM {
		t.Errorf("list %+v, %v, want the exited process", l, err)
	}
	for range 2 {
		if err := n.Forget(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
	if l, err := n.List(ctx); err != nil || len(l.Processes) != 0 {
		t.Errorf("list after forget: %+v, %v", l, err)
	}
}

func TestGivenFiles(t *testing.T) {
	n := newNode(t)
	b := nsutil.NewBuilder()
	b.Unshare(unix.CLONE_NEWUTS)
	uts := b.Open("/proc/self/ns/uts", unix.O_RDONLY)
	b.Give("namespace", uts)
	b.Exit()
	ran := n.run(keeper.Run{Key: "pod", Program: b.Program(), Tether: true})
	if e := receive(t, ran.Exited); e.Status != 0 {
		t.Errorf("status %v", e.Status)
	}
	if len(ran.Given) != 1 {
		t.Fatalf("%d files given, want 1", len(ran.Given))
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", ran.Given[0].Fd()))
	own, _ := os.Readlink("/proc/self/ns/uts")
	if err != nil || !strings.HasPrefix(link, "uts:[") || link == own {
		t.Errorf("given %q, own is %q, %v", link, own, err)
	}
	ran.Given[0].Close()
}

func TestStore(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	r, w := pipe(t)
	if err := n.Put(ctx, "pod", r, w); err != nil {
		t.Fatal(err)
	}
	n.Close()
	n.connect()
	files, err := n.Get(ctx, "pod")
	if err != nil || len(files) != 2 {
		t.Fatalf("get: %d files, %v", len(files), err)
	}
	defer files[0].Close()
	defer files[1].Close()
	if _, err := files[1].WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v from the pipe that was stored", got, err)
	}
	if l, err := n.List(ctx); err != nil || len(l.Stored) != 1 || l.Stored[0] != "pod" {
		t.Errorf("stored %v, %v", l.Stored, err)
	}
	for range 2 {
		if err := n.Drop(ctx, "pod"); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.Get(ctx, "pod"); !errdefs.IsNotFound(err) {
		t.Errorf("get after drop: %v, want not found", err)
	}
}
