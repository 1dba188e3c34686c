package keeper_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tare/keeper"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// built is another build of the keeper, and what go build was told.
func built(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), "tare/cmd/keeper")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build keeper: %v\n%s", err, out)
	}
	return path
}

// connectWith connects as a daemon does that has this keeper beside it.
func (n *node) connectWith(other string) {
	n.t.Helper()
	former := binary
	binary = other
	defer func() { binary = former }()
	n.Close()
	<-n.Lost()
	n.connect()
}

// TestReplace has the keeper execute newer programs while processes run, write and end. It stays the same process, and they
// its children.
func TestReplace(t *testing.T) {
	const total = 1_000_000
	n := newNode(t)
	former, pid := built(t, "former", "-tags", "formerkeeper"), n.Pid()
	next := built(t, "next", "-ldflags", "-s")
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	n.logged("fast", log, fmt.Sprintf("exec seq 1 %d", total))
	ran := n.run(keeper.Run{Key: "stays", Program: shell(t, nil, nil, "exec sleep 1000")})
	stored := logFile(t, filepath.Join(dir, "stored"))
	if err := n.Put(t.Context(), "stored", stored); err != nil {
		t.Fatal(err)
	}
	for i, other := range []string{next, binary, next, binary, next} {
		n.run(keeper.Run{Key: fmt.Sprint("ends-", i), Program: shell(t, nil, nil, fmt.Sprintf("sleep 0.0%d; exit %d", i, i+1))})
		time.Sleep(10 * time.Millisecond) // at some moment of the writing
		n.connectWith(other)
		if n.Pid() != pid {
			t.Fatalf("the keeper is another process, %d, was %d", n.Pid(), pid)
		}
		want, err := nsutil.FileDigest(other)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := nsutil.FileDigest(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || got != want {
			t.Errorf("the keeper executes %s, %v, want %s", got, err, want)
		}
	}
	for i := range 5 {
		key := fmt.Sprint("ends-", i)
		await(t, key+" has ended", func() bool { return n.state(key) == keeper.Exited })
		if e := n.listed(key); !e.Known || e.Status.ExitStatus() != i+1 {
			t.Errorf("%s: exit %+v, want status %d", key, e, i+1)
		}
	}
	await(t, "all has been written", func() bool { return n.state("fast") == keeper.Exited })
	sequence(t, []string{log}, total)
	if files, err := n.Get(t.Context(), "stored"); err != nil || len(files) != 1 {
		t.Errorf("what was stored: %v, %v", files, err)
	}
	if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "what was killed has ended", func() bool { return n.state("stays") == keeper.Exited })
	if e := n.listed("stays"); !e.Known || e.Status.Signal() != unix.SIGKILL {
		t.Errorf("exit %+v, want SIGKILL", e)
	}
	// To one that speaks the version before, which is told of no other from then on.
	n.connectWith(former)
	n.connectWith(next)
	if got, err := nsutil.FileDigest(fmt.Sprintf("/proc/%d/exe", n.Pid())); err != nil {
		t.Error(err)
	} else if want, _ := nsutil.FileDigest(former); got != want {
		t.Error("a keeper of the former version was replaced")
	}
	n.run(keeper.Run{Key: "old", Program: shell(t, nil, nil, "exit 3")})
	await(t, "it has ended", func() bool { return n.state("old") == keeper.Exited })
	if e := n.listed("old"); e.Status.ExitStatus() != 3 {
		t.Errorf("exit %+v, want 3", e)
	}
}

// TestReplaceHeir replaces a keeper that inherited a process, whose parent it is not: the end is told all the same.
func TestReplaceHeir(t *testing.T) {
	n := newNode(t)
	ran := n.run(keeper.Run{Key: "a", Program: shell(t, nil, nil, "exec sleep 1000")})
	n.kill(false)
	n.connect()
	n.connectWith(built(t, "next", "-ldflags", "-s"))
	if n.state("a") != keeper.Running {
		t.Fatal("the process is not in custody")
	}
	if err := nsutil.PidfdSignal(ran.PidFD, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := n.exit("a"); e.Known && e.Status.Signal() != unix.SIGTERM {
		t.Errorf("exit %+v, want SIGTERM", e)
	}
}
