package seccomp

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/elastic/go-seccomp-bpf/arch"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// abi is one way into the kernel: an architecture as it is audited, and its numbers.
type abi struct {
	name    specs.Arch
	audit   uint32 // AUDIT_ARCH_…, linux/audit.h
	first   uint32 // where its numbers begin
	last    uint32
	private uint32 // where calls of its own begin, beyond what is numbered for all architectures; 0: none
	narrow  bool   // registers have 32 bits
	names   map[int]string
}

// numbers are an ABI's calls by name. A name may have two: x32 lists the numbers of x86_64 for calls that it has
// under others.
func (a abi) numbers() map[string][]uint32 {
	calls := make(map[string][]uint32, len(a.names))
	for n, name := range a.names {
		calls[name] = append(calls[name], a.first+uint32(n))
	}
	return calls
}

// regular reports whether a number is in the sequence that grows with the kernel.
func (a abi) regular(number uint32) bool { return a.private == 0 || number < a.private }

// x32Bit marks calls of the x32 ABI, which come with x86_64's architecture (__X32_SYSCALL_BIT,
// asm/unistd.h). All ones are not one of them: a tracer uses it to skip a call (ptrace(2)).
const (
	x32Bit  = 0x40000000
	skipped = 0xffffffff
)

// nativeABIs lists those this machine's kernel may have, its own first.
func nativeABIs() []abi {
	switch runtime.GOARCH {
	case "amd64":
		return amd64ABIs()
	case "arm64":
		return arm64ABIs()
	}
	return nil
}

func amd64ABIs() []abi {
	return []abi{
		{name: specs.ArchX86_64, audit: uint32(arch.X86_64.ID), last: x32Bit - 1, names: arch.X86_64.SyscallNumbers},
		{name: specs.ArchX86, audit: uint32(arch.I386.ID), last: skipped - 1, narrow: true, names: arch.I386.SyscallNumbers},
		{name: specs.ArchX32, audit: uint32(arch.X32.ID), first: x32Bit, last: skipped - 1, names: arch.X32.SyscallNumbers},
	}
}

// armPrivate is where ARM's own calls begin, set_tls and the like (__ARM_NR_BASE, asm/unistd.h).
const armPrivate = 0x0f0000

func arm64ABIs() []abi {
	return []abi{
		{name: specs.ArchAARCH64, audit: uint32(arch.AARCH64.ID), last: skipped - 1, names: arch.AARCH64.SyscallNumbers},
		{name: specs.ArchARM, audit: uint32(arch.ARM.ID), last: skipped - 1, private: armPrivate, narrow: true, names: arch.ARM.SyscallNumbers},
	}
}

// known are the architectures the OCI specification names: one of another machine may be in a profile made
// for many, a misspelt one may not.
var known = []specs.Arch{
	specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS, specs.ArchMIPS64,
	specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64,
	specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64,
	specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// wantedABIs picks this machine's own ABI and those of the others that the profile lists.
func wantedABIs(p *specs.LinuxSeccomp, abis []abi) ([]abi, error) {
	if len(abis) == 0 {
		return nil, fmt.Errorf("no system call table for %s", runtime.GOARCH)
	}
	for _, name := range p.Architectures {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown architecture %q", name)
		}
	}
	var wanted []abi
	for i, a := range abis {
		if i == 0 || slices.Contains(p.Architectures, a.name) {
			wanted = append(wanted, a)
		}
	}
	return wanted, nil
}
