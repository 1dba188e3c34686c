package keeper_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tare/keeper"
	"tare/keeper/proto"
	"tare/keeper/server"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

func TestTether(t *testing.T) {
	n := newNode(t)
	tethered := n.run(keeper.Run{Key: "exec", Program: program(t, nil, nil, "sleep", "1000"), Tether: true})
	free := n.run(keeper.Run{Key: "container", Program: program(t, nil, nil, "sleep", "1000")})
	n.Close()
	poll(t, tethered.PidFD)
	if e, ok := <-tethered.Exited; ok {
		t.Errorf("exit %+v came over a closed connection", e)
	}
	n.connect()
	l, err := n.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Processes {
		if p.Key == "container" && p.State != keeper.Running {
			t.Errorf("process that is not tethered: %+v", p)
		}
	}
	if err := nsutil.PidfdSignal(free.PidFD, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	n.exit("container")
}

// TestCallerGone ends a Run's context while it is on its way: the process does not stay.
func TestCallerGone(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := pipe(t)
	b := nsutil.NewBuilder()
	held := b.File(w, "pipe")
	b.Stdio(held, held, held)
	b.Exec([]string{"/bin/sleep"}, []string{"sleep", "1000"}, nil)
	cancel()
	if ran, err := n.Run(ctx, keeper.Run{Key: "a", Program: b.Program(), Tether: true}); err == nil { // the answer was faster: it is ours
		defer ran.PidFD.Close()
		t.Log("the answer was faster")
		if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	w.Close()
	if _, err := io.ReadAll(r); err != nil { // until the process that holds w has ended
		t.Error(err)
	}
}

// TestOrphan leaves a grandchild behind, which becomes the keeper's child and is reaped by it.
func TestOrphan(t *testing.T) {
	n := newNode(t)
	r, w := pipe(t)
	n.run(keeper.Run{Key: "a", Program: shell(t, w, nil, "setsid sh -c 'echo $$; exec sleep 1000' & exit 0")})
	w.Close()
	line := make([]byte, 20)
	k, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:k])))
	if err != nil {
		t.Fatal(err)
	}
	n.exit("a")
	fd, err := nsutil.PidfdOpen(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || strings.Fields(string(stat))[3] != strconv.Itoa(n.Pid()) {
		t.Errorf("orphan's parent is not the keeper %d: %s, %v", n.Pid(), stat, err)
	}
	if err := nsutil.PidfdSignal(fd, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll(t, fd)
	for deadline := time.Now().Add(10 * time.Second); ; { // reaped: no zombie
		if err := unix.Kill(pid, 0); err == unix.ESRCH {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("orphan is not reaped")
		}
	}
}

// TestOrphansBesideLaunch: while a launch waits that has a fork to come, for hooks here, orphans are reaped, and the fork's status is
// its own.
func TestOrphansBesideLaunch(t *testing.T) {
	n := newNode(t)
	meeting, err := nsutil.NewRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	defer meeting.Close()
	b := nsutil.NewBuilder()
	b.Meet(b.File(meeting.Theirs, "hooks"))
	b.Fork()
	b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "exit 7"}, nil)
	go n.Run(t.Context(), keeper.Run{Key: "waits", Program: b.Program()}) // ends with the meeting
	_, pidfd, err := meeting.Wait()
	if err != nil {
		t.Fatal(err)
	}
	pidfd.Close()
	parent := nsutil.NewBuilder()
	parent.NewSession(false)
	parent.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.1 &); done; exec sleep 1000"}, []string{"PATH=/usr/bin:/bin"})
	n.run(keeper.Run{Key: "parent", Program: parent.Program()})
	time.Sleep(300 * time.Millisecond)
	await(t, "the orphans are reaped", func() bool { return zombies(t, n.Pid()) == 0 })
	if err := meeting.GoOn(); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("waits"); e.Status.ExitStatus() != 7 {
		t.Errorf("exit %+v, want status 7", e)
	}
}

// zombies counts a process's.
func zombies(t *testing.T, parent int) (n int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, _ := os.ReadFile(path) // nothing of one that has gone
		if bytes.Contains(stat, fmt.Appendf(nil, ") Z %d ", parent)) {
			n++
		}
	}
	return n
}

