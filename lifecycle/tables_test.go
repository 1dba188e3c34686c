package lifecycle

import (
	"os"
	"testing"

	"tare/sandbox"
)

// TestKeepAfterEstate keeps what an operation made while the estate was being taken: it is closed.
func TestKeepAfterEstate(t *testing.T) {
	tables := newTables(nil)
	tables.Estate().Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tables.keepInit("p", r)
	if err := r.Close(); err == nil {
		t.Error("the pidfd is open")
	}
	tables.keepProcess(newProcess("c", nil))
	tables.keepSandbox(&sandbox.Sandbox{})
}
