package nsutil

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run launches a program, with its stdout and stderr in a pipe, and returns the output and exit
// status of the process it became.
func run(t *testing.T, build func(b *Builder, out FD)) (string, syscall.WaitStatus, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := NewBuilder()
	build(b, b.File(w, "out"))
	var pids []int
	st, err := Launch(b.Program(), Watch{Forked: func(pid int) error { pids = append(pids, pid); return nil }})
	w.Close()
	out, rerr := io.ReadAll(r)
	if rerr != nil {
		t.Fatal(rerr)
	}
	var ws syscall.WaitStatus
	for _, pid := range pids {
		if _, werr := syscall.Wait4(pid, &ws, 0, nil); werr != nil {
			t.Errorf("wait for %d: %v", pid, werr)
		}
	}
	st.close()
	return string(out), ws, b.Program().Explain(err)
}

func TestLaunchExecutes(t *testing.T) {
	out, ws, err := run(t, func(b *Builder, out FD) {
		b.Stdio(out, out, out)
		b.Exec([]string{"/nonexistent/sh", "/bin/sh"}, []string{"sh", "-c", "echo $GREETING; ls /proc/self/fd | wc -l; exit 7"}, []string{"GREETING=hello"})
	})
	if err != nil {
		t.Fatal(err)
	}
	// ls has 0, 1, 2 and the directory it reads: nothing of ours came along.
	if want := "hello\n4\n"; out != want {
		t.Errorf("output %q, want %q", out, want)
	}
	if ws.ExitStatus() != 7 {
		t.Errorf("exit status %d, want 7", ws.ExitStatus())
	}
}

func TestLaunchNamesTheFailedStep(t *testing.T) {
	_, ws, err := run(t, func(b *Builder, out FD) {
		b.Unshare(unix.CLONE_NEWNS)
		b.Chdir("/no/such/place")
		b.Exit()
	})
	var oe *OpError
	if !errors.As(err, &oe) || !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("error %v, want an OpError with ENOENT", err)
	}
	if got := err.Error(); got != "chdir /no/such/place: no such file or directory" {
		t.Errorf("error text %q", got)
	}
	if ws.ExitStatus() != 127 {
		t.Errorf("exit status %d, want 127", ws.ExitStatus())
	}
}

// TestUserNamespace makes all namespaces under a new user namespace, becomes pid 1 by a second
// fork, and finds itself root there.
func TestUserNamespace(t *testing.T) {
	out, ws, err := run(t, func(b *Builder, out FD) {
		b.Unshare(unix.CLONE_NEWUSER)
		b.AwaitMaps(IDMaps{UID: "0 100000 65536\n", GID: "0 200000 65536\n"})
		b.SetIDs(0, 0, nil)
		b.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
		b.Fork()
		b.SetHostname("inside")
		b.LoopbackUp()
		b.Stdio(out, out, out)
		b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "echo $$; id -u; hostname; cat /proc/self/uid_map /proc/self/gid_map; cat /sys/class/net/lo/operstate 2>/dev/null"}, []string{"PATH=/bin:/usr/bin"})
	})
	if err != nil || ws.ExitStatus() != 0 && ws.ExitStatus() != 1 {
		t.Fatalf("err %v, status %v", err, ws)
	}
	got := strings.Fields(out)
	want := []string{"1", "0", "inside", "0", "100000", "65536", "0", "200000", "65536"}
	if len(got) < len(want) || strings.Join(got[:len(want)], " ") != strings.Join(want, " ") {
		t.Errorf("inside: %v, want %v", got, want)
	}
}

// nest becomes root of a user namespace inside another that maps 65536 ids, and shows itself.
func nest(b *Builder, out FD, inner IDMaps) {
	b.Unshare(unix.CLONE_NEWUSER)
	b.AwaitMaps(IDMaps{UID: "0 100000 65536\n", GID: "0 200000 65536\n"})
	b.SetIDs(0, 0, nil)
	b.NestUserNS(inner, func() {})
	b.Stdio(out, out, out)
	b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map"}, []string{"PATH=/bin:/usr/bin"})
}

