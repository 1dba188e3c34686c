package seccomp

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// helperArg makes the test binary a child that installs a filter and makes calls.
const helperArg = "make-calls-under-a-filter"

// job is what the child reads from its stdin.
type job struct {
	Filter Filter
	Calls  [][7]uintptr // number and arguments
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == helperArg {
		child()
	}
	os.Exit(m.Run())
}

// child makes the calls on one thread and prints the error number of each.
func child() {
	runtime.LockOSThread()
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	program := unix.SockFprog{Len: uint16(len(j.Filter.Program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&j.Filter.Program[0]))}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(j.Filter.Flags), uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		panic(errno)
	}
	results := make([]syscall.Errno, len(j.Calls))
	for i, c := range j.Calls {
		_, _, results[i] = unix.RawSyscall6(c[0], c[1], c[2], c[3], c[4], c[5], c[6])
	}
	out, err := json.Marshal(results)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(out)
	os.Exit(0)
}

// under has the calls made under a filter. died is the signal that ended the child instead.
func under(t *testing.T, p *specs.LinuxSeccomp, calls ...[7]uintptr) (results []syscall.Errno, died syscall.Signal) {
	t.Helper()
	f, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(job{*f, calls})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", helperArg)
	var out, diag bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &diag
	if err := cmd.Run(); err != nil {
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return nil, status.Signal()
		}
		if strings.Contains(diag.String(), "SIGSYS") { // the Go runtime's answer to a trap
			return nil, syscall.SIGSYS
		}
		t.Fatalf("%v: %s", err, diag.String())
	}
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatal(err)
	}
	return results, 0
}

// TestKernelActions has a call that does nothing, getppid, meet each action.
func TestKernelActions(t *testing.T) {
	number := uint(77)
	for _, c := range []struct {
		action specs.LinuxSeccompAction
		errno  *uint
		want   syscall.Errno
		died   syscall.Signal
	}{
		{action: specs.ActAllow},
		{action: specs.ActLog},
		{action: specs.ActErrno, want: unix.EPERM},
		{action: specs.ActErrno, errno: &number, want: 77},
		{action: specs.ActTrace, want: unix.ENOSYS}, // nobody traces
		{action: specs.ActKillProcess, died: unix.SIGSYS},
		{action: specs.ActTrap, died: unix.SIGSYS},
	} {
		t.Run(string(c.action), func(t *testing.T) {
			p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow},
				Syscalls: []specs.LinuxSyscall{{Names: []string{"getppid"}, Action: c.action, ErrnoRet: c.errno}}}
			results, died := under(t, p, [7]uintptr{unix.SYS_GETPPID})
			if died != c.died || died == 0 && results[0] != c.want {
				t.Errorf("%v, signal %d, want %v, signal %d", results, died, c.want, c.died)
			}
		})
	}
}

// TestKernelComparisons has the first argument of getppid, which ignores it, compared.
func TestKernelComparisons(t *testing.T) {
	const big = uintptr(1) << 40
	args := []uintptr{0, 5, 6, 7, big + 5, big + 6, big + 7, ^uintptr(0)}
	for _, c := range []struct {
		op         specs.LinuxSeccompOperator
		value, two uint64
		hit        []uintptr
	}{
		{specs.OpEqualTo, 6, 0, []uintptr{6}},
		{specs.OpEqualTo, uint64(big) + 6, 0, []uintptr{big + 6}},
		{specs.OpNotEqual, 6, 0, []uintptr{0, 5, 7, big + 5, big + 6, big + 7, ^uintptr(0)}},
		{specs.OpLessThan, uint64(big) + 6, 0, []uintptr{0, 5, 6, 7, big + 5}},
		{specs.OpLessEqual, 6, 0, []uintptr{0, 5, 6}},
		{specs.OpGreaterThan, 6, 0, []uintptr{7, big + 5, big + 6, big + 7, ^uintptr(0)}},
		{specs.OpGreaterEqual, uint64(big) + 6, 0, []uintptr{big + 6, big + 7, ^uintptr(0)}},
		{specs.OpMaskedEqual, 6, 4, []uintptr{5, big + 5}},
		{specs.OpMaskedEqual, uint64(big) | 2, uint64(big), []uintptr{big + 5}},
	} {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"getppid"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: c.value, ValueTwo: c.two, Op: c.op}}}}}
		var calls [][7]uintptr
		for _, a := range args {
			calls = append(calls, [7]uintptr{unix.SYS_GETPPID, a})
		}
		results, died := under(t, p, calls...)
		for i, a := range args {
			want := syscall.Errno(0)
			if slices.Contains(c.hit, a) {
				want = unix.EPERM
			}
			if died != 0 || results[i] != want {
				t.Errorf("%s %#x %#x of %#x: %v, signal %d, want %v", c.op, c.value, c.two, a, results, died, want)
				break
			}
		}
	}
}

// TestKernelDefault runs a Go program, which needs a good part of the default profile to live at all, and
// has it try what no container may.
func TestKernelDefault(t *testing.T) {
	calls := []struct {
		name string
		call [7]uintptr
		want syscall.Errno
	}{
		{"clone NEWUSER", [7]uintptr{unix.SYS_CLONE, unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}, unix.EPERM},
		{"clone3", [7]uintptr{unix.SYS_CLONE3, 0, 0}, unix.ENOSYS},
		{"unshare", [7]uintptr{unix.SYS_UNSHARE, unix.CLONE_NEWNS}, unix.EPERM},
		{"socket VSOCK", [7]uintptr{unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EPERM},
		{"socket UNIX", [7]uintptr{unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM}, 0},
		{"personality query", [7]uintptr{unix.SYS_PERSONALITY, 0xffffffff}, 0},
		{"personality", [7]uintptr{unix.SYS_PERSONALITY, 0x0040000}, unix.EPERM},
		{"keyctl", [7]uintptr{unix.SYS_KEYCTL, 0}, unix.EPERM},
		{"a call of the future", [7]uintptr{2000}, unix.ENOSYS},
	}
	var list [][7]uintptr
	for _, c := range calls {
		list = append(list, c.call)
	}
	results, died := under(t, Default(nil), list...)
	if died != 0 {
		t.Fatalf("killed by signal %d", died)
	}
	for i, c := range calls {
		if results[i] != c.want {
			t.Errorf("%s: %v, want %v", c.name, results[i], c.want)
		}
	}
}
