package nsutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Limits of an encoded program: far above what a container needs (ARG_MAX bounds argv and
// environment to a quarter of the stack limit, execve(2)), small enough to refuse garbage.
const (
	maxOps  = 1 << 14
	maxBlob = 8 << 20
)

// errBadProgram is what decoding garbage gives; the text says which part.
var errBadProgram = errors.New("malformed program")

const (
	headerWords = 9
	opWords     = 3 + 6 // nr and store; tolerate and flag; skips and kinds; the arguments' values
	relocWords  = 2
)

// Encode returns the program as bytes in host byte order: it travels between processes of one
// host only. Names, details and files are not part of it.
func (p *Program) Encode() []byte {
	n := 8 * (headerWords + opWords*len(p.Ops) + relocWords*len(p.rel))
	w := words{buf: make([]byte, 0, n+len(p.blob)+256)}
	maps := p.Maps
	if maps == nil {
		maps = &IDMaps{}
	}
	w.put(uint64(len(p.Ops)), uint64(len(p.rel)), uint64(len(p.blob)), p.CloneFlags,
		uint64(int64(p.IntoCgroup)), uint64(int64(p.IntoPIDs)), uint64(len(p.Files)), uint64(len(maps.UID)), uint64(len(maps.GID)))
	for i := range p.Ops {
		w.op(&p.Ops[i])
	}
	for _, r := range p.rel {
		w.put(uint64(r.off)|uint64(r.kind)<<32, uint64(r.val))
	}
	w.buf = append(w.buf, p.blob...)
	w.buf = append(w.buf, maps.UID...)
	return append(w.buf, maps.GID...)
}

// words writes and reads 64-bit words.
type words struct {
	buf []byte
}

func (w *words) put(vs ...uint64) {
	for _, v := range vs {
		w.buf = binary.NativeEndian.AppendUint64(w.buf, v)
	}
}

func (w *words) get() uint64 {
	v := binary.NativeEndian.Uint64(w.buf)
	w.buf = w.buf[8:]
	return v
}

func (w *words) op(o *Op) {
	flags := uint64(o.tolerate[0]) | uint64(o.tolerate[1])<<16 | uint64(o.tolerate[2])<<32
	if o.nonzero {
		flags |= 1 << 48
	}
	kinds := uint64(o.skipOK) | uint64(o.skipErr)<<16
	for i, a := range o.args {
		kinds |= uint64(a.kind) << (32 + 4*i)
	}
	w.put(uint64(o.nr)|uint64(o.store)<<32, flags, kinds)
	for _, a := range o.args {
		w.put(a.val)
	}
}

func (w *words) readOp() Op {
	nr, flags, kinds := w.get(), w.get(), w.get()
	o := Op{
		nr: uint32(nr), store: uint32(nr >> 32),
		tolerate: [3]syscall.Errno{syscall.Errno(flags & 0xffff), syscall.Errno(flags >> 16 & 0xffff), syscall.Errno(flags >> 32 & 0xffff)},
		nonzero:  flags>>48&1 == 1,
		skipOK:   uint16(kinds), skipErr: uint16(kinds >> 16),
	}
	for i := range o.args {
		o.args[i] = Arg{argKind(kinds >> (32 + 4*i) & 0xf), w.get()}
	}
	return o
}

// Decode reads an encoded program and checks that every offset, index and jump in it stays
// inside, so that interpreting it touches no other memory. The number of files it expects is
// returned beside it: the caller attaches them. The program keeps no reference to data.
func Decode(data []byte) (*Program, int, error) {
	if len(data) < 8*headerWords {
		return nil, 0, fmt.Errorf("%w: header is cut", errBadProgram)
	}
	w := words{buf: data}
	nops, nrel, nblob := w.get(), w.get(), w.get()
	p := &Program{CloneFlags: w.get(), IntoCgroup: int(int64(w.get())), IntoPIDs: int(int64(w.get()))}
	nfiles, nuid, ngid := w.get(), w.get(), w.get()
	if nops > maxOps || nrel > maxBlob || nblob > maxBlob || nfiles > maxOps || nuid > maxBlob || ngid > maxBlob {
		return nil, 0, fmt.Errorf("%w: counts out of range", errBadProgram)
	}
	if uint64(len(w.buf)) != 8*(nops*opWords+nrel*relocWords)+nblob+nuid+ngid {
		return nil, 0, fmt.Errorf("%w: length does not fit its header", errBadProgram)
	}
	p.Ops = make([]Op, nops)
	for i := range p.Ops {
		p.Ops[i] = w.readOp()
	}
	p.rel = make([]reloc, nrel)
	for i := range p.rel {
		v := w.get()
		p.rel[i] = reloc{off: uint32(v), kind: argKind(v >> 32 & 0xff), val: uint32(w.get())}
	}
	p.blob = append([]byte(nil), w.buf[:nblob]...)
	if nuid+ngid > 0 {
		p.Maps = &IDMaps{UID: string(w.buf[nblob : nblob+nuid]), GID: string(w.buf[nblob+nuid:])}
	}
	return p, int(nfiles), p.check(int(nfiles))
}

// check verifies that nothing in the program points outside of it.
func (p *Program) check(files int) error {
	if p.IntoCgroup < -1 || p.IntoCgroup >= files {
		return fmt.Errorf("%w: cgroup file %d of %d", errBadProgram, p.IntoCgroup, files)
	}
	if p.IntoPIDs < -1 || p.IntoPIDs >= files {
		return fmt.Errorf("%w: PID namespace file %d of %d", errBadProgram, p.IntoPIDs, files)
	}
	for i := range p.Ops {
		if err := p.checkOp(i, files); err != nil {
			return err
		}
	}
	for _, r := range p.rel {
		ok := r.kind == argBlob || r.kind == argFile
		if !ok || uint64(r.off)+8 > uint64(len(p.blob)) || !p.inside(Arg{r.kind, uint64(r.val)}, files) {
			return fmt.Errorf("%w: relocation at %d", errBadProgram, r.off)
		}
	}
	return nil
}

func (p *Program) checkOp(i, files int) error {
	o := &p.Ops[i]
	if o.store != noStore && uint64(o.store)+4 > uint64(len(p.blob)) {
		return fmt.Errorf("%w: operation %d stores outside", errBadProgram, i)
	}
	if left := len(p.Ops) - i - 1; int(o.skipOK) > left || int(o.skipErr) > left {
		return fmt.Errorf("%w: operation %d jumps outside", errBadProgram, i)
	}
	for _, a := range o.args {
		if !p.inside(a, files) {
			return fmt.Errorf("%w: operation %d has an argument outside", errBadProgram, i)
		}
	}
	return nil
}

func (p *Program) inside(a Arg, files int) bool {
	switch a.kind {
	case argImm, argStatus, argBeside:
		return true
	case argBlob:
		return a.val < uint64(len(p.blob))
	case argSlot:
		return a.val < uint64(len(p.blob)) && a.val+4 <= uint64(len(p.blob))
	case argFile:
		return a.val < uint64(files)
	}
	return false
}
