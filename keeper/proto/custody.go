package proto

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Parts says which files accompany a message, in this order.
type Parts uint8

// The files that belong to a process in custody.
const (
	PartPidFD Parts = 1 << iota
	PartStdout
	PartStderr
	PartConsole
	PartLog
	partsEnd
)

// Custody is the files that belong to a process; nil where there is none.
type Custody struct {
	PidFD   *os.File // the process
	Stdout  *os.File // read end of a pipe, copied into the log as stream stdout
	Stderr  *os.File // read end of a pipe, copied into the log as stream stderr
	Console *os.File // a terminal's master, copied into the log as stream stdout
	Log     *os.File // the log, opened for appending
}

// slots are the custody's files in the order of Parts.
func (c *Custody) slots() []**os.File {
	return []**os.File{&c.PidFD, &c.Stdout, &c.Stderr, &c.Console, &c.Log}
}

// Flatten returns the files that are there, and which ones they are.
func (c *Custody) Flatten() (Parts, []*os.File) {
	var parts Parts
	var files []*os.File
	for i, f := range c.slots() {
		if *f != nil {
			parts |= 1 << i
			files = append(files, *f)
		}
	}
	return parts, files
}

// NewCustody gives files that Flatten has listed their names back. All files are used, or there is an
// error.
func NewCustody(parts Parts, files []*os.File) (Custody, error) {
	var c Custody
	n := 0
	for i, f := range c.slots() {
		if parts&(1<<i) == 0 {
			continue
		}
		if n < len(files) {
			*f = files[n]
		}
		n++
	}
	if n != len(files) {
		return Custody{}, fmt.Errorf("%w: %d files for parts %#x", ErrGarbage, len(files), uint8(parts))
	}
	return c, nil
}

// Close closes the files.
func (c *Custody) Close() {
	_, files := c.Flatten()
	closeAll(files)
}

// Duplicate returns duplicates of the files; those that have been closed meanwhile are left out.
func (c Custody) Duplicate() (Custody, error) {
	var d Custody
	to := d.slots()
	for i, f := range c.slots() {
		if *f == nil {
			continue
		}
		dup, err := Duplicate(*f)
		if errors.Is(err, os.ErrClosed) {
			continue
		}
		if err != nil {
			d.Close()
			return Custody{}, err
		}
		*to[i] = dup
	}
	return d, nil
}

// Duplicate returns another descriptor of f that outlives it. It leaves f's mode alone, and is safe
// against somebody closing f at the same time.
func Duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var derr error
	err = raw.Control(func(from uintptr) { fd, derr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 3) })
	if err != nil {
		return nil, os.ErrClosed // the only error of Control
	}
	if derr != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", derr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
