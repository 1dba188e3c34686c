package bridge

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// worded is an error of a library that has put its errno into words only.
type worded struct {
	error
	errno unix.Errno
}

func (w worded) Unwrap() []error { return []error{w.error, w.errno} }

// withErrno gives an error the errno back by which callers tell that the host had no more of something.
func withErrno(err error) error {
	if _, known := errors.AsType[unix.Errno](err); known || err == nil {
		return err
	}
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSPC} {
		if strings.HasSuffix(err.Error(), errno.Error()) {
			return worded{err, errno}
		}
	}
	return err
}
