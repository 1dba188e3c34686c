package proto

import (
	"fmt"
	"syscall"
)

// Code is the class of a Fault.
type Code uint8

// Classes of faults. Each maps to one of containerd's errdefs on the client's side.
const (
	Unknown      Code = iota // only Errno and Text tell
	NotFound                 // no such key
	Exists                   // the key is in use
	Invalid                  // the request makes no sense
	Malformed                // the request is no request; the connection ends
	Precondition             // not in this state
	FailedOp                 // Op failed with Errno
)

// Fault is the answer to a request that failed. It is an error.
type Fault struct {
	Code  Code
	Op    int // index of the program's operation, for FailedOp
	Errno syscall.Errno
	Text  string
}

// FilesLost is the fault of a packet that was Lost by who had no descriptors left.
func FilesLost(who string) *Fault {
	return &Fault{Errno: syscall.EMFILE, Text: fmt.Sprintf("%s receives files: %v", who, syscall.EMFILE)}
}

func (m *Fault) Error() string {
	if m.Code == FailedOp {
		return fmt.Sprintf("operation %d: %v", m.Op, m.Errno)
	}
	return m.Text
}

// Unwrap gives the errno, where there is one.
func (m *Fault) Unwrap() error {
	if m.Errno == 0 {
		return nil
	}
	return m.Errno
}

// Append appends the encoded message.
func (m *Fault) Append(b []byte) []byte {
	b = appendU32(append(b, byte(m.Code)), uint32(int32(m.Op)))
	return appendString(appendU32(b, uint32(m.Errno)), m.Text)
}

// ParseFault decodes a Fault.
func ParseFault(body []byte) (*Fault, error) {
	d := decoder{rest: body}
	m := &Fault{Code: Code(d.u8()), Op: int(int32(d.u32())), Errno: syscall.Errno(d.u32()), Text: d.string()}
	return m, d.finish()
}