// TestForkAndDie races launches whose every process ends at once with the reaper, and with
// orphans of unknown pids.
func TestForkAndDie(t *testing.T) {
	n := newNode(t)
	var all sync.WaitGroup
	for w := range 5 {
		all.Go(func() {
			for i := range 100 {
				b := nsutil.NewBuilder()
				if i%2 == 0 {
					b.Unshare(unix.CLONE_NEWPID)
				}
				b.Fork()
				if i%3 == 0 {
					b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "(true &) ; exit 9"}, nil)
				} else {
					b.Exit()
				}
				ran, err := n.Run(t.Context(), keeper.Run{Key: fmt.Sprint(w, " ", i), Program: b.Program(), Tether: true})
				if err != nil {
					t.Errorf("run %d: %v", i, err)
					return
				}
				ran.PidFD.Close()
				want := 0
				if i%3 == 0 {
					want = 9
				}
				if e := receive(t, ran.Exited); e.Status.ExitStatus() != want || e.Pid != ran.Pid {
					t.Errorf("run %d: exit %+v, want pid %d, status %d", i, e, ran.Pid, want)
				}
			}
		})
	}
	all.Wait()
	kids, err := exec.Command("ps", "--no-headers", "--ppid", strconv.Itoa(n.Pid())).Output()
	if err != nil || strings.Count(string(kids), "\n") != 1 || !strings.Contains(string(kids), "keeper-guard") {
		t.Errorf("children are left:\n%s", kids)
	}
}

// TestStuckLaunch has a launch hang before its fork: another process's exit is reported all the
// same, and so is the end of a stranger whose pid could be that of the fork.
func TestStuckLaunch(t *testing.T) {
	n := newNode(t)
	r, w := pipe(t)
	b := nsutil.NewBuilder()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Open(fifo, unix.O_RDONLY) // waits for a writer
	b.Fork()
	b.Exit()
	stuck := make(chan error, 1)
	go func() {
		ran, err := n.Run(t.Context(), keeper.Run{Key: "stuck", Program: b.Program(), Tether: true})
		if err == nil {
			ran.PidFD.Close()
		}
		stuck <- err
	}()
	// The shell's child is orphaned and ends first in line, unknown to the keeper.
	n.run(keeper.Run{Key: "a", Program: shell(t, nil, w, "(setsid sleep 0.1 &); exec sleep 0.4")})
	w.Close()
	io.ReadAll(r)
	n.exit("a")
	n.run(keeper.Run{Key: "b", Program: program(t, nil, nil, "true")})
	n.exit("b")
	wr, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	wr.Close()
	if err := receive(t, stuck); err != nil {
		t.Error(err)
	}
}

// TestBigProgram sends one that fits no datagram.
func TestBigProgram(t *testing.T) {
	n := newNode(t)
	r, w := pipe(t)
	argv := []string{"sh", "-c", `echo $# ${#1}`, "sh"}
	for range 15 {
		argv = append(argv, strings.Repeat("x", 100_000))
	}
	n.run(keeper.Run{Key: "a", Program: program(t, w, nil, argv...)})
	w.Close()
	if out, err := io.ReadAll(r); err != nil || string(out) != "15 100000\n" {
		t.Errorf("output %q, %v", out, err)
	}
	n.exit("a")
}

