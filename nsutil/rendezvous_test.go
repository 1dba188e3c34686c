package nsutil

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRendezvous meets a program twice, in and out of a PID namespace of its own, and knows it each time.
func TestRendezvous(t *testing.T) {
	r, err := NewRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	met := make(chan error, 1)
	go func() { // ends with the second meeting
		met <- func() error {
			for range 2 {
				pid, pidfd, err := r.Wait()
				if err != nil {
					return err
				}
				pidfd.Close()
				if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
					return err
				}
				if err := r.GoOn(); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	out, _, err := run(t, func(b *Builder, out FD) {
		at := b.File(r.Theirs, "meeting")
		b.Meet(at)
		b.Unshare(unix.CLONE_NEWPID)
		b.Fork()
		b.Meet(at)
		b.Stdio(out, out, out)
		b.Exec([]string{"/bin/sh"}, []string{"sh", "-c", "echo on"}, nil)
	})
	if err != nil || out != "on\n" {
		t.Errorf("the program says %q, %v", out, err)
	}
	if err := <-met; err != nil {
		t.Error(err)
	}
}

// TestRendezvousClosed: a program that nobody lets go on, fails; nobody waits for one that does not come.
func TestRendezvousClosed(t *testing.T) {
	r, err := NewRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan error, 1)
	go func() { // ends with the meeting
		_, pidfd, err := r.Wait()
		if err == nil {
			err = errors.Join(pidfd.Close(), r.Refuse())
		}
		met <- err
	}()
	_, _, err = run(t, func(b *Builder, _ FD) {
		b.Meet(b.File(r.Theirs, "meeting"))
		b.Exit()
	})
	if err == nil || !strings.Contains(err.Error(), "meeting") {
		t.Errorf("the program: %v", err)
	}
	if err := <-met; err != nil {
		t.Error(err)
	}
	r.Theirs.Close()
	other, err := NewRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	go func() { met <- func() error { _, _, err := other.Wait(); return err }() }() // ends with the close
	other.Close()
	if err := <-met; !errors.Is(err, os.ErrClosed) {
		t.Errorf("who waits is told %v", err)
	}
}
