package lifecycle

import (
	"os"

	"golang.org/x/sys/unix"
)

// remains reads what is in a pipe or a terminal now, without waiting. A read deadline that has passed says nothing of that: whoever
// was to read may not have had a processor meanwhile.
func remains(f *os.File) []byte {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	var data []byte
	_ = raw.Control(func(fd uintptr) { // fails for a file that is closed
		there, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD, pipe(7)
		if err != nil || there <= 0 {
			return
		}
		data = make([]byte, there)
		n, err := unix.Read(int(fd), data) // in non-blocking mode
		if err != nil {
			n = 0
		}
		data = data[:n]
	})
	return data
}
