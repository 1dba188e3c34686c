package seccomp

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// instruction is one of classic BPF's, struct sock_filter (Documentation/networking/filter.rst).
type instruction = unix.SockFilter

// Offsets in struct seccomp_data, linux/seccomp.h. Arguments have 64 bits each, in the machine's byte
// order: little-endian, like every machine this is for.
const (
	offsetNumber    = 0
	offsetArch      = 4
	offsetArguments = 16
)

// maxJump is as far as a conditional jump reaches.
const maxJump = 255

func load(offset uint32) instruction {
	return instruction{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(a uint32) instruction { return instruction{Code: unix.BPF_RET | unix.BPF_K, K: a} }

func jump(test uint16, k uint32, yes, no int) instruction {
	return instruction{Code: unix.BPF_JMP | unix.BPF_K | test, Jt: uint8(yes), Jf: uint8(no), K: k}
}

// skip is an unconditional jump, which reaches anywhere.
func skip(n int) instruction { return instruction{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)} }

// jumpUnless puts a test before code that runs if it fails; what comes after runs if it holds.
func jumpUnless(test uint16, k uint32, code []instruction) []instruction {
	head := []instruction{jump(test, k, len(code), 0)}
	if len(code) > maxJump {
		head = []instruction{jump(test, k, 0, 1), skip(len(code))}
	}
	return append(head, code...)
}

// jumpIf puts a test before code that runs if it holds.
func jumpIf(test uint16, k uint32, code []instruction) []instruction {
	head := []instruction{jump(test, k, 0, len(code))}
	if len(code) > maxJump {
		head = []instruction{jump(test, k, 1, 0), skip(len(code))}
	}
	return append(head, code...)
}

// code makes the program of a decision.
func (d decision) code(narrow bool) []instruction {
	var out []instruction
	for _, c := range d.cases {
		out = append(out, c.code(narrow)...)
	}
	return append(out, ret(uint32(d.rest)))
}

// Where a test of a condition goes on to.
type target int

const (
	next  target = iota // the next instruction
	holds               // the next condition
	fails               // the next case
)

// test is an instruction whose jumps have no distances yet.
type test struct {
	instruction
	yes, no target
}

// code makes the program of a case: its conditions, then its return. It ends behind the return if one
// of them fails. With six conditions of six instructions at most, every jump is short.
func (c choice) code(narrow bool) []instruction {
	var conditions [][]test
	length := 1
	for _, a := range c.conditions {
		tests := comparison(a, narrow)
		conditions = append(conditions, tests)
		length += len(tests)
	}
	var out []instruction
	for _, tests := range conditions {
		end := len(out) + len(tests)
		for _, t := range tests {
			at := len(out) + 1
			distance := map[target]int{next: 0, holds: end - at, fails: length - at}
			if t.Code&0x07 == unix.BPF_JMP {
				t.Jt, t.Jf = uint8(distance[t.yes]), uint8(distance[t.no])
			}
			out = append(out, t.instruction)
		}
	}
	return append(out, ret(uint32(c.action)))
}

// comparison makes the tests of one condition. BPF has 32 bits, arguments 64: the high word
// decides unless it is equal. Where registers have 32 bits, the kernel leaves the high word zero and a profile's
// value may be meant as negative, so the low words alone are compared.
func comparison(c specs.LinuxSeccompArg, narrow bool) []test {
	low := uint32(offsetArguments + 8*c.Index)
	value, mask := c.Value, ^uint64(0)
	if c.Op == specs.OpMaskedEqual { // (argument & Value) == ValueTwo
		value, mask = c.ValueTwo, c.Value
	}
	var tests []test
	if !narrow {
		tests = append(tests, word(low+4, uint32(mask>>32))...)
		tests = append(tests, highWord(c.Op, uint32(value>>32))...)
	}
	tests = append(tests, word(low, uint32(mask))...)
	return append(tests, lowWord(c.Op, uint32(value)))
}

// word loads a masked word.
func word(offset, mask uint32) []test {
	tests := []test{{instruction: load(offset)}}
	if mask != ^uint32(0) {
		tests = append(tests, test{instruction: instruction{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}})
	}
	return tests
}

// highWord compares the high words; equal ones leave it to the low.
func highWord(op specs.LinuxSeccompOperator, v uint32) []test {
	equal := test{jump(unix.BPF_JEQ, v, 0, 0), next, fails}
	greater := test{jump(unix.BPF_JGT, v, 0, 0), holds, next}
	switch op {
	case specs.OpNotEqual:
		equal.no = holds
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		return []test{greater, equal}
	case specs.OpLessThan, specs.OpLessEqual:
		greater.yes, equal.no = fails, holds
		return []test{greater, equal}
	}
	return []test{equal}
}

// lowWord compares the low words.
func lowWord(op specs.LinuxSeccompOperator, v uint32) test {
	switch op {
	case specs.OpNotEqual:
		return test{jump(unix.BPF_JEQ, v, 0, 0), fails, holds}
	case specs.OpGreaterThan:
		return test{jump(unix.BPF_JGT, v, 0, 0), holds, fails}
	case specs.OpGreaterEqual:
		return test{jump(unix.BPF_JGE, v, 0, 0), holds, fails}
	case specs.OpLessThan:
		return test{jump(unix.BPF_JGE, v, 0, 0), fails, holds}
	case specs.OpLessEqual:
		return test{jump(unix.BPF_JGT, v, 0, 0), fails, holds}
	}
	return test{jump(unix.BPF_JEQ, v, 0, 0), holds, fails}
}