func TestNestedUserNamespace(t *testing.T) {
	out, ws, err := run(t, func(b *Builder, out FD) {
		nest(b, out, IDMaps{UID: "0 0 65536\n", GID: "0 5 100\n"})
	})
	if err != nil || ws.ExitStatus() != 0 {
		t.Fatalf("err %v, status %v, output %q", err, ws, out)
	}
	if got, want := strings.Join(strings.Fields(out), " "), "0 0 0 0 65536 0 5 100"; got != want {
		t.Errorf("inside: %q, want %q", got, want)
	}
}

// TestNestedUserNamespaceFails maps ids that the outer namespace does not have.
func TestNestedUserNamespaceFails(t *testing.T) {
	out, ws, err := run(t, func(b *Builder, out FD) {
		nest(b, out, IDMaps{UID: "0 0 65536\n", GID: "0 0 65537\n"})
	})
	if want := `write gid_map "0 0 65537\n": operation not permitted`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if ws.ExitStatus() == 0 || out != "" {
		t.Errorf("the program went on: status %v, output %q", ws, out)
	}
}

// given launches a program that ends by itself and returns what it gave, closed with the test.
func given(t *testing.T, b *Builder) []*os.File {
	t.Helper()
	b.Exit()
	st, err := Launch(b.Program(), Watch{Forked: func(int) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.close)
	if _, err := syscall.Wait4(st.Pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	return st.Given
}

// TestGive makes namespaces in a short-lived child and gets them back as descriptors.
func TestGive(t *testing.T) {
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS)
	net, uts := b.Open("/proc/self/ns/net", unix.O_RDONLY), b.Open("/proc/self/ns/uts", unix.O_RDONLY)
	b.Give("namespaces", net, uts)
	files := given(t, b)
	if len(files) != 2 {
		t.Fatalf("%d descriptors, want 2", len(files))
	}
	for i, kind := range []string{"net", "uts"} {
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(files[i].Fd())))
		own, _ := os.Readlink("/proc/self/ns/" + kind)
		if err != nil || !strings.HasPrefix(link, kind+":[") || link == own {
			t.Errorf("descriptor %d is %q (own %q), %v", i, link, own, err)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	r, w, _ := os.Pipe()
	defer r.Close()
	defer w.Close()
	b := NewBuilder()
	b.CloneFlags(unix.CLONE_NEWNS)
	b.Unshare(unix.CLONE_NEWUSER)
	b.AwaitMaps(IDMaps{UID: "0 1 2\n", GID: "3 4 5\n"})
	b.Place(b.File(r, "root"), "/a/b", true)
	b.Exec([]string{"/bin/true"}, []string{"true"}, nil)
	p := b.Program()
	data := p.Encode()
	q, files, err := Decode(data)
	if err != nil || files != 1 {
		t.Fatalf("decode: %d files, %v", files, err)
	}
	q.Files = p.Files
	if !bytes.Equal(q.Encode(), data) {
		t.Error("decoding and encoding again gives other bytes")
	}
	for cut := range len(data) {
		if _, _, err := Decode(data[:cut]); err == nil {
			t.Fatalf("a program cut at %d of %d bytes is accepted", cut, len(data))
		}
	}
}

// Whatever is accepted can be linked: no operation or relocation reaches outside, which would panic. It is encoded and
// decoded again without a change. What is refused is refused as a malformed program.
func FuzzDecode(f *testing.F) {
	b := NewBuilder()
	b.Unshare(unix.CLONE_NEWNS)
	b.Exec([]string{"/bin/true"}, []string{"true"}, []string{"A=B"})
	f.Add(b.Program().Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, files, err := Decode(data)
		if err != nil {
			if !errors.Is(err, errBadProgram) {
				t.Errorf("refused by %v, want %v", err, errBadProgram)
			}
			return
		}
		p.Files = make([]*os.File, files)
		again := p.Encode()
		q, n, err := Decode(again)
		if err != nil || n != files {
			t.Fatalf("encoded again: %d files, %v; had %d", n, err, files)
		}
		q.Files = p.Files
		if !bytes.Equal(q.Encode(), again) {
			t.Error("changes each time it is encoded")
		}
		p.link(make([]step, len(p.Ops)), bytes.Clone(p.blob), make([]int, files), 3)
	})
}

func BenchmarkLaunch(bm *testing.B) {
	for bm.Loop() {
		b := NewBuilder()
		b.Exec([]string{"/bin/true"}, []string{"true"}, nil)
		st, err := Launch(b.Program(), Watch{Forked: func(int) error { return nil }})
		if err != nil {
			bm.Fatal(err)
		}
		syscall.Wait4(st.Pid, nil, 0, nil)
		st.close()
	}
}

