package keeper_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tare/keeper"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// logFile opens a log as the daemon does.
func logFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// lines returns a log's records of one stream, without time and stream.
func lines(t testing.TB, path, stream string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		_, rest, _ := strings.Cut(s.Text(), " ")
		if name, rest, ok := strings.Cut(rest, " "); ok && name == stream {
			out = append(out, rest)
		}
	}
	return out
}

func wantLines(t *testing.T, path, stream string, want ...string) {
	t.Helper()
	if got := lines(t, path, stream); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s of %s: %q, want %q", stream, filepath.Base(path), got, want)
	}
}

// logged is a shell script whose outputs are logged; it returns the pipes' read ends, which the
// daemon would keep.
func (n *node) logged(key, path, script string) (ran keeper.Ran, out, errout *os.File) {
	n.t.Helper()
	outR, outW := pipe(n.t)
	errR, errW := pipe(n.t)
	ran = n.run(keeper.Run{
		Key: key, Program: shell(n.t, outW, errW, script),
		Stdout: outR, Stderr: errR, Log: logFile(n.t, path),
	})
	outW.Close()
	errW.Close()
	return ran, outR, errR
}

func TestLog(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "log")
	n.logged("a", path, `echo out; echo err >&2; printf end`)
	n.exit("a")
	// The exit comes after the output.
	wantLines(t, path, "stdout", "F out", "P end")
	wantLines(t, path, "stderr", "F err")
}

// TestDrained runs a process that writes more than a pipe holds, though nobody wants it.
func TestDrained(t *testing.T) {
	n := newNode(t)
	r, w := pipe(t)
	n.run(keeper.Run{Key: "a", Program: shell(t, w, nil, "head -c 1000000 /dev/zero"), Stdout: r})
	w.Close()
	if e := n.exit("a"); e.Status != 0 {
		t.Errorf("status %v", e.Status)
	}
	if err := n.OpenLog(t.Context(), "a", logFile(t, filepath.Join(t.TempDir(), "log"))); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("open log of what is not logged: %v", err)
	}
}

// TestUnreadable has a file in the place of a pipe that splice(2) does not read: the keeper says why there is no output.
func TestUnreadable(t *testing.T) {
	n := newNode(t)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	event := os.NewFile(uintptr(fd), "event")
	defer event.Close()
	n.run(keeper.Run{Key: "a", Program: shell(t, nil, nil, "true"), Stdout: event})
	n.exit("a") // reported after the output has ended
	log, err := os.ReadFile(filepath.Join(n.dir, "keeper.log"))
	if !strings.Contains(string(log), "key=a stream=stdout err=\"splice: invalid argument\"") {
		t.Errorf("keeper.log: %s, %v", log, err)
	}
}

// TestStranger reports an exit though a process that was left behind holds the pipe, and goes on logging.
func TestStranger(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	path, flag := filepath.Join(dir, "log"), filepath.Join(dir, "flag")
	n.logged("a", path, fmt.Sprintf(`(while [ ! -e %s ]; do sleep 0.02; done; echo late) & echo early`, flag))
	before := time.Now()
	e := n.exit("a")
	if d := time.Since(before); d > 10*time.Second {
		t.Errorf("exit was reported after %v", d)
	}
	if d := time.Since(e.Time); d < time.Second { // it is reported after the waiting for the output
		t.Errorf("exit's time is %v before the report", d)
	}
	logFile(t, flag)
	for len(lines(t, path, "stdout")) < 2 {
		if time.Since(before) > 20*time.Second {
			t.Fatal("the stranger's output is not logged")
		}
		time.Sleep(5 * time.Millisecond)
	}
	wantLines(t, path, "stdout", "F early", "F late")
	if err := n.Forget(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "log")
	ran := n.terminal("a", path, "stty -echo; echo ready; read x; echo got $x; test -t 2")
	if _, err := ran.Given[0].WriteString("hello\n"); err != nil {
		t.Error(err)
	}
	ran.Given[0].Close()
	if e := n.exit("a"); e.Status != 0 {
		t.Errorf("status %v", e.Status)
	}
	got := strings.Join(lines(t, path, "stdout"), "|")
	if !strings.HasSuffix(got, "F ready|F got hello") {
		t.Errorf("log %q", got)
	}
}

// TestRotation replaces the log again and again while the container writes: what the files hold
// together is what was written.
func TestRotation(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	const total, files = 300_000, 40
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	n.logged("a", path(0), fmt.Sprintf("seq 1 %d; seq 1 %d >&2", total, total))
	for i := 1; i < files; i++ {
		f := logFile(t, path(i))
		err := n.OpenLog(t.Context(), "a", f)
		f.Close()
		if errdefs.IsFailedPrecondition(err) {
			t.Logf("output ended during file %d", i)
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if e := n.exit("a"); e.Status != 0 || e.Dropped != 0 {
		t.Errorf("exit %+v", e)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		next := 1
		for i := range files {
			if _, err := os.Stat(path(i)); err != nil {
				break
			}
			for _, l := range lines(t, path(i), stream) {
				if l != fmt.Sprintf("F %d", next) {
					t.Fatalf("%s, file %d: %q, want line %d", stream, i, l, next)
				}
				next++
			}
		}
		if next != total+1 {
			t.Errorf("%s ends at line %d of %d", stream, next-1, total)
		}
	}
}

// TestDaemonAway closes the daemon's connection: output is logged all the same, an exit waits
// to be listed, and what is held can be fetched.
func TestDaemonAway(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	path, flag, done := filepath.Join(dir, "log"), filepath.Join(dir, "flag"), filepath.Join(dir, "done")
	wait := fmt.Sprintf("while [ ! -e %s ]; do sleep 0.02; done; ", flag)
	short, _, _ := n.logged("short", path, wait+"echo bye; exit 5")
	n.logged("long", filepath.Join(dir, "other"), fmt.Sprintf("while [ ! -e %s ]; do sleep 0.02; done; exit 6", done))
	n.Close()
	<-n.Lost()
	logFile(t, flag)
	poll(t, short.PidFD)
	n.connect()
	e := n.listed("short")
	if e.Status.ExitStatus() != 5 || e.Pid != short.Pid {
		t.Errorf("exit %+v", e)
	}
	wantLines(t, path, "stdout", "F bye")
	held, err := n.Fetch(t.Context(), "long")
	if err != nil || held.PidFD == nil || held.Stdout == nil || held.Stderr == nil || held.Log == nil || held.Console != nil {
		t.Errorf("fetched %+v, %v", held, err)
	}
	held.Close()
	logFile(t, done)
	e = receive(t, n.exits)
	if e.Key == "short" { // reported after the new connection was made, and listed too
		e = receive(t, n.exits)
	}
	if e.Key != "long" || e.Status.ExitStatus() != 6 {
		t.Errorf("exit %+v", e)
	}
}

// poll waits for the end of a process.
func poll(t testing.TB, pidfd *os.File) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 20_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("process has not ended: %v", err)
		}
		return
	}
}

// listed returns an exit from the list, where it appears within the time that draining takes.
func (n *node) listed(key string) keeper.Exit {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		l, err := n.List(n.t.Context())
		if err != nil {
			n.t.Fatal(err)
		}
		for _, p := range l.Processes {
			if p.Key == key && p.State == keeper.Exited {
				return p.Exit
			}
		}
	}
	n.t.Fatalf("exit of %q is not listed", key)
	panic("not reached")
}
