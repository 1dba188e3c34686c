package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestUsageV2 reads texts recorded on hosts with v2: this one may not have its controllers.
func TestUsageV2(t *testing.T) {
	got := &Usage{Detail: &Detail{}}
	for _, s := range sourcesV2() {
		if s.controller == "hugetlb" {
			continue // the host's page sizes
		}
		content, err := os.ReadFile(filepath.Join("testdata/v2", s.file))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.parse(content, got); err != nil {
			t.Errorf("%s: %v", s.file, err)
		}
	}
	us := time.Microsecond
	want := &Usage{
		CPU: CPUUsage{
			Total: 12345678 * us, User: 10000000 * us, System: 2345678 * us,
			Periods: 120, ThrottledPeriods: 7, Throttled: 350001 * us,
		},
		Memory: MemoryUsage{
			Current: 100 << 20, InactiveFile: 30 << 20, Anon: 40 << 20, File: 50 << 20, MappedFile: 20 << 20,
			Swap: 1 << 20, Limit: 256 << 20, Faults: 98765, MajorFaults: 43, OwnFaults: 98765, OwnMajorFaults: 43,
		},
		Threads: 17,
		Detail: &Detail{
			MemoryPeak: 200 << 20, Kernel: 6 << 20, LimitHits: 31, OOMKills: 1, ThreadsMax: 1024, Processes: []int{4242, 4243},
			Devices: []DeviceIO{
				{Major: 254, ReadBytes: 8192000, WriteBytes: 4096, Reads: 200, Writes: 1},
				{Major: 8, Minor: 16, ReadBytes: 512, WriteBytes: 1024, Reads: 1, Writes: 2},
			},
		},
		CPUPressure:    &Pressure{Stall{12.5, 3.25, 0.75, 4500123 * us}, Stall{1, 0.5, 0.1, 900456 * us}},
		MemoryPressure: &Pressure{Stall{Total: 17 * us}, Stall{Total: 11 * us}},
		IOPressure:     &Pressure{Stall{2.04, 0.75, 0.4, 157622151 * us}, Stall{0, 0.13, 0.25, 149323124 * us}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%s\nwant\n%s", show(got), show(want))
	}
	if ws := got.Memory.WorkingSet(); ws != 70<<20 {
		t.Errorf("working set %d", ws)
	}
	if free, ok := got.Memory.Available(); !ok || free != 186<<20 {
		t.Errorf("available %d, %t", free, ok)
	}
	if free, ok := got.Memory.SwapAvailable(); ok {
		t.Errorf("swap available %d without a limit", free)
	}
}

func show(u *Usage) string {
	return fmt.Sprintf("%+v %+v\n%+v %+v %+v", *u, *u.Detail, u.CPUPressure, u.MemoryPressure, u.IOPressure)
}

func TestUsageV1(t *testing.T) {
	for _, tt := range []struct {
		name    string
		parse   func([]byte, *Usage) error
		content string
		want    Usage
	}{
		{"no limits", flat(memoryStatV1), "hierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n", Usage{}},
		{"limits", flat(memoryStatV1), "cache 1\ntotal_cache 2\nhierarchical_memory_limit 4096\nhierarchical_memsw_limit 12288\n",
			Usage{Memory: MemoryUsage{File: 2, Limit: 4096, SwapLimit: 8192}}},
		{"no swap", flat(memoryStatV1), "hierarchical_memory_limit 4096\nhierarchical_memsw_limit 4096\n", Usage{Memory: MemoryUsage{Limit: 4096}}},
		{"faults", flat(memoryStatV1), "pgfault 1\npgmajfault 2\ntotal_pgfault 3\ntotal_pgmajfault 4\n",
			Usage{Memory: MemoryUsage{OwnFaults: 1, OwnMajorFaults: 2, Faults: 3, MajorFaults: 4}}},
		{"throttling", flat(cpuStatV1), "nr_periods 10\nnr_throttled 4\nthrottled_time 123\nwait_sum 9\n",
			Usage{CPU: CPUUsage{Periods: 10, ThrottledPeriods: 4, Throttled: 123}}},
		{"blkio", blockIO(func(d *DeviceIO) *uint64 { return &d.ReadBytes }, func(d *DeviceIO) *uint64 { return &d.WriteBytes }),
			"254:0 Read 4096\n254:0 Write 512\n254:0 Sync 4608\n254:0 Total 4608\nTotal 4608\n",
			Usage{Detail: &Detail{Devices: []DeviceIO{{Major: 254, ReadBytes: 4096, WriteBytes: 512}}}}},
		{"no blkio", blockIO(nil, nil), "Total 0\n", Usage{}},
		{"no final newline", single(func(u *Usage) *uint64 { return &u.Threads }), "7", Usage{Threads: 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got Usage
			if tt.want.Detail != nil {
				got.Detail = &Detail{}
			}
			if err := tt.parse([]byte(tt.content), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	for name, parse := range map[string]func([]byte, *Usage) error{
		"number": single(func(u *Usage) *uint64 { return &u.Threads }), "flat": flat(cpuStatV1),
		"pressure": pressure(func(u *Usage) **Pressure { return &u.CPUPressure }),
	} {
		if err := parse([]byte("some avg10=x\n"), &Usage{}); err == nil {
			t.Errorf("%s takes nonsense", name)
		}
	}
}

// TestMeter reads a cgroup before, while and after it has a process that works.
func TestMeter(t *testing.T) {
	forEachKind(t, func(t *testing.T, tree *Tree) {
		g := create(t, tree)
		m, err := tree.Meter(g.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		before, err := m.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if before.CPU.Total != 0 || len(before.Detail.Processes) != 0 {
			t.Errorf("an empty cgroup: %+v", *before)
		}
		cmd, _ := run(t, g, `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000`)
		// v1's memory.stat lags behind by up to two seconds (mm/memcontrol.c, FLUSH_TIME).
		memory := tree.of("memory") != nil
		busy := func(u *Usage) bool {
			return u.CPU.Total > 10*time.Millisecond && (!memory || u.Memory.Faults > 0 && u.Memory.Current > 0)
		}
		after := before
		for end := time.Now().Add(10 * time.Second); !busy(after) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if after, err = m.ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat("/proc/pressure"); err == nil && tree.v2() && (after.CPUPressure == nil || after.IOPressure == nil) {
			t.Errorf("no pressure: %+v", *after)
		}
		if !busy(after) || len(after.Detail.Processes) == 0 {
			t.Errorf("a busy cgroup: %+v, processes %v", *after, after.Detail.Processes)
		}
		if err := g.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if err := g.Remove(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := m.Read(); !errdefs.IsNotFound(err) {
			t.Errorf("a removed cgroup: %v, want NotFound", err)
		}
	})
}

// TestReadWhole reads files that are longer than the buffer.
func TestReadWhole(t *testing.T) {
	want := strings.Repeat("line\n", 1000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1, 4096, len(want), len(want) + 1} {
		buf := make([]byte, size)
		got, err := readWhole(int(f.Fd()), &buf)
		if err != nil || string(got) != want {
			t.Errorf("%d bytes with a buffer of %d: %v", len(got), size, err)
		}
	}
}

func BenchmarkMeter(b *testing.B) {
	tree := openTree(b, "host")
	g := create(b, tree)
	m, err := tree.Meter(g.Path())
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for name, read := range map[string]func() (*Usage, error){"read": m.Read, "all": m.ReadAll} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