// TestLaunchFromDeepStack launches on goroutines whose stacks have to grow on the way: what the
// kernel writes must not be lost to a stack that has moved.
func TestLaunchFromDeepStack(t *testing.T) {
	for depth := range 40 {
		done := make(chan bool)
		go func() {
			defer close(done)
			launchBelow(t, depth)
		}()
		<-done
	}
}

//go:noinline
func launchBelow(t *testing.T, depth int) byte {
	var frame [128]byte
	if depth > 0 {
		return launchBelow(t, depth-1) + frame[depth]
	}
	b := NewBuilder()
	b.Exit()
	st, err := Launch(b.Program(), Watch{Forked: func(int) error { return nil }})
	if err != nil || st.PidFD == nil {
		t.Errorf("launch: pidfd %v, %v", st.PidFD, err)
		return 0
	}
	defer st.close()
	if pid, err := PidfdPid(st.PidFD); err != nil || pid != st.Pid {
		t.Errorf("the pidfd is of process %d (%v), want %d", pid, err, st.Pid)
	}
	syscall.Wait4(st.Pid, nil, 0, nil)
	return frame[0]
}

// TestExecLabel: a label the kernel does not know is the step that fails, with or without the module.
func TestExecLabel(t *testing.T) {
	for m, want := range map[LSM]string{
		AppArmor: "lsm_set_self_attr apparmor exec no-such-profile: ",
		SELinux:  "lsm_set_self_attr selinux exec no-such-profile: ",
	} {
		_, _, err := run(t, func(b *Builder, out FD) {
			b.ExecLabel(m, "no-such-profile")
			b.Exec([]string{"/bin/true"}, []string{"true"}, nil)
		})
		known := errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EINVAL)
		if err == nil || !known || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s…", err, want)
		}
	}
}

