package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrGarbage is a message that does not follow the protocol; the text says which part.
var ErrGarbage = errors.New("malformed message")

// Numbers are in host byte order: both ends are on one host. Strings and lists carry their
// length in 32 bits before them.

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendU32(b []byte, v uint32) []byte { return binary.NativeEndian.AppendUint32(b, v) }
func appendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

func appendString(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}

// decoder reads a body from its front. After the first error every value is zero; finish
// reports it.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n > len(d.rest) {
		d.err = fmt.Errorf("%w: body is cut", ErrGarbage)
		return nil
	}
	v := d.rest[:n]
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) bool() bool { return d.u8() != 0 }

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.NativeEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.NativeEndian.Uint64(v)
	}
	return 0
}

// bytes returns a part of the body, not a copy.
func (d *decoder) bytes() []byte { return d.take(int(d.u32())) }

func (d *decoder) string() string { return string(d.bytes()) }

// count is the length of a list whose elements take at least min bytes each: a length that the body
// cannot hold is refused before memory is taken for it.
func (d *decoder) count(min int) int {
	n := int(d.u32())
	if n*min > len(d.rest) {
		d.err = fmt.Errorf("%w: list of %d in %d bytes", ErrGarbage, n, len(d.rest))
		return 0
	}
	return n
}

func (d *decoder) finish() error {
	if d.err == nil && len(d.rest) > 0 {
		d.err = fmt.Errorf("%w: %d bytes too many", ErrGarbage, len(d.rest))
	}
	return d.err
}
