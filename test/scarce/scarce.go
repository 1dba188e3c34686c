// Package scarce leaves the process of a test few descriptors, or none.
package scarce

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Descriptors leaves this process so many to open (RLIMIT_NOFILE, getrlimit(2)), and returns what takes that back.
func Descriptors(t testing.TB, spare int) (restore func()) {
	t.Helper()
	var first *os.File // beyond those to spare: open(2) takes the lowest numbers
	for range spare + 1 {
		f, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		first = f
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: uint64(first.Fd()), Max: old.Max})
	return func() { set(old) }
}

// Contend has others of the process take the last descriptor now and then, until stop is called.
func Contend() (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		for {
			select {
			case <-over:
				return
			default:
			}
			if f, err := os.Open("/"); err == nil {
				f.Close()
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
