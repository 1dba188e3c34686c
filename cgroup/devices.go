package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// anyNumber is a device number that matches every one.
const anyNumber = -1

// deviceRule is one exception to what a device cgroup does by default.
type deviceRule struct {
	kind         byte  // 'c' or 'b'
	major, minor int64 // or anyNumber
	access       access
}

// access is a set of unix.BPF_DEVCG_ACC_{MKNOD,READ,WRITE}.
type access uint8

const allAccess = access(unix.BPF_DEVCG_ACC_MKNOD | unix.BPF_DEVCG_ACC_READ | unix.BPF_DEVCG_ACC_WRITE)

func (a access) String() string {
	var s strings.Builder
	for i, bit := range []access{unix.BPF_DEVCG_ACC_READ, unix.BPF_DEVCG_ACC_WRITE, unix.BPF_DEVCG_ACC_MKNOD} {
		if a&bit != 0 {
			s.WriteByte("rwm"[i])
		}
	}
	return s.String()
}

// String is the rule as v1's devices.allow takes it,
// Documentation/admin-guide/cgroup-v1/devices.rst.
func (r deviceRule) String() string {
	number := func(n int64) string {
		if n == anyNumber {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%c %s:%s %s", r.kind, number(r.major), number(r.minor), r.access)
}

// deviceRules is what a list of OCI rules amounts to, since each overrides the ones before it.
type deviceRules struct {
	allow      bool         // what no exception mentions
	exceptions []deviceRule // of the opposite, no two for the same device
}

// String lists the rules; equal rules give equal text.
func (d deviceRules) String() string {
	lines := make([]string, 0, len(d.exceptions)+1)
	for _, e := range d.exceptions {
		lines = append(lines, e.String())
	}
	slices.Sort(lines)
	return fmt.Sprintf("default %t but %s", d.allow, strings.Join(lines, ", "))
}

// DefaultDevices are the rules every container gets that is not privileged: device nodes may be made,
// but of them only these be opened. All have the same, in memory too: nobody changes it.
func DefaultDevices() []specs.LinuxDeviceCgroup { return slices.Clip(defaultDevices) }

var defaultDevices = func() []specs.LinuxDeviceCgroup {
	rule := func(kind string, access string, numbers ...int64) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if len(numbers) > 0 {
			r.Major = &numbers[0]
		}
		if len(numbers) > 1 {
			r.Minor = &numbers[1]
		}
		return r
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule("c", "m"),
		rule("b", "m"),
		rule("c", "rwm", 1, 3), // null
		rule("c", "rwm", 1, 5), // zero
		rule("c", "rwm", 1, 7), // full
		rule("c", "rwm", 1, 8), // random
		rule("c", "rwm", 1, 9), // urandom
		rule("c", "rwm", 5, 0), // tty
		rule("c", "rwm", 5, 1), // console
		rule("c", "rwm", 5, 2), // ptmx
		rule("c", "rwm", 136),  // pts
	}
}()

// parseDevices reduces a list of OCI rules, which begins with everything denied.
func parseDevices(list []specs.LinuxDeviceCgroup) (deviceRules, error) {
	var d deviceRules
	for i, l := range list {
		if l.Type == "" || l.Type == "a" {
			d = deviceRules{allow: l.Allow}
			continue
		}
		r, err := parseDevice(l)
		if err != nil {
			return d, fmt.Errorf("rule %d: %w", i, err)
		}
		if l.Allow == d.allow {
			err = d.remove(r)
		} else {
			d.add(r)
		}
		if err != nil {
			return d, fmt.Errorf("rule %d: %w", i, err)
		}
	}
	return d, nil
}

func parseDevice(l specs.LinuxDeviceCgroup) (deviceRule, error) {
	r := deviceRule{major: anyNumber, minor: anyNumber}
	if l.Type != "c" && l.Type != "b" {
		return r, fmt.Errorf("device type %q is not a, b or c", l.Type)
	}
	r.kind = l.Type[0]
	for _, n := range []struct {
		from *int64
		to   *int64
	}{{l.Major, &r.major}, {l.Minor, &r.minor}} {
		if n.from == nil || *n.from == anyNumber {
			continue
		}
		if *n.to = *n.from; *n.to < 0 || *n.to > 1<<32-1 {
			return r, fmt.Errorf("device number %d is out of range", *n.to)
		}
	}
	if l.Access == "" {
		r.access = allAccess
	}
	for _, c := range l.Access {
		i := strings.IndexRune("rwm", c)
		if i < 0 {
			return r, fmt.Errorf("device access %q holds something else than r, w and m", l.Access)
		}
		r.access |= []access{unix.BPF_DEVCG_ACC_READ, unix.BPF_DEVCG_ACC_WRITE, unix.BPF_DEVCG_ACC_MKNOD}[i]
	}
	return r, nil
}

// same reports whether both rules are about the same set of devices.
func (r deviceRule) same(o deviceRule) bool {
	return r.kind == o.kind && r.major == o.major && r.minor == o.minor
}

// overlaps reports whether some device is meant by both rules.
func (r deviceRule) overlaps(o deviceRule) bool {
	number := func(a, b int64) bool { return a == b || a == anyNumber || b == anyNumber }
	return r.kind == o.kind && number(r.major, o.major) && number(r.minor, o.minor)
}

func (d *deviceRules) add(r deviceRule) {
	for i := range d.exceptions {
		if d.exceptions[i].same(r) {
			d.exceptions[i].access |= r.access
			return
		}
	}
	d.exceptions = append(d.exceptions, r)
}

// remove takes an exception back. A hole in a wider exception is refused: v1 cannot express it and
// would leave the device as it was, without a word (dev_exception_rm in security/device_cgroup.c).
func (d *deviceRules) remove(r deviceRule) error {
	var kept []deviceRule
	for _, e := range d.exceptions {
		switch {
		case e.same(r), e.overlaps(r) && r.covers(e):
			e.access &^= r.access
		case e.overlaps(r) && e.access&r.access != 0:
			return fmt.Errorf("%s is a part of what an earlier rule says about %s", r, e)
		}
		if e.access != 0 {
			kept = append(kept, e)
		}
	}
	d.exceptions = kept
	return nil
}

// covers reports whether r means every device that o means.
func (r deviceRule) covers(o deviceRule) bool {
	return r.kind == o.kind && (r.major == anyNumber || r.major == o.major) && (r.minor == anyNumber || r.minor == o.minor)
}

// setDevices gives a new group its device rules.
func (g *Group) setDevices(d deviceRules) error {
	if d.allow && len(d.exceptions) == 0 {
		return nil // what a new group inherits
	}
	if g.tree.v2() {
		return g.attachDevices(d)
	}
	h := g.tree.of("devices")
	if h == nil {
		return fmt.Errorf("set device rules: this host has no devices cgroup controller")
	}
	if err := h.writeDevices(g.dir, d); err != nil {
		return fmt.Errorf("set device rules: %w", err)
	}
	return nil
}

// writeDevices writes the rules of a new group of v1, one write(2) for each: the default by "a",
// which clears the exceptions, then these.
func (h *hierarchy) writeDevices(dir string, d deviceRules) error {
	first, then := "devices.deny", "devices.allow"
	if d.allow {
		first, then = then, first
	}
	if err := h.write(dir, first, "a"); err != nil {
		return err
	}
	fd, err := h.open(dir, then, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, e := range d.exceptions {
		if err := h.writeTo(fd, dir+"/"+then, e.String()); err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
	}
	return nil
}
