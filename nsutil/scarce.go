package nsutil

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Scarce says whether an error is that this process or the host had no descriptor or memory left for a moment, which says
// nothing about what was asked for.
func Scarce(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}
