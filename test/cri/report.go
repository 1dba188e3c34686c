package cri

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// A spec is what became of one of critest's specs.
type spec struct {
	name     string // hierarchy and text, joined by spaces
	group    string // top of the hierarchy, without "[k8s.io] "
	outcome  string // passed, failed or skipped
	selected bool   // false: left out by -focus or -skip
	start    time.Time
	end      time.Time
	message  string // of a failure or a skip
	output   string // what the spec wrote
}

// benchmarks is the focus of critest's benchmarks, which are not specs of the
// conformance suite: with any other focus, critest leaves them out.
const benchmarks = "benchmark"

// readReport decodes the ginkgo JSON report of a run with a selection, a focus or what was skipped.
func readReport(path, selection string) ([]spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("report %s: %w", path, err)
	}
	var specs []spec
	for _, report := range reports {
		for _, r := range report.SpecReports {
			benchmark := strings.Contains(r.FullText(), benchmarks)
			switch {
			case r.LeafNodeType == types.NodeTypeIt && benchmark == (selection == benchmarks):
				specs = append(specs, newSpec(r, selection))
			case r.LeafNodeType != types.NodeTypeIt && r.Failed():
				return nil, fmt.Errorf("critest %s: %s", r.LeafNodeType, r.Failure.Message)
			}
		}
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("report %s names no spec", path)
	}
	return specs, nil
}

func newSpec(r types.SpecReport, selection string) spec {
	s := spec{
		name:     r.FullText(),
		outcome:  failed,
		selected: selection == "" || r.NumAttempts > 0,
		start:    r.StartTime,
		end:      r.EndTime,
		message:  r.Failure.Message,
		output:   r.CapturedGinkgoWriterOutput,
	}
	if len(r.ContainerHierarchyTexts) > 0 {
		s.group = strings.TrimPrefix(r.ContainerHierarchyTexts[0], "[k8s.io] ")
	}
	switch r.State {
	case types.SpecStatePassed:
		s.outcome = passed
	case types.SpecStateSkipped, types.SpecStatePending:
		s.outcome = skipped
	}
	return s
}

// printTable writes one line per group and a sum.
func printTable(w io.Writer, specs []spec) {
	type row struct {
		count map[string]int
		took  time.Duration
	}
	rows := map[string]*row{}
	sum := &row{count: map[string]int{}}
	var groups []string
	for _, s := range specs {
		if !s.selected {
			continue
		}
		if rows[s.group] == nil {
			rows[s.group] = &row{count: map[string]int{}}
			groups = append(groups, s.group)
		}
		for _, r := range []*row{rows[s.group], sum} {
			r.count[s.outcome]++
			r.took += s.end.Sub(s.start)
		}
	}
	slices.Sort(groups)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, r *row) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.1f s\n", name, r.count[passed], r.count[failed], r.count[skipped], r.took.Seconds())
	}
	fmt.Fprintln(t, "group\tpassed\tfailed\tskipped\ttime")
	for _, g := range groups {
		line(g, rows[g])
	}
	line("all", sum)
	_ = t.Flush()
}

// tailLines is how much of an output a failure shows.
const tailLines = 25

// headLines is how much of critest's message a failure shows; what follows is the
// error's value, field by field.
const headLines = 8

// printFailures writes, for each failed spec that is not expected to fail, why
// critest says it failed, the end of the spec's own output and the daemon's log
// lines of that time.
func printFailures(w io.Writer, specs []spec, allowed []exception, daemonLog string) {
	for _, s := range specs {
		if s.outcome != failed || slices.ContainsFunc(allowed, func(e exception) bool { return e.spec == s.name }) {
			continue
		}
		fmt.Fprintf(w, "\n--- %s\n%s\n", s.name, indent(head(s.message, headLines)))
		fmt.Fprintf(w, "  output of the spec:\n%s\n", indent(tail(s.output, tailLines)))
		if log := linesBetween(daemonLog, s.start, s.end); log != "" {
			fmt.Fprintf(w, "  log of the daemon:\n%s\n", indent(tail(log, tailLines)))
		}
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

func head(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// linesBetween picks the lines whose first time stamp (time=… of log/slog, or any
// RFC 3339 time) lies between start and end, and the lines without one that
// follow them.
func linesBetween(log string, start, end time.Time) string {
	var picked strings.Builder
	inside := false
	for line := range strings.Lines(log) {
		if at, ok := timeIn(line); ok {
			inside = !at.Before(start) && !at.After(end)
		}
		if inside {
			picked.WriteString(line)
		}
	}
	return picked.String()
}

func timeIn(line string) (time.Time, bool) {
	for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(" \t\n\"={},[]", r) }) {
		if at, err := time.Parse(time.RFC3339Nano, word); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
