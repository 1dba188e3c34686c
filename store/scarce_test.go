package store

import (
	"fmt"
	"testing"

	"tare/test/scarce"
)

// TestScarceOpen opens a store while others of the process take the last descriptor now and then: a record that could not
// be read for want of one is not broken, and its pod goes on.
func TestScarceOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 100 {
		mustCreate(t, s, newPod(fmt.Sprint(i)))
	}
	s.Close()
	restore := scarce.Descriptors(t, 1)
	stop := scarce.Contend()
	for range 20 {
		again, broken, err := Open(dir)
		if err == nil {
			again.Close()
		}
		if len(broken) > 0 {
			t.Errorf("%d of 100 are broken: %v", len(broken), broken[0].Err)
			break
		}
	}
	stop()
	restore()
}
