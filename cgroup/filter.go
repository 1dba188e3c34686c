package cgroup

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// instruction is one of eBPF's, laid out as struct bpf_insn (Documentation/bpf/standardization/
// instruction-set.rst).
type instruction struct {
	op        uint8
	registers uint8 // source << 4 | destination
	offset    int16
	immediate int32
}

// The registers of a device filter. R1 holds the context on entry, R0 the verdict on exit.
const (
	rVerdict = 0
	rContext = 1
	rKind    = 2
	rAccess  = 3 // asked for and not yet granted
	rMajor   = 4
	rMinor   = 5
	rScratch = 6
)

// filter compiles device rules to an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE, which v2 asks
// instead of having files (Documentation/admin-guide/cgroup-v2.rst, "Device controller"). Its context is
// struct bpf_cgroup_dev_ctx of linux/bpf.h: access << 16 | type, major, minor. An exception grants
// or refuses those accesses it names; with everything denied, the device opens once all are granted.
func (d deviceRules) filter() []instruction {
	mov32, load := uint8(unix.BPF_ALU|unix.BPF_MOV), uint8(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W)
	registers := func(dst, src uint8) uint8 { return src<<4 | dst }
	code := []instruction{
		{load, registers(rKind, rContext), 0, 0},
		{mov32 | unix.BPF_X, registers(rAccess, rKind), 0, 0},
		{unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, rKind, 0, 0xffff},
		{unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, rAccess, 0, 16},
		{load, registers(rMajor, rContext), 4, 0},
		{load, registers(rMinor, rContext), 8, 0},
	}
	exit := instruction{op: unix.BPF_JMP | unix.BPF_EXIT}
	for _, e := range d.exceptions {
		var body []instruction
		if d.allow {
			body = []instruction{
				{mov32 | unix.BPF_X, registers(rScratch, rAccess), 0, 0},
				{unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, rScratch, 0, int32(e.access)},
				{unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, rScratch, 2, 0},
			}
		} else {
			body = []instruction{
				{unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, rAccess, 0, int32(allAccess &^ e.access)},
				{unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K, rAccess, 2, 0},
			}
		}
		verdict := int32(1)
		if d.allow {
			verdict = 0
		}
		body = append(body, instruction{mov32 | unix.BPF_K, rVerdict, 0, verdict}, exit)
		code = append(code, e.guard(len(body))...)
		code = append(code, body...)
	}
	verdict := int32(0)
	if d.allow {
		verdict = 1
	}
	return append(code, instruction{mov32 | unix.BPF_K, rVerdict, 0, verdict}, exit)
}

// guard returns the comparisons that jump over a body of the given length unless the device is the
// exception's.
func (r deviceRule) guard(body int) []instruction {
	kind := int32(unix.BPF_DEVCG_DEV_CHAR)
	if r.kind == 'b' {
		kind = unix.BPF_DEVCG_DEV_BLOCK
	}
	tests := []instruction{{registers: rKind, immediate: kind}}
	if r.major != anyNumber {
		tests = append(tests, instruction{registers: rMajor, immediate: int32(uint32(r.major))})
	}
	if r.minor != anyNumber {
		tests = append(tests, instruction{registers: rMinor, immediate: int32(uint32(r.minor))})
	}
	for i := range tests {
		tests[i].op = opJump32 | unix.BPF_JNE | unix.BPF_K // 32 bit: immediates of 64-bit jumps are sign-extended
		tests[i].offset = int16(len(tests) - 1 - i + body)
	}
	return tests
}

// opJump32 is the class of jumps that compare 32 bits, BPF_JMP32 (Linux 5.1).
const opJump32 = 0x06

// programs holds loaded filters by their rules: nearly all containers of a node share one or two
// lists, and attaching costs a fraction of having the kernel verify the program again.
type programs struct {
	mu     sync.Mutex
	loaded map[string]int // rules → program
}

// maxPrograms bounds what is kept; rules beyond that are loaded each time.
const maxPrograms = 32

// attachDevices puts a filter on a group of v2. BPF_F_ALLOW_MULTI leaves those of its ancestors in
// force: all have to agree (bpf(2), and commit 324bda9e6c5a, "bpf: multi program support for cgroup+bpf").
func (g *Group) attachDevices(d deviceRules) error {
	program, done, err := g.tree.programs.get(d)
	if err != nil {
		return fmt.Errorf("load device filter: %w", err)
	}
	defer done()
	h := g.tree.killer()
	fd, err := h.open(g.dir, "", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := bpfAttach(fd, program); err != nil {
		return fmt.Errorf("attach device filter to %s: %w", h.abs(g.dir), err)
	}
	return nil
}

// get returns the program of the rules, loading it if need be, and what to call after its use.
func (p *programs) get(d deviceRules) (int, func(), error) {
	key := d.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd, ok := p.loaded[key]; ok {
		return fd, func() {}, nil
	}
	fd, err := bpfLoad(d.filter())
	if err != nil {
		return -1, nil, fmt.Errorf("%s: %w: %w", key, err, errdefs.ErrFailedPrecondition)
	}
	if len(p.loaded) >= maxPrograms {
		return fd, func() { unix.Close(fd) }, nil
	}
	if p.loaded == nil {
		p.loaded = make(map[string]int)
	}
	p.loaded[key] = fd
	return fd, func() {}, nil
}

func (p *programs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range p.loaded {
		unix.Close(fd)
	}
	p.loaded = nil
}
