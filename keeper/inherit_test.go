package keeper_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare/keeper"
	"tare/keeper/proto"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// kill ends the keeper, and, if all is to be lost, the guard that holds what it held.
func (n *node) kill(guard bool) {
	n.t.Helper()
	if err := syscall.Kill(n.Pid(), syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	receive(n.t, n.Lost())
	if !guard {
		return
	}
	if err := syscall.Kill(n.guard(), syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
}

// guard is the guard's pid.
func (n *node) guard() int {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "keeper.guard"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// TestInherit kills keepers at any moment, one after the other, while a process writes as fast as it can, another now and then to
// a terminal, a third one ends, and logs are rotated. Nobody hands anything over: the next keeper has it all.
func TestInherit(t *testing.T) {
	const total = 3_000_000
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	n := newNode(t)
	dir := t.TempDir()
	fast, slow := filepath.Join(dir, "fast"), filepath.Join(dir, "slow")
	n.logged("fast", fast, fmt.Sprintf("exec seq 1 %d", total))
	n.logged("slow", slow, `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo $i; done; printf 'no end'; exec sleep 1000`)
	stored := logFile(t, filepath.Join(dir, "stored"))
	if err := n.Put(t.Context(), "stored", stored); err != nil {
		t.Fatal(err)
	}
	exits := map[string]syscall.WaitStatus{}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	rotated := []string{}
	for round := range rounds {
		key := fmt.Sprint("ends-", round)
		ran := n.run(keeper.Run{Key: key, Program: shell(t, nil, nil, fmt.Sprintf("sleep 0.0%d; exit %d", round%10, round))})
		exits[key] = syscall.WaitStatus(round << 8)
		tethered := n.run(keeper.Run{Key: "tethered", Program: shell(t, nil, nil, "sleep 1000"), Tether: true})
		if n.state("fast") == keeper.Running {
			old := fmt.Sprint(fast, ".", round)
			if err := os.Rename(fast, old); err != nil {
				t.Fatal(err)
			}
			rotated = append(rotated, old)
			go n.OpenLog(t.Context(), "fast", logFile(t, fast)) // ends with the keeper, if not before
		}
		time.Sleep(time.Duration(random.IntN(int(30 * time.Millisecond)))) // any moment
		n.kill(false)
		n.connect()
		poll(t, tethered.PidFD)
		if got := n.state("fast"); got == 0 {
			t.Fatalf("round %d: the process that writes is in nobody's custody", round)
		}
		_ = ran
	}
	await(t, "all has been written", func() bool { return n.state("fast") == keeper.Exited })
	for key, want := range exits {
		await(t, key+" has ended", func() bool { return n.state(key) == keeper.Exited })
		if e := n.listed(key); e.Known && e.Status != want {
			t.Errorf("%s: exit %+v, want status %d", key, e, want)
		} else if !e.Known {
			t.Logf("%s: the kernel does not tell the status", key)
		}
	}
	sequence(t, append(rotated, fast), total)
	await(t, "the beginning of a line is written", func() bool {
		data, _ := os.ReadFile(slow)
		return bytes.HasSuffix(data, []byte(" stdout P no end\n"))
	})
	if files, err := n.Get(t.Context(), "stored"); err != nil || len(files) != 1 {
		t.Errorf("what was stored: %v, %v", files, err)
	}
}

// TestGuardKilled kills the guard alone: there is another one.
func TestGuardKilled(t *testing.T) {
	n := newNode(t)
	ran := n.run(keeper.Run{Key: "a", Program: shell(t, nil, nil, "exec sleep 1000")})
	var open []int // descriptors of the keeper's
	for range 4 {
		old := n.guard()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "there is another guard", func() bool { return n.guard() != old })
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, len(fds))
	}
	if open[len(open)-1] > open[0] {
		t.Errorf("after each guard the keeper has %d descriptors", open)
	}
	n.kill(false)
	n.connect()
	if n.state("a") != keeper.Running {
		t.Error("the process is not in custody")
	}
	if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.exit("a")
}

// TestInheritEnded kills the keeper between a process's end and the end of its output, which a child of it holds: what comes for a moment
// is in the log, though the daemon forgets the process as soon as it hears that it has ended.
func TestInheritEnded(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "log")
	ran, _, _ := n.logged("a", path, "(sleep 1; echo late) & exit 7")
	poll(t, ran.PidFD)
	time.Sleep(100 * time.Millisecond) // it is reaped, and noted
	n.kill(false)
	n.connect()
	await(t, "it has ended", func() bool { return n.state("a") == keeper.Exited })
	if e := n.listed("a"); e.Status.ExitStatus() != 7 {
		t.Errorf("exit %+v, want status 7", e)
	}
	if err := n.Forget(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	wantLines(t, path, "stdout", "F late")
}

// TestInheritTerminal kills the keeper after a process with a terminal has closed it, or ended: the numbers of what was closed with the
// terminal's output name other files, or none.
func TestInheritTerminal(t *testing.T) {
	n := newNode(t)
	n.terminal("ended", filepath.Join(t.TempDir(), "log"), "exit 7")
	n.exit("ended")
	path := filepath.Join(t.TempDir(), "log")
	n.terminal("silent", path, "trap '' HUP; echo bye; exec sleep 1000 <&- >&- 2>&-")
	await(t, "the terminal is closed", func() bool { return n.parts("silent") == proto.PartPidFD|proto.PartLog })
	n.kill(false)
	n.connect()
	if e := n.listed("ended"); n.state("ended") != keeper.Exited || !e.Known || e.Status.ExitStatus() != 7 {
		t.Errorf("exit %+v, want status 7", e)
	}
	if state := n.state("silent"); state != keeper.Running {
		t.Errorf("the process that runs on without a terminal is in state %d", state)
	}
	wantLines(t, path, "stdout", "F bye")
}

// terminal runs a shell script on a terminal, which is logged.
func (n *node) terminal(key, path, script string) keeper.Ran {
	n.t.Helper()
	root, err := os.Open("/")
	if err != nil {
		n.t.Fatal(err)
	}
	defer root.Close()
	b := nsutil.NewBuilder()
	tty := b.Terminal(b.File(root, "root"), 0)
	b.Stdio(tty.FD(), tty.FD(), tty.FD())
	b.NewSession(true)
	b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", script}, []string{"PATH=/usr/bin:/bin"})
	ran := n.run(keeper.Run{Key: key, Program: b.Program(), Console: true, Log: logFile(n.t, path)})
	if len(ran.Given) != 1 {
		n.t.Fatalf("%d files given, want the console", len(ran.Given))
	}
	n.t.Cleanup(func() { ran.Given[0].Close() })
	return ran
}

// parts are what is held of a process.
func (n *node) parts(key string) proto.Parts {
	n.t.Helper()
	held, err := n.Fetch(n.t.Context(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	defer held.Close()
	parts, _ := held.Flatten()
	return parts
}

// state is that of a process in custody; 0: there is none.
func (n *node) state(key string) keeper.State {
	n.t.Helper()
	l, err := n.List(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	for _, p := range l.Processes {
		if p.Key == key {
			return p.State
		}
	}
	return 0
}

// sequence checks that the logs have every number once.
func sequence(t *testing.T, paths []string, total int) {
	t.Helper()
	want := 1
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, append(strconv.AppendInt([]byte(" stdout F "), int64(want), 10), '\n')) {
				t.Fatalf("%s has %q where line %d should be", filepath.Base(path), line, want)
			}
			want++
		}
	}
	if want != total+1 {
		t.Errorf("the logs end with line %d, want %d", want-1, total)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it is not so", what)
		}
	}
}
