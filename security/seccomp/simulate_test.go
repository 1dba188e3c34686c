package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is what a filter sees.
type call struct {
	arch, number uint32
	args         [6]uint64
}

// machine runs a filter outside the kernel.
func machine(t testing.TB, f *Filter) func(call) action {
	t.Helper()
	var raw []bpf.RawInstruction
	for b := range slices.Chunk(f.Program, 8) {
		raw = append(raw, bpf.RawInstruction{Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has an instruction nobody knows")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return func(c call) action {
		// A socket filter loads in network byte order, seccomp in the machine's: each word of struct
		// seccomp_data is laid out for the former.
		words := []uint32{c.number, c.arch, 0, 0}
		for _, a := range c.args {
			words = append(words, uint32(a), uint32(a>>32))
		}
		var data []byte
		for _, w := range words {
			data = binary.BigEndian.AppendUint32(data, w)
		}
		verdict, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return action(uint32(verdict))
	}
}

// meaning decides a call by reading the profile, as slowly as plainly.
func meaning(p *profile, wanted []abi, c call) action {
	for _, a := range wanted {
		if a.audit != c.arch || c.number < a.first || c.number > a.last {
			continue
		}
		last := a.first
		numbers := a.numbers()
		var conditional []rule
		for _, r := range p.rules {
			for _, name := range r.names {
				if !slices.Contains(numbers[name], c.number) {
					for _, n := range numbers[name] {
						last = max(last, n)
					}
					continue
				}
				last = max(last, c.number)
				switch {
				case r.action == p.defaultAction:
				case len(r.conditions) == 0:
					return r.action
				default:
					conditional = append(conditional, r)
				}
			}
		}
		for _, r := range conditional {
			if !slices.ContainsFunc(r.conditions, func(x specs.LinuxSeccompArg) bool { return !satisfied(x, c.args[x.Index], a.narrow) }) {
				return r.action
			}
		}
		if last > a.first && c.number > last {
			return p.newer
		}
		return p.defaultAction
	}
	if c.number == skipped && slices.ContainsFunc(wanted, func(a abi) bool { return a.audit == c.arch }) {
		return p.defaultAction
	}
	return unix.SECCOMP_RET_KILL_PROCESS
}

func satisfied(x specs.LinuxSeccompArg, arg uint64, narrow bool) bool {
	v, w := x.Value, x.ValueTwo
	if narrow {
		arg, v, w = uint64(uint32(arg)), uint64(uint32(v)), uint64(uint32(w))
	}
	return map[specs.LinuxSeccompOperator]bool{
		specs.OpEqualTo: arg == v, specs.OpNotEqual: arg != v, specs.OpLessThan: arg < v, specs.OpLessEqual: arg <= v,
		specs.OpGreaterThan: arg > v, specs.OpGreaterEqual: arg >= v, specs.OpMaskedEqual: arg&v == w,
	}[x.Op]
}

// TestMeaning compares compiled random profiles with what they say.
func TestMeaning(t *testing.T) {
	values := []uint64{0, 1, 2, 7, 0x80, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 7, 1 << 63, ^uint64(0), ^uint64(0) - 1}
	names := []string{"read", "write", "socket", "clone", "personality", "mmap2", "mmap", "openat2", "no_such_call", "futex_waitv", "rt_sigreturn"}
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActTrap, specs.ActTrace, specs.ActLog}
	operators := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) int { return random.IntN(n) }
	for range 150 {
		p := &specs.LinuxSeccomp{DefaultAction: actions[pick(len(actions))]}
		for _, a := range []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchX86_64, specs.ArchAARCH64} {
			if pick(2) == 0 {
				p.Architectures = append(p.Architectures, a)
			}
		}
		for range pick(12) {
			number := uint(pick(200))
			s := specs.LinuxSyscall{Action: actions[pick(len(actions))], ErrnoRet: &number}
			for range 1 + pick(3) {
				s.Names = append(s.Names, names[pick(len(names))])
			}
			for range pick(4) {
				s.Args = append(s.Args, specs.LinuxSeccompArg{Index: uint(pick(6)), Value: values[pick(len(values))], ValueTwo: values[pick(len(values))], Op: operators[pick(len(operators))]})
			}
			p.Syscalls = append(p.Syscalls, s)
		}
		abis := amd64ABIs()
		f, err := compile(p, abis)
		if err != nil {
			t.Fatal(err)
		}
		rules, _ := parse(p)
		wanted, _ := wantedABIs(p, abis)
		filter := machine(t, f)
		for range 100 {
			a := abis[pick(3)]
			c := call{arch: a.audit, number: numberOf(a, names[pick(len(names))])}
			switch pick(8) {
			case 0:
				c.number = random.Uint32()
			case 1:
				c.number = []uint32{skipped, skipped - 1, x32Bit, x32Bit - 1, 468, 600}[pick(6)]
			case 2:
				c.arch = random.Uint32()
			}
			for i := range c.args {
				c.args[i] = values[pick(len(values))]
			}
			if got, want := filter(c), meaning(rules, wanted, c); got != want {
				t.Fatalf("%+v: %#x, want %#x, of %+v", c, got, want, p)
			}
		}
	}
}

// numberOf is one of a call's numbers, or 0 if the ABI has not got it.
func numberOf(a abi, name string) uint32 {
	if all := a.numbers()[name]; len(all) > 0 {
		return slices.Max(all)
	}
	return 0
}

