package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// table collects what was measured.
type table struct{ rows []row }

type row struct{ what, p50, p95, target string }

// times adds durations, shown by their quantiles.
func (t *table) times(what, target string, all []time.Duration) {
	slices.Sort(all)
	at := func(q float64) string {
		if len(all) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f ms", float64(all[int(q*float64(len(all)-1)+0.5)].Microseconds())/1000)
	}
	t.add(row{what, at(0.5), at(0.95), target})
}

// value adds a single number.
func (t *table) value(what, target, format string, args ...any) {
	t.add(row{what: what, p50: fmt.Sprintf(format, args...), target: target})
}

// add also says that something is measured: the table comes at the end.
func (t *table) add(r row) {
	fmt.Printf("  ✓ %-46s %12s %12s\n", r.what, r.p50, r.p95)
	t.rows = append(t.rows, r)
}

func (t *table) write(out io.Writer) error {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tP50\tP95\tTARGET")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.p50, r.p95, r.target)
	}
	return w.Flush()
}
