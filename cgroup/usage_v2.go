package cgroup

import (
	"bytes"
	"sync"
	"time"
)

// sourcesV2 are v2's files, Documentation/admin-guide/cgroup-v2.rst. cpu.stat and the pressure files are
// there without any controller; memory.peak since Linux 5.19.
var sourcesV2 = sync.OnceValue(func() []source {
	return append([]source{
		{file: "cpu.stat", parse: flat(cpuStatV2)},
		{file: "cpu.pressure", parse: pressure(func(u *Usage) **Pressure { return &u.CPUPressure })},
		{file: "memory.pressure", parse: pressure(func(u *Usage) **Pressure { return &u.MemoryPressure })},
		{file: "io.pressure", parse: pressure(func(u *Usage) **Pressure { return &u.IOPressure })},
		{controller: "memory", file: "memory.current", parse: single(func(u *Usage) *uint64 { return &u.Memory.Current })},
		{controller: "memory", file: "memory.stat", parse: flat(memoryStatV2)},
		{controller: "memory", file: "memory.max", parse: single(func(u *Usage) *uint64 { return &u.Memory.Limit })},
		{controller: "memory", file: "memory.swap.current", parse: single(func(u *Usage) *uint64 { return &u.Memory.Swap })},
		{controller: "memory", file: "memory.swap.max", parse: single(func(u *Usage) *uint64 { return &u.Memory.SwapLimit })},
		{controller: "memory", file: "memory.peak", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.MemoryPeak })},
		{controller: "memory", file: "memory.events", detail: true, parse: flat(memoryEvents)},
		{controller: "pids", file: "pids.current", parse: single(func(u *Usage) *uint64 { return &u.Threads })},
		{controller: "pids", file: "pids.max", detail: true, parse: single(func(u *Usage) *uint64 { return &u.Detail.ThreadsMax })},
		{controller: "io", file: "io.stat", detail: true, parse: ioStat},
		{file: "cgroup.procs", detail: true, list: true, parse: processes},
	}, hugetlb(".current", "")...)
})

func cpuStatV2(u *Usage, key []byte, n uint64) {
	c, us := &u.CPU, time.Duration(n)*time.Microsecond
	switch string(key) {
	case "usage_usec":
		c.Total = us
	case "user_usec":
		c.User = us
	case "system_usec":
		c.System = us
	case "nr_periods":
		c.Periods = n
	case "nr_throttled":
		c.ThrottledPeriods = n
	case "throttled_usec":
		c.Throttled = us
	}
}

func memoryStatV2(u *Usage, key []byte, n uint64) {
	m := &u.Memory
	switch string(key) {
	case "anon":
		m.Anon = n
	case "file":
		m.File = n
	case "file_mapped":
		m.MappedFile = n
	case "inactive_file":
		m.InactiveFile = n
	case "pgfault":
		m.Faults, m.OwnFaults = n, n
	case "pgmajfault":
		m.MajorFaults, m.OwnMajorFaults = n, n
	case "kernel":
		if u.Detail != nil {
			u.Detail.Kernel = n
		}
	}
}

func memoryEvents(u *Usage, key []byte, n uint64) {
	switch string(key) {
	case "max":
		u.Detail.LimitHits = n
	case "oom_kill":
		u.Detail.OOMKills = n
	}
}

// ioStat reads lines "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0".
func ioStat(content []byte, u *Usage) error {
	for line, rest := text(content).line(); len(line) > 0; line, rest = rest.line() {
		name, values := line.word()
		if len(values) == 0 {
			continue // seen on Linux before 6.0: a device without any I/O
		}
		d, err := u.Detail.device(name)
		if err != nil {
			return err
		}
		for word, rest := values.word(); len(word) > 0; word, rest = rest.word() {
			key, value, _ := bytes.Cut(word, []byte{'='})
			n, ok := text(value).number()
			if !ok {
				continue // other policies add theirs
			}
			if at := d.field(string(key)); at != nil {
				*at = n
			}
		}
	}
	return nil
}

func (d *DeviceIO) field(key string) *uint64 {
	switch key {
	case "rbytes":
		return &d.ReadBytes
	case "wbytes":
		return &d.WriteBytes
	case "rios":
		return &d.Reads
	case "wios":
		return &d.Writes
	}
	return nil
}
