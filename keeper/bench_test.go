package keeper_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"tare/keeper"
)

// BenchmarkRun is a tethered run of true, from the request to the exit.
func BenchmarkRun(b *testing.B) {
	n := newNode(b)
	p := program(b, nil, nil, "true")
	b.ReportAllocs()
	for b.Loop() {
		ran, err := n.Run(b.Context(), keeper.Run{Key: "a", Program: p, Tether: true})
		if err != nil {
			b.Fatal(err)
		}
		ran.PidFD.Close()
		<-ran.Exited
	}
	b.ReportMetric(n.memory("Pss:"), "PSS-KiB")
}

// BenchmarkRuns is the same, ten at once.
func BenchmarkRuns(b *testing.B) {
	n := newNode(b)
	p := program(b, nil, nil, "true")
	var key atomic.Int64
	b.SetParallelism(max(1, 10/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		mine := fmt.Sprint(key.Add(1))
		for pb.Next() {
			ran, err := n.Run(b.Context(), keeper.Run{Key: mine, Program: p, Tether: true})
			if err != nil {
				b.Error(err)
				return
			}
			ran.PidFD.Close()
			<-ran.Exited
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	b.ReportMetric(n.memory("Pss:"), "PSS-KiB")
}

// memory is a figure of the keeper's, in KiB, proc_pid_smaps(5).
func (n *node) memory(field string) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", n.Pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range strings.Split(string(data), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == field {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib
		}
	}
	return 0
}

// BenchmarkContainer measures what one more container costs the keeper while it runs and says
// nothing.
func BenchmarkContainer(b *testing.B) {
	n := newNode(b)
	dir := b.TempDir()
	n.logged("first", dir+"/log", "echo hello; exec sleep 1000")
	before := n.memory("Pss:")
	i := 0
	for b.Loop() {
		i++
		n.logged(fmt.Sprint(i), dir+"/log", "echo hello; exec sleep 1000")
	}
	b.ReportMetric((n.memory("Pss:")-before)/float64(i), "PSS-KiB/container")
}

// BenchmarkLog is a container that writes lines of 80 bytes as fast as it can, until all are in
// the log.
func BenchmarkLog(b *testing.B) {
	n := newNode(b)
	dir := b.TempDir()
	const size = 64 << 20
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, bytes.Repeat([]byte(strings.Repeat("x", 80)+"\n"), size/81), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for i := 0; b.Loop(); i++ {
		path := filepath.Join(dir, fmt.Sprint(i))
		n.logged(path, path, "exec cat "+in)
		n.exit(path)
		os.Remove(path)
	}
}
