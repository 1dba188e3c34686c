package nsutil

import (
	"fmt"
	"os"
	"syscall"
)

// argKind says how one argument of an Op becomes a machine word.
type argKind uint8

const (
	argImm    argKind = iota // the value itself
	argBlob                  // the address of the blob at this offset
	argFile                  // the descriptor number of the program's n-th file
	argSlot                  // the int32 that an earlier operation stored at this blob offset
	argStatus                // the child's end of the status channel
	argBeside                // a descriptor number beside it: the value is the distance
)

// Arg is one argument of an operation: build it with Imm, or with the Builder's methods.
type Arg struct {
	kind argKind
	val  uint64
}

// Imm is an immediate value.
func Imm(v uint64) Arg { return Arg{argImm, v} }

// fdArg is an immediate descriptor number; negative ones (AT_FDCWD) are sign-extended.
func fdArg(fd int) Arg { return Imm(uint64(int64(fd))) }

// noStore marks an operation whose result is dropped.
const noStore = ^uint32(0)

// opFork is one of two operations that are not system calls of their own number: fork with
// CLONE_PARENT, report the new pid on the status channel, and end; the new process, whose
// parent is the caller's parent, goes on with the next operation. Joining or unsharing a PID
// namespace takes effect for children only (pid_namespaces(7)), hence the need.
const opFork = ^uint32(0)

// opHelper is the other one: fork a child that goes on where skipErr says, and store its pid; its
// parent goes on with the next operation and has to wait for it.
const opHelper = opFork - 1

// Op is one step of a program.
type Op struct {
	Name   string // "move_mount", for listings and errors; stays with the builder
	Detail string // path, flags: what a reader needs to know; stays with the builder

	nr       uint32
	args     [6]Arg
	store    uint32           // blob offset for the result (int32), or noStore
	tolerate [3]syscall.Errno // failures after which the program goes on
	skipOK   uint16           // operations to skip after success
	skipErr  uint16           // operations to skip after a tolerated failure
	nonzero  bool             // a result of 0 is a failure (EPIPE): read from a peer that is gone
}

// reloc patches a pointer or descriptor into the blob before the program runs.
type reloc struct {
	off  uint32
	kind argKind // argBlob: 8 bytes, an address; argFile: 8 bytes, a descriptor number
	val  uint32
}

// Program is a list of operations with the memory and the files they refer to.
type Program struct {
	Ops  []Op
	blob []byte
	rel  []reloc

	// CloneFlags are given to the clone that makes the child: namespaces that need no other
	// joined first. Maps are written by Launch when the program waits for them (Builder.AwaitMaps).
	CloneFlags uint64
	Maps       *IDMaps
	// IntoCgroup is the index of the file that is a cgroup v2 directory to be born in
	// (CLONE_INTO_CGROUP, Linux 5.7), or -1.
	IntoCgroup int
	// IntoPIDs is the index of the file that is a PID namespace to be born in, or the pidfd of a
	// process in it, or -1.
	IntoPIDs int
	intoPIDs string // the file's label, for listings; stays with the builder

	// Files are the descriptors that operations refer to, in order. The builder of the program
	// closes them after the launch; they travel beside the encoded program, not in it.
	Files []*os.File
}

// IDMaps is the content of uid_map and gid_map, user_namespaces(7).
type IDMaps struct {
	UID string
	GID string
}

// Forks counts the program's fork operations, each of which makes a process of the keeper's.
func (p *Program) Forks() int { return p.count(opFork) }

// processes counts those that run the program, one after the other or side by side.
func (p *Program) processes() int { return 1 + p.count(opFork) + p.count(opHelper) }

func (p *Program) count(nr uint32) (n int) {
	for i := range p.Ops {
		if p.Ops[i].nr == nr {
			n++
		}
	}
	return n
}

// OpError says which step of a program failed and how. Name and Detail are filled in by the
// program's owner (Program.Explain); a runner knows the index only.
type OpError struct {
	Index  int
	Errno  syscall.Errno
	Name   string
	Detail string
}

func (e *OpError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("operation %d: %v", e.Index, e.Errno)
	}
	if e.Detail == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Errno)
	}
	return fmt.Sprintf("%s %s: %v", e.Name, e.Detail, e.Errno)
}

// Unwrap gives the errno, so that errors.Is(err, os.ErrNotExist) works.
func (e *OpError) Unwrap() error { return e.Errno }

// Explain fills in the failed operation's name and detail, if err is an *OpError.
func (p *Program) Explain(err error) error {
	oe, ok := err.(*OpError)
	if ok && oe.Index >= 0 && oe.Index < len(p.Ops) {
		oe.Name, oe.Detail = p.Ops[oe.Index].Name, p.Ops[oe.Index].Detail
	}
	return err
}
