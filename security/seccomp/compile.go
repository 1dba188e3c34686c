package seccomp

import (
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Filter is a program for seccomp(SECCOMP_SET_MODE_FILTER). Not to be changed: it is shared.
type Filter struct {
	Program []byte // array of struct sock_filter, in this machine's byte order
	Flags   uint64 // SECCOMP_FILTER_FLAG_…
}

// maxInstructions is the kernel's limit, BPF_MAXINSNS.
const maxInstructions = 4096

// Compile makes the filter of a profile, for this machine's ABIs. A profile that says what
// cannot be done is ErrInvalidArgument.
func Compile(p *specs.LinuxSeccomp) (*Filter, error) {
	f, err := compile(p, nativeABIs())
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return f, nil
}

func compile(p *specs.LinuxSeccomp, abis []abi) (*Filter, error) {
	flags, err := flagsOf(p)
	if err != nil {
		return nil, err
	}
	rules, err := parse(p)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedABIs(p, abis)
	if err != nil {
		return nil, err
	}
	code := program(rules, wanted)
	if len(code) > maxInstructions {
		return nil, fmt.Errorf("takes %d instructions, the kernel runs %d", len(code), maxInstructions)
	}
	return &Filter{Program: encode(code), Flags: flags}, nil
}

// flagsOf translates the flags a filter is installed with.
func flagsOf(p *specs.LinuxSeccomp) (uint64, error) {
	var flags uint64
	for _, f := range p.Flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // the process has one thread
		default:
			return 0, fmt.Errorf("flag %q is not supported", f)
		}
	}
	return flags, nil
}

// program puts the tables of all ABIs behind a choice of the architecture, which the kernel reports with
// each call: numbers mean nothing without it (seccomp(2), "Notes"). A call of an ABI
// the profile does not list ends the process.
func program(p *profile, wanted []abi) []instruction {
	code := []instruction{load(offsetArch)}
	var done []uint32
	for _, a := range wanted {
		if contains(done, a.audit) {
			continue
		}
		done = append(done, a.audit)
		var table table
		for _, b := range wanted { // x32 shares x86_64's architecture
			if b.audit == a.audit {
				table = append(table, p.table(b)...)
			}
		}
		section := append([]instruction{load(offsetNumber)}, table.search(p.defaultAction)...)
		code = append(code, jumpIf(unix.BPF_JEQ, a.audit, section)...)
	}
	return append(code, ret(unix.SECCOMP_RET_KILL_PROCESS))
}

func contains(list []uint32, v uint32) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// encode lays the program out as the kernel takes it.
func encode(code []instruction) []byte {
	out := make([]byte, 0, 8*len(code))
	for _, i := range code {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}