// TestSchedule: a policy and an I/O priority that take the host's privileges go along into a user namespace and through a
// fork; one that does not go through a fork is set again without them.
func TestSchedule(t *testing.T) {
	batch := unix.SchedAttr{Policy: unix.SCHED_BATCH, Nice: -5}
	reset := batch
	reset.Flags = unix.SCHED_FLAG_RESET_ON_FORK
	out, ws, err := run(t, func(b *Builder, out FD) {
		b.IOPriority(IORealtime, 2, "realtime 2")
		b.Scheduler(batch, "batch")
		b.Unshare(unix.CLONE_NEWUSER)
		b.AwaitMaps(IDMaps{UID: "0 100000 65536\n", GID: "0 200000 65536\n"})
		b.SetIDs(0, 0, nil)
		b.Unshare(unix.CLONE_NEWPID)
		b.Fork()
		b.Scheduler(reset, "batch, reset on fork")
		b.Stdio(out, out, out)
		b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", `read -r line </proc/thread-self/stat; set -- $line; shift 18; echo "$1 ${23}"; cut -d' ' -f19,41 /proc/thread-self/stat`}, []string{"PATH=/bin:/usr/bin"})
	})
	if err != nil || ws.ExitStatus() != 0 {
		t.Fatalf("err %v, status %v, output %q", err, ws, out)
	}
	if want := "-5 3\n0 3\n"; out != want { // nice and policy, proc_pid_stat(5); a child loses only what is preferred, sched(7)
		t.Errorf("the process and its child are %q, want %q", out, want)
	}
	for name, step := range map[string]func(*Builder){
		"sched_setattr policy 99: invalid argument": func(b *Builder) { b.Scheduler(unix.SchedAttr{Policy: 99}, "policy 99") },
		"ioprio_set class 5: invalid argument":      func(b *Builder) { b.IOPriority(5, 0, "class 5") },
	} {
		if _, _, err := run(t, func(b *Builder, _ FD) { step(b) }); err == nil || err.Error() != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// TestDescriptorPaths: a directory of the host that a program was given is reached by no path of the container's, as
// working directory, command or interpreter. While it is open, it is: the paths are right.
func TestDescriptorPaths(t *testing.T) {
	dir := t.TempDir()
	host, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if err := os.WriteFile(dir+"/program", []byte("#!/bin/sh\necho ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := "/proc/self/fd/" + strconv.Itoa(int(host.Fd()))
	if err := os.WriteFile(dir+"/script", []byte("#!"+link+"/program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		closed bool
		build  func(b *Builder)
		want   error
	}{
		{"working directory", false, func(b *Builder) { b.Chdir(link) }, nil},
		{"working directory of a container", false, func(b *Builder) { b.ChdirInside(link) }, syscall.ELOOP},
		{"working directory when closed", true, func(b *Builder) { b.Chdir(link) }, syscall.ENOENT},
		{"command when closed", true, func(b *Builder) { b.Exec([]string{link + "/program"}, []string{"x"}, nil) }, syscall.ENOENT},
		{"interpreter when closed", true, func(b *Builder) { b.Exec([]string{dir + "/script"}, []string{"x"}, nil) }, syscall.ENOENT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := run(t, func(b *Builder, out FD) {
				b.File(host, "host")
				b.Stdio(out, out, out)
				if tt.closed {
					b.CloseAbove2()
				}
				tt.build(b)
				b.Exit()
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestLaunchBound: a launch that does not come to an end is ended, and nothing of it is left.
func TestLaunchBound(t *testing.T) {
	b := NewBuilder()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	never := b.File(r, "never")
	b.add("read", "never", unix.SYS_READ, never.arg, blobArg(b.reserve(8, 8)), Imm(1))
	b.Exit()
	var pid int
	st, err := Launch(b.Program(), Watch{Until: time.Now().Add(20 * time.Millisecond), Forked: func(child int) error { pid = child; return nil }})
	if !errors.Is(err, os.ErrDeadlineExceeded) || st.PidFD != nil {
		t.Errorf("error %v, want a deadline's", err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("the child ended by %v, %v", ws, err)
	}
}

// TestForkedIsAChild: what a fork reports has to be a child of ours that nobody has named before.
func TestForkedIsAChild(t *testing.T) {
	for name, pid := range map[string]int{"process 1": 1, "this one": os.Getpid()} {
		var st Started
		if err := st.replace(pid, Watch{Forked: func(int) error { return nil }}); !errors.Is(err, syscall.ECHILD) {
			t.Errorf("%s: %v, want %v", name, err, syscall.ECHILD)
		}
	}
}

// TestPlaces: a child of a process that keeps places copies no more of its table than up to those, gets what it was
// given, also what lay far above, and nothing else; after it the places are free. With none left it is a child as ever.
func TestPlaces(t *testing.T) {
	if err := KeepPlaces(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dropPlaces)
	for _, left := range []int{placeCount, 1} {
		for i := range places.used {
			places.used[i] = i >= left
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		far, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 900)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		out := os.NewFile(uintptr(far), "out")
		b := NewBuilder()
		o := b.File(out, "out")
		b.Stdio(o, o, o)
		b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "while read -r what n; do [ $what != FDSize: ] || echo FDSize: $n; done </proc/self/status; ls /proc/self/fd | wc -l"}, nil)
		var pids []int
		st, err := Launch(b.Program(), Watch{Forked: func(pid int) error { pids = append(pids, pid); return nil }})
		if err != nil {
			t.Fatal(err)
		}
		out.Close()
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Wait4(pids[0], nil, 0, nil); err != nil {
			t.Error(err)
		}
		st.close()
		var size, open int
		if _, err := fmt.Sscanf(string(text), "FDSize: %d\n%d\n", &size, &open); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if open != 4 { // ls has 0, 1, 2 and the directory it reads
			t.Errorf("%d places left: the child has %d descriptors, want 4", left, open)
		}
		if small := size < 512; small != (left == placeCount) {
			t.Errorf("%d places left: the child's table has %d numbers", left, size)
		}
		for i, used := range places.used {
			if used != (i >= left) {
				t.Errorf("%d places left: place %d is in use: %v", left, i, used)
			}
			var place, holder unix.Stat_t
			if err := errors.Join(unix.Fstat(places.numbers[i], &place), unix.Fstat(places.holder, &holder)); err != nil || place.Rdev != holder.Rdev {
				t.Errorf("%d places left: number %d is not a place any more: %v", left, places.numbers[i], err)
			}
		}
	}
}

// dropPlaces takes KeepPlaces back.
func dropPlaces() {
	for _, n := range append(places.numbers, places.holder) {
		unix.Close(n)
	}
	places.numbers, places.used = nil, nil
}
