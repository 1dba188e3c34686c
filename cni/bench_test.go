package cni

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tare/spec"
)

// BenchmarkAddDel measures one pod's way onto the embedded network and off it, records and
// leases on the disk included, and reports medians beside the mean of both.
func BenchmarkAddDel(b *testing.B) {
	for _, ports := range []int{0, 1} {
		b.Run(fmt.Sprintf("hostports=%d", ports), func(b *testing.B) { benchmarkAddDel(b, ports) })
	}
}

func benchmarkAddDel(b *testing.B, ports int) {
	n := open(b, options(b))
	var adds, dels []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		p := newPod(b, fmt.Sprintf("bench%d", i))
		if ports > 0 {
			p.PortMappings = []spec.PortMapping{hostPort("tcp", 20000, 80, "")}
		}
		b.StartTimer()
		start := time.Now()
		add(b, n, p)
		added := time.Now()
		del(b, n, p)
		adds, dels = append(adds, added.Sub(start)), append(dels, time.Since(added))
	}
	for name, d := range map[string][]time.Duration{"add": adds, "del": dels} {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2])/1e6, name+"-p50-ms")
		b.ReportMetric(float64(d[len(d)*95/100])/1e6, name+"-p95-ms")
	}
}
