package logs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A kubelet that rotates a log renames it, and has the runtime reopen it; if that call fails, it puts the
// renamed file back over the new one (k8s.io/kubernetes, pkg/kubelet/logs/container_log_manager.go,
// rotateLatestLog). A daemon that is killed before its answer may have replaced the file already: the new one, which is
// written by then, loses its name, and its lines are the continuation of the file at the path. They are
// appended to that when it takes its place.
//
// A file that somebody removes, or replaces by one that he edited, is no such case: nothing is at the path
// then, or what the new file ends with is not older than what the other begins with.

// carry appends what from holds to to, if from has lost its name and continues to; what is there already from
// an earlier attempt, amid which the process was killed, is not appended again. On failure nothing is.
func carry(from, to *os.File) (lost int64, err error) {
	size, links, err := measure(from)
	if err != nil || links > 0 || size == 0 {
		return 0, err
	}
	base, _, err := measure(to)
	if err != nil {
		return 0, err
	}
	there, follows, err := overlap(to, base, from, size)
	if err != nil || !follows {
		return 0, err
	}
	if _, err := io.Copy(to, io.NewSectionReader(from, there, size-there)); err != nil {
		return size - there, errors.Join(err, to.Truncate(base))
	}
	return 0, nil
}

func measure(f *os.File) (size int64, links uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0, os.NewSyscallError("fstat", err)
	}
	return st.Size, uint64(st.Nlink), nil
}

// overlap is how much of what next begins with is the end of log. follows says that everything before that is older than next: the two
// never have a record of the same time, since files are replaced between two readings of the clock only.
func overlap(log *os.File, size int64, next *os.File, nextSize int64) (n int64, follows bool, err error) {
	first, err := bufio.NewReaderSize(io.NewSectionReader(next, 0, nextSize), recordMax).ReadSlice('\n')
	begin, ok := timeOf(first)
	if !ok {
		return 0, false, ignoreEnd(err)
	}
	at := max(0, size-nextSize-2*recordMax) // what is there of next begins later, and a record of log before it
	lines := bufio.NewReaderSize(io.NewSectionReader(log, at, size-at), recordMax)
	if at > 0 {
		rest, err := lines.ReadSlice('\n')
		if err != nil {
			return 0, false, ignoreEnd(err)
		}
		at += int64(len(rest))
	}
	for older := false; ; older = true {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return 0, older, nil
		}
		when, ok := timeOf(line)
		if err == nil && ok && when.Before(begin) {
			at += int64(len(line))
			continue
		}
		same, err := equal(io.NewSectionReader(log, at, size-at), io.NewSectionReader(next, 0, min(nextSize, size-at)))
		return size - at, older && same, err
	}
}

// recordMax is longer than any record.
const recordMax = maxContent + 128

// timeOf is the time of a record.
func timeOf(line []byte) (time.Time, bool) {
	stamp, _, found := bytes.Cut(line, []byte(" "))
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	return t, found && err == nil
}

// ignoreEnd is for ends where a record should be: that is no log of ours, and no error.
func ignoreEnd(err error) error {
	if err == io.EOF || err == bufio.ErrBufferFull {
		return nil
	}
	return err
}

// equal compares two contents.
func equal(a, b *io.SectionReader) (bool, error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	for ra, rb := bufio.NewReader(a), bufio.NewReader(b); ; {
		x, err := ra.ReadByte()
		if err == io.EOF {
			return true, nil
		}
		y, other := rb.ReadByte()
		if err := errors.Join(err, other); err != nil || x != y {
			return false, err
		}
	}
}
