package nsutil

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Builder compiles a Program. Its methods append operations in the order in which they will run;
// those that make a descriptor in the child return a Slot by which later operations name it.
// A Builder cannot fail: what can, does so when the program runs, and names its step. But see Check.
type Builder struct {
	p      Program
	strs   map[string]uint32
	files  map[*os.File]int
	labels []string
	closed bool   // CloseAbove2 was
	cut    string // the first string with a NUL inside
}

// Slot names a place in the program's memory that holds an operation's result: a descriptor.
type Slot struct {
	off   uint32
	label string
}

func (s Slot) arg() Arg { return Arg{argSlot, uint64(s.off)} }

// FD is a descriptor an operation uses: a file passed in, a slot, or AT_FDCWD.
type FD struct {
	arg   Arg
	label string
}

// FD makes the slot's content usable where a descriptor is wanted.
func (s Slot) FD() FD { return FD{s.arg(), s.label} }

// CWD is the child's working directory, AT_FDCWD.
var CWD = FD{fdArg(-100), ""}

// NewBuilder returns an empty program's builder.
func NewBuilder() *Builder {
	const ops, blob = 64, 4 << 10 // what an exec takes
	return &Builder{
		p:     Program{IntoCgroup: -1, IntoPIDs: -1, Ops: make([]Op, 0, ops), blob: make([]byte, 0, blob)},
		strs:  map[string]uint32{},
		files: map[*os.File]int{},
	}
}

// Grow makes room for operations and bytes of memory to come, so that nothing is moved on the way.
func (b *Builder) Grow(ops, bytes int) {
	b.p.Ops, b.p.blob = slices.Grow(b.p.Ops, ops), slices.Grow(b.p.blob, bytes)
}

// Program ends the building. The builder must not be used afterwards.
func (b *Builder) Program() *Program { return &b.p }

// Check refuses a string with a NUL inside, of which the kernel would see the beginning and others who read the same
// value all: package spec's values hold none, those of images and descriptions of devices may. Of a variable the error has
// the name alone.
func (b *Builder) Check() error {
	if b.cut != "" {
		name, _, _ := strings.Cut(b.cut, "=")
		return fmt.Errorf("%q has a NUL byte", name)
	}
	return nil
}

// CloneFlags adds namespaces for the child to be born in (CLONE_NEW…).
func (b *Builder) CloneFlags(flags uint64) { b.p.CloneFlags |= flags }

// File gives the program a descriptor under a name for the listing. The caller keeps the
// ownership of f and closes it after the launch. The same f gives the same FD.
func (b *Builder) File(f *os.File, label string) FD {
	i, ok := b.files[f]
	if !ok {
		i = len(b.p.Files)
		b.files[f] = i
		b.p.Files = append(b.p.Files, f)
		b.labels = append(b.labels, label)
	}
	return FD{Arg{argFile, uint64(i)}, b.labels[i]}
}

// slot reserves an int32 in the blob.
func (b *Builder) slot(label string) Slot {
	b.closed = false // there is one more descriptor
	return Slot{b.reserve(4, 4), label}
}

// reserve appends n zero bytes at an aligned offset.
func (b *Builder) reserve(n, align int) uint32 {
	for len(b.p.blob)%align != 0 {
		b.p.blob = append(b.p.blob, 0)
	}
	off := uint32(len(b.p.blob))
	b.p.blob = append(b.p.blob, make([]byte, n)...)
	return off
}

// bytes appends data at an 8-byte boundary.
func (b *Builder) bytes(data []byte) uint32 {
	off := b.reserve(len(data), 8)
	copy(b.p.blob[off:], data)
	return off
}

// strOff appends a NUL-terminated string, once for equal strings. Programs never write into
// their strings. A NUL inside s ends it there: see Check.
func (b *Builder) strOff(s string) uint32 {
	if off, ok := b.strs[s]; ok {
		return off
	}
	if b.cut == "" && strings.IndexByte(s, 0) >= 0 {
		b.cut = s
	}
	off := uint32(len(b.p.blob))
	b.p.blob = append(append(b.p.blob, s...), 0)
	b.strs[s] = off
	return off
}

func (b *Builder) str(s string) Arg { return blobArg(b.strOff(s)) }

func blobArg(off uint32) Arg { return Arg{argBlob, uint64(off)} }

// pointers appends a null-terminated array of string pointers, as execve(2) wants it.
func (b *Builder) pointers(strs []string) uint32 {
	offs := make([]uint32, len(strs))
	for i, s := range strs {
		offs[i] = b.strOff(s)
	}
	arr := b.reserve(8*(len(strs)+1), 8)
	for i, off := range offs {
		b.reloc(arr+uint32(8*i), argBlob, off)
	}
	return arr
}

func (b *Builder) reloc(off uint32, kind argKind, val uint32) {
	b.p.rel = append(b.p.rel, reloc{off, kind, val})
}

func (b *Builder) putU32(off uint32, v uint32) { binary.NativeEndian.PutUint32(b.p.blob[off:], v) }
func (b *Builder) putU64(off uint32, v uint64) { binary.NativeEndian.PutUint64(b.p.blob[off:], v) }

// add appends an operation and returns it for refinement; the pointer is good until the next add.
func (b *Builder) add(name, detail string, nr uintptr, args ...Arg) *Op {
	op := Op{Name: name, Detail: detail, nr: uint32(nr), store: noStore}
	copy(op.args[:], args)
	b.p.Ops = append(b.p.Ops, op)
	return &b.p.Ops[len(b.p.Ops)-1]
}

// into stores the operation's result in a slot.
func (o *Op) into(s Slot) *Op {
	o.store = s.off
	return o
}

// orGoOn makes failures with these errnos harmless; at most three.
func (o *Op) orGoOn(errnos ...syscall.Errno) *Op {
	if copy(o.tolerate[:], errnos) < len(errnos) {
		panic(fmt.Sprintf("nsutil: %s tolerates more than three errnos", o.Name))
	}
	return o
}

// here is the index of the operation that comes next, to compute skips with.
func (b *Builder) here() int { return len(b.p.Ops) }

// skipTo makes operation i jump to the one that comes next: on success, or on a tolerated failure.
func (b *Builder) skipTo(i int, onSuccess bool) {
	n := uint16(b.here() - i - 1)
	if onSuccess {
		b.p.Ops[i].skipOK = n
	} else {
		b.p.Ops[i].skipErr = n
	}
}

// IntoCgroup lets the child be born in the cgroup v2 whose directory dir is (CLONE_INTO_CGROUP,
// clone(2)): it is accounted for from its first instruction on. dir is a file of the program.
func (b *Builder) IntoCgroup(dir FD) { b.p.IntoCgroup = int(dir.arg.val) }

// IntoPIDs lets the child be born in a PID namespace: f is a file of the program, of the
// namespace or the pidfd of a process in it. The launcher needs CAP_SYS_ADMIN over the namespace.
func (b *Builder) IntoPIDs(f FD) { b.p.IntoPIDs, b.p.intoPIDs = int(f.arg.val), f.label }
