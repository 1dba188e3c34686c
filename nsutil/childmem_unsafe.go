package nsutil

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// child is all that the child of one launch works with. It lies, with its stacks, the steps and the program's
// memory, in a mapping that is shared over fork: nothing has to be copied for it, and the rest of the
// process's memory need not even be there (KeepFromChildren).
type child struct {
	steps    *step
	n        int
	from     int // the step a new process begins with
	status   uintptr
	mask     uint64  // of signals: none
	run      uintptr // interpret
	birth    cloneArgs
	again    cloneArgs // of the program's last fork
	last     farewell
	together int32 // not 0: it shares its parent's table of descriptors
}

// farewell is what a process that has forked the one that goes on leaves to say, by registers alone: the new one may be traced,
// by whom it appears among, and has this memory in common with it, the stack too.
type farewell struct {
	report
	status uintptr
}

// The layout of a mapping: child, stacks, steps, the program's memory. Each process of a program has a stack
// of its own, which a chain of nosplit functions cannot outgrow: the linker bounds it by 800 bytes.
const (
	stackSize = 4 << 10
	childSize = 512
	usualSize = 128 << 10 // twice what a container's program takes
	kept      = 4         // mappings kept for the next launches
)

// mapping is shared anonymous memory, mmap(2).
type mapping []byte

// spare are mappings for the next launches.
var spare struct {
	mu   sync.Mutex
	free []mapping
}

// newChild lays out a mapping for n steps, which the caller writes, a copy of blob, and the stacks of as
// many processes. All of it is written here and so belongs to this process: what the child touched first would be accounted to the
// container's cgroup, and outlive it.
func newChild(n, processes int, blob []byte) (m mapping, c *child, steps []step, memory []byte, err error) {
	stepsAt := childSize + processes*stackSize
	memoryAt := (stepsAt + n*int(unsafe.Sizeof(step{})) + 15) &^ 15
	if m, err = takeMapping(memoryAt + len(blob)); err != nil {
		return nil, nil, nil, nil, err
	}
	clear(m[childSize:stepsAt])
	memory = m[memoryAt : memoryAt+len(blob)]
	copy(memory, blob)
	steps = unsafe.Slice((*step)(unsafe.Pointer(&m[stepsAt])), n)
	c = (*child)(unsafe.Pointer(&m[0]))
	*c = child{n: n, steps: unsafe.SliceData(steps), run: interpretAt()}
	c.birth = cloneArgs{
		exitSignal: uint64(unix.SIGCHLD),
		pidfd:      uint64(uintptr(unsafe.Pointer(&born))),
		stack:      uint64(uintptr(unsafe.Pointer(&m[childSize]))),
		stackSize:  stackSize,
	}
	c.again = cloneArgs{stack: c.birth.stack, stackSize: stackSize}
	return m, c, steps, memory, nil
}

// takeMapping gives at least size bytes.
func takeMapping(size int) (mapping, error) {
	if size <= usualSize {
		spare.mu.Lock()
		defer spare.mu.Unlock()
		if last := len(spare.free) - 1; last >= 0 {
			m := spare.free[last]
			spare.free = spare.free[:last]
			return m, nil
		}
	}
	size = max(size, usualSize)
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap %d bytes for a child: %w", size, err)
	}
	return m, nil
}

// release keeps the mapping for another launch. Preconditions: no process uses it any more.
func (m mapping) release() {
	if len(m) == usualSize {
		spare.mu.Lock()
		defer spare.mu.Unlock()
		if len(spare.free) < kept {
			spare.free = append(spare.free, m)
			return
		}
	}
	m.drop()
}

// drop unmaps the memory here; a process that still runs in it keeps it. munmap(2) can only fail for
// what is no mapping.
func (m mapping) drop() {
	if m != nil {
		_ = unix.Munmap(m)
	}
}
