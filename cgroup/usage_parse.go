package cgroup

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// text is a file's content, or a part of it, without a copy of its own.
type text []byte

// line cuts off the first line.
func (t text) line() (line, rest text) {
	if i := bytes.IndexByte(t, '\n'); i >= 0 {
		return t[:i], t[i+1:]
	}
	return t, nil
}

// word cuts off the first word.
func (t text) word() (word, rest text) {
	t = bytes.TrimLeft(t, " ")
	if i := bytes.IndexByte(t, ' '); i >= 0 {
		return t[:i], t[i+1:]
	}
	return t, nil
}

// number reads a decimal number, or false for what is none.
func (t text) number() (uint64, bool) {
	var n uint64
	for _, c := range t {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(t) > 0
}

// single makes a parser of a file that holds one number. v2's "max" is 0: no limit.
func single(at func(u *Usage) *uint64) func([]byte, *Usage) error {
	return func(content []byte, u *Usage) error {
		line, _ := text(content).line()
		if string(line) == "max" {
			*at(u) = 0
			return nil
		}
		n, ok := line.number()
		if !ok {
			return fmt.Errorf("%q is not a number", line)
		}
		*at(u) = n
		return nil
	}
}

// duration is single for a time in nanoseconds.
func duration(at func(u *Usage) *time.Duration) func([]byte, *Usage) error {
	return func(content []byte, u *Usage) error {
		var n uint64
		err := single(func(*Usage) *uint64 { return &n })(content, u)
		*at(u) = time.Duration(n)
		return err
	}
}

// flat makes a parser of a file with a line "key number" per value. Keys that set does not know
// are passed over.
func flat(set func(u *Usage, key []byte, n uint64)) func([]byte, *Usage) error {
	return func(content []byte, u *Usage) error {
		for line, rest := text(content).line(); len(line) > 0; line, rest = rest.line() {
			key, value := line.word()
			n, ok := value.number()
			if !ok {
				return fmt.Errorf("line %q", line)
			}
			set(u, key, n)
		}
		return nil
	}
}

// pressure makes a parser of a pressure file:
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=0
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
func pressure(at func(u *Usage) **Pressure) func([]byte, *Usage) error {
	return func(content []byte, u *Usage) error {
		p := &Pressure{}
		for line, rest := text(content).line(); len(line) > 0; line, rest = rest.line() {
			kind, values := line.word()
			var err error
			switch string(kind) {
			case "some":
				err = p.Some.parse(values)
			case "full":
				err = p.Full.parse(values)
			}
			if err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
		*at(u) = p
		return nil
	}
}

func (s *Stall) parse(values text) error {
	averages := map[string]*float64{"avg10": &s.Avg10, "avg60": &s.Avg60, "avg300": &s.Avg300}
	for word, rest := values.word(); len(word) > 0; word, rest = rest.word() {
		key, value, _ := strings.Cut(string(word), "=")
		if key == "total" {
			us, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return err
			}
			s.Total = time.Duration(us) * time.Microsecond
		} else if at := averages[key]; at != nil {
			var err error
			if *at, err = strconv.ParseFloat(value, 64); err != nil {
				return err
			}
		}
	}
	return nil
}

// processes reads cgroup.procs.
func processes(content []byte, u *Usage) error {
	for line, rest := text(content).line(); len(line) > 0; line, rest = rest.line() {
		pid, ok := line.number()
		if !ok {
			return fmt.Errorf("line %q", line)
		}
		if pid > 0 { // 0: of another PID namespace
			u.Detail.Processes = append(u.Detail.Processes, int(pid))
		}
	}
	return nil
}

// device finds or adds a block device named "major:minor".
func (d *Detail) device(name []byte) (*DeviceIO, error) {
	before, after, _ := bytes.Cut(name, []byte{':'})
	major, ok1 := text(before).number()
	minor, ok2 := text(after).number()
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%q is not a device number", name)
	}
	for i := range d.Devices {
		if d.Devices[i].Major == uint32(major) && d.Devices[i].Minor == uint32(minor) {
			return &d.Devices[i], nil
		}
	}
	d.Devices = append(d.Devices, DeviceIO{Major: uint32(major), Minor: uint32(minor)})
	return &d.Devices[len(d.Devices)-1], nil
}

// hugepage finds or adds a page size.
func (d *Detail) hugepage(size string) *HugepageUsage {
	for i := range d.Hugepages {
		if d.Hugepages[i].PageSize == size {
			return &d.Hugepages[i]
		}
	}
	d.Hugepages = append(d.Hugepages, HugepageUsage{PageSize: size})
	return &d.Hugepages[len(d.Hugepages)-1]
}
