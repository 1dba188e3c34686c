package cri

import (
	"strconv"
	"time"

	"tare/spec"
	"tare/stats"
)

// What the kernel gives a container that asks for nothing: sched-design-CFS.rst, sched-bwc.rst.
const (
	defaultShares = 1024
	defaultPeriod = 100000 // µs
)

// stale is the age from which a value counted in the background is not shown: a time series database would
// refuse it.
const stale = 5 * time.Minute

// containerMetrics are those of containers only.
var containerMetrics = []metric{
	{"container_file_descriptors", "Open files.", gauge, nil, func(m *measurement) []value {
		return []value{{n: m.container.Descriptors}}
	}},
	{"container_fs_inodes_free", "Free inodes of the filesystem of writable layers.", gauge, []string{"device"},
		filesystem(func(fs *stats.Filesystem) uint64 { return fs.InodesFree })},
	{"container_fs_inodes_total", "Inodes of the filesystem of writable layers.", gauge, []string{"device"},
		filesystem(func(fs *stats.Filesystem) uint64 { return fs.InodesTotal })},
	{"container_fs_limit_bytes", "Size of the filesystem of writable layers.", gauge, []string{"device"},
		filesystem(func(fs *stats.Filesystem) uint64 { return fs.Bytes })},
	{"container_fs_usage_bytes", "Bytes of the writable layer.", gauge, []string{"device"}, layerBytes},
	{"container_processes", "Processes.", gauge, nil, func(m *measurement) []value {
		return []value{{n: uint64(len(m.usage.Detail.Processes))}}
	}},
	{"container_sockets", "Open sockets.", gauge, nil, func(m *measurement) []value {
		return counted(m.container.Sockets.N, m.container.Sockets.Time)
	}},
	{"container_spec_cpu_period", "Period of the CPU quota in microseconds.", gauge, nil,
		asked(func(r *spec.Resources) uint64 { return positive(r.CPUPeriod, defaultPeriod) })},
	{"container_spec_cpu_quota", "CPU quota in microseconds a period, 0 if there is none.", gauge, nil,
		asked(func(r *spec.Resources) uint64 { return positive(r.CPUQuota, 0) })},
	{"container_spec_cpu_shares", "CPU shares.", gauge, nil,
		asked(func(r *spec.Resources) uint64 { return positive(r.CPUShares, defaultShares) })},
	{"container_spec_memory_limit_bytes", "Memory limit, 0 if there is none.", gauge, nil,
		asked(func(r *spec.Resources) uint64 { return positive(r.Memory, 0) })},
	{"container_spec_memory_reservation_limit_bytes", "Memory that is protected from reclaim, 0 if none is.", gauge, nil,
		asked(reservation)},
	{"container_spec_memory_swap_limit_bytes", "Limit of memory and swap together, 0 if there is none.", gauge, nil,
		asked(func(r *spec.Resources) uint64 { return positive(r.MemorySwap, 0) })},
	{"container_start_time_seconds", "When it was started, in seconds since the epoch.", gauge, nil, func(m *measurement) []value {
		return []value{{n: uint64(m.container.Record.StartedAt.Unix())}}
	}},
	{"container_ulimits_soft", "Soft limits of the first process.", gauge, []string{"ulimit"}, func(m *measurement) []value {
		return []value{{n: m.container.OpenFiles, labels: []string{"max_open_files"}}}
	}},
}

// filesystem makes a reader of a property of the filesystem that writable layers are on.
func filesystem(read func(fs *stats.Filesystem) uint64) func(*measurement) []value {
	return func(m *measurement) []value {
		if m.filesystem == nil {
			return nil
		}
		return []value{{n: read(m.filesystem), labels: []string{"/dev/" + m.filesystem.Device}}}
	}
}

func layerBytes(m *measurement) []value {
	if m.filesystem == nil {
		return nil
	}
	out := counted(m.container.Layer.Bytes, m.container.Layer.Time)
	for i := range out {
		out[i].labels = []string{"/dev/" + m.filesystem.Device}
	}
	return out
}

// counted is a value that was counted in the background, unless that was long ago.
func counted(n uint64, at time.Time) []value {
	if at.IsZero() || time.Since(at) > stale {
		return nil
	}
	return []value{{n: n, at: at}}
}

// asked makes a reader of what the container was given on request.
func asked(read func(r *spec.Resources) uint64) func(*measurement) []value {
	return func(m *measurement) []value {
		r := m.container.Record.Spec.Resources
		if r == nil {
			r = &spec.Resources{}
		}
		return []value{{n: read(r)}}
	}
}

// positive is n, or what holds where n is 0 or -1.
func positive(n int64, otherwise uint64) uint64 {
	if n > 0 {
		return uint64(n)
	}
	return otherwise
}

// reservation is memory.low of v2, which CRI knows by the file's name only.
func reservation(r *spec.Resources) uint64 {
	n, err := strconv.ParseUint(r.Unified["memory.low"], 10, 64)
	if err != nil {
		return 0 // "max", or nothing
	}
	return n
}