// TestLongJumps has a table too large for conditional jumps, with a different decision for every call.
func TestLongJumps(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	abis := amd64ABIs()
	for n, name := range abis[0].names {
		number := uint(n%maxErrno + 1)
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: &number})
	}
	f, err := compile(p, abis)
	if err != nil {
		t.Fatal(err)
	}
	filter := machine(t, f)
	for n, name := range abis[0].names {
		if got, want := filter(call{arch: abis[0].audit, number: uint32(n)}), unix.SECCOMP_RET_ERRNO|action(n%maxErrno+1); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}

// TestDefault asks containerd's profile about calls, for a container as it usually is and one with
// CAP_SYS_ADMIN, on each ABI.
func TestDefault(t *testing.T) {
	const (
		allow = action(unix.SECCOMP_RET_ALLOW)
		eperm = unix.SECCOMP_RET_ERRNO | action(unix.EPERM)
		nosys = unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)
	)
	usual := []string{"CAP_CHOWN", "CAP_SYS_CHROOT"}
	for _, c := range []struct {
		name         string
		args         [6]uint64
		usual, admin action
	}{
		{"write", [6]uint64{}, allow, allow},
		{"openat", [6]uint64{}, allow, allow},
		{"chroot", [6]uint64{}, allow, eperm}, // the admin here has no CAP_SYS_CHROOT
		{"mount", [6]uint64{}, eperm, allow},
		{"bpf", [6]uint64{}, eperm, allow},
		{"keyctl", [6]uint64{}, eperm, eperm},
		{"kexec_load", [6]uint64{}, eperm, eperm},
		{"init_module", [6]uint64{}, eperm, eperm},
		{"clone", [6]uint64{uint64(unix.SIGCHLD)}, allow, allow},
		{"clone", [6]uint64{uint64(unix.SIGCHLD) | unix.CLONE_NEWUSER}, eperm, allow},
		{"clone", [6]uint64{unix.CLONE_NEWNS | unix.CLONE_VM}, eperm, allow},
		{"clone", [6]uint64{unix.CLONE_VM | unix.CLONE_FILES}, allow, allow},
		{"clone3", [6]uint64{}, nosys, allow},
		{"unshare", [6]uint64{}, eperm, allow},
		{"socket", [6]uint64{unix.AF_INET}, allow, allow},
		{"socket", [6]uint64{unix.AF_NETLINK}, allow, allow},
		{"socket", [6]uint64{unix.AF_VSOCK}, eperm, eperm},
		{"socket", [6]uint64{unix.AF_ALG}, eperm, eperm},
		{"personality", [6]uint64{0}, allow, allow},
		{"personality", [6]uint64{0xffffffff}, allow, allow},
		{"personality", [6]uint64{0x20008}, allow, allow},
		{"personality", [6]uint64{0x0040000}, eperm, eperm}, // ADDR_NO_RANDOMIZE
		{"ptrace", [6]uint64{}, allow, allow},
	} {
		for caps, want := range map[string]action{"usual": c.usual, "admin": c.admin} {
			list := usual
			if caps == "admin" {
				list = []string{"CAP_SYS_ADMIN"}
			}
			f, err := compile(Default(list), amd64ABIs())
			if err != nil {
				t.Fatal(err)
			}
			filter := machine(t, f)
			for _, a := range amd64ABIs() {
				n := numberOf(a, c.name)
				if got := filter(call{a.audit, n, c.args}); n != 0 && got != want {
					t.Errorf("%s %s(%#x), %s: %#x, want %#x", a.name, c.name, c.args[0], caps, got, want)
				}
			}
		}
	}
}

// TestNewerCalls asks about numbers the profile's author could not know.
func TestNewerCalls(t *testing.T) {
	abis := amd64ABIs()
	f, err := compile(Default(nil), abis)
	if err != nil {
		t.Fatal(err)
	}
	filter := machine(t, f)
	for _, c := range []struct {
		arch, number uint32
		want         action
	}{
		{abis[0].audit, 1000, unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)},
		{abis[1].audit, 1000, unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)},
		{abis[2].audit, x32Bit | 1000, unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)},
		{abis[0].audit, skipped, unix.SECCOMP_RET_ERRNO | action(unix.EPERM)},
		{0x1234, 0, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		if got := filter(call{arch: c.arch, number: c.number}); got != c.want {
			t.Errorf("%#x %#x: %#x, want %#x", c.arch, c.number, got, c.want)
		}
	}
	for range 5 {
		if again, err := compile(Default(nil), abis); err != nil || !slices.Equal(again.Program, f.Program) {
			t.Fatal("the same profile gives another program")
		}
	}
	t.Logf("the default profile takes %d instructions", len(f.Program)/8)
}

// TestArm64 compiles the default profile for the other architecture.
func TestArm64(t *testing.T) {
	abis := arm64ABIs()
	p := Default(nil)
	p.Architectures = []specs.Arch{specs.ArchARM, specs.ArchAARCH64}
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"set_tls"}, Action: specs.ActAllow})
	f, err := compile(p, abis)
	if err != nil {
		t.Fatal(err)
	}
	filter := machine(t, f)
	for _, c := range []struct {
		abi    abi
		number uint32
		want   action
	}{
		{abis[0], numberOf(abis[0], "read"), unix.SECCOMP_RET_ALLOW},
		{abis[0], numberOf(abis[0], "mount"), unix.SECCOMP_RET_ERRNO | action(unix.EPERM)},
		{abis[1], numberOf(abis[1], "set_tls"), unix.SECCOMP_RET_ALLOW},
		{abis[1], 1000, unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)},
	} {
		if got := filter(call{arch: c.abi.audit, number: c.number}); got != c.want {
			t.Errorf("%s %d: %#x, want %#x", c.abi.name, c.number, got, c.want)
		}
	}
}