// TestGarbage sends what is not the protocol; others are served on.
func TestGarbage(t *testing.T) {
	n := newNode(t)
	hello := proto.Hello{Min: proto.MinVersion, Max: proto.MaxVersion}.Append(nil)
	for _, c := range []struct {
		name    string
		packets []proto.Packet
	}{
		{"no hello", []proto.Packet{{Kind: proto.KindList}}},
		{"cut hello", []proto.Packet{{Kind: proto.KindHello, Body: []byte{1}}}},
		{"unknown kind", []proto.Packet{{Kind: proto.KindHello, Body: hello}, {Kind: 77}}},
		{"cut run", []proto.Packet{{Kind: proto.KindHello, Body: hello}, {Kind: proto.KindRun, Body: bytes.Repeat([]byte{0xff}, 100)}}},
		{"cut key", []proto.Packet{{Kind: proto.KindHello, Body: hello}, {Kind: proto.KindGet, Body: []byte{9, 0, 0, 0}}}},
		{"adopt without files", []proto.Packet{{Kind: proto.KindHello, Body: hello}, {Kind: proto.KindAdopt, Body: proto.Held{Key: "a", Pid: 1, Parts: proto.PartPidFD}.Append(nil)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := proto.Dial(n.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, p := range c.packets {
				if err := conn.Send(&p, time.Now().Add(10*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			for err == nil { // answers, then the end
				_, err = conn.Recv()
			}
		})
	}
	if _, err := n.List(t.Context()); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func TestVersions(t *testing.T) {
	n := newNode(t)
	conn, err := proto.Dial(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := proto.Packet{Kind: proto.KindHello, ID: 1, Body: proto.Hello{Min: proto.MaxVersion + 1, Max: proto.MaxVersion + 3}.Append(nil)}
	if err := conn.Send(&p, time.Time{}); err != nil {
		t.Fatal(err)
	}
	reply, err := conn.Recv()
	if err != nil || reply.Kind != proto.KindFault {
		t.Fatalf("answer %+v, %v; want a fault", reply, err)
	}
}

func TestOneKeeper(t *testing.T) {
	n := newNode(t)
	if _, err := server.Listen(n.dir); err == nil || !strings.Contains(err.Error(), server.ErrRunning.Error()) {
		t.Errorf("second listener: %v", err)
	}
	out, err := exec.Command(binary, "--state", n.dir).CombinedOutput()
	if ee, ok := err.(*exec.ExitError); !ok || ee.ExitCode() != proto.ExitRunning {
		t.Errorf("second keeper: %v, %s", err, out)
	}
	// Daemons that start at the same time get one keeper.
	dir := filepath.Join(t.TempDir(), "state")
	var all sync.WaitGroup
	pids := make([]int, 8)
	for i := range pids {
		all.Go(func() {
			m := &node{t: t, dir: dir, exits: make(chan keeper.Exit, 1)}
			m.connect()
			pids[i] = m.Pid()
			m.Close()
		})
	}
	all.Wait()
	m := &node{t: t, dir: dir, exits: make(chan keeper.Exit, 1)}
	m.connect()
	for _, pid := range pids {
		if pid != m.Pid() {
			t.Errorf("keepers %v, want all to be %d", pids, m.Pid())
			break
		}
	}
	if err := m.Stop(t.Context(), false); err != nil {
		t.Error(err)
	}
}

// TestAdopt kills the keeper and its guard under a running container and hands it to the next keeper: its output
// goes on into the log, and its exit is known where the kernel keeps it.
func TestAdopt(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	path, flag := filepath.Join(dir, "log"), filepath.Join(dir, "flag")
	ran, out, errout := n.logged("a", path, fmt.Sprintf(
		`echo one; while [ ! -e %s ]; do sleep 0.02; done; echo three; exit 7`, flag))
	for deadline := time.Now().Add(10 * time.Second); len(lines(t, path, "stdout")) < 1 && time.Now().Before(deadline); {
	}
	old := n.Pid()
	n.kill(true)
	n.connect()
	if n.Pid() == old {
		t.Fatal("the killed keeper answers")
	}
	held := keeper.Custody{PidFD: ran.PidFD, Stdout: out, Stderr: errout, Log: logFile(t, path)}
	if err := n.Adopt(t.Context(), "a", ran.Pid, held); err != nil {
		t.Fatal(err)
	}
	logFile(t, flag)
	e := n.exit("a")
	wantLines(t, path, "stdout", "F one", "F three")
	if e.Pid != ran.Pid {
		t.Errorf("exit %+v, want pid %d", e, ran.Pid)
	}
	if !e.Known {
		t.Logf("the kernel does not tell the status of an adopted process: %+v", e)
		if e.Status.ExitStatus() != 255 {
			t.Errorf("status %v, want 255", e.Status)
		}
	} else if e.Status.ExitStatus() != 7 {
		t.Errorf("status %v, want 7", e.Status)
	}
}

// TestAdoptDead hands over a process that ended while no keeper was there.
func TestAdoptDead(t *testing.T) {
	n := newNode(t)
	ran := n.run(keeper.Run{Key: "a", Program: program(t, nil, nil, "sleep", "1000")})
	n.kill(true)
	if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	poll(t, ran.PidFD)
	n.connect()
	if err := n.Adopt(t.Context(), "a", ran.Pid, keeper.Custody{PidFD: ran.PidFD}); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("a"); e.Known && e.Status.Signal() != unix.SIGTERM {
		t.Errorf("exit %+v, want SIGTERM", e)
	}
}

// TestLeaks counts what a keeper has open before and after many runs.
func TestLeaks(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "log")
	round := func(i int) {
		key := fmt.Sprint(i)
		n.logged(key, path, "echo x; echo y >&2")
		n.exit(key)
		if err := n.Forget(t.Context(), key); err != nil {
			t.Error(err)
		}
		ran := n.run(keeper.Run{Key: key, Program: program(t, nil, nil, "true"), Tether: true})
		receive(t, ran.Exited)
		if _, err := n.Run(t.Context(), keeper.Run{Key: key, Program: program(t, nil, nil, "/no/such")}); err == nil {
			t.Error("a missing program runs")
		}
	}
	count := func() int {
		if _, err := n.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n.open()
	}
	for i := range 20 {
		round(i)
	}
	before := count()
	for i := range 200 {
		round(i)
	}
	for deadline := time.Now().Add(10 * time.Second); count() > before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors are open, %d before", count(), before)
		}
	}
}
