package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// metric is a row of the result, by its name.
type metric string

// The metrics.
const (
	podUp            metric = "pod up: run, create, start"
	podUpPlugins     metric = "  the CNI plugins, executed alone"
	podUpRest        metric = "  pod up besides"
	podDown          metric = "pod down: stop, remove"
	podDownPlugins   metric = "  the CNI plugins' deletion, executed alone"
	podCPU           metric = "CPU of a pod's life"
	usernsUp         metric = "pod up, user namespace"
	usernsDown       metric = "pod down, user namespace"
	execTime         metric = "ExecSync true"
	execCPU          metric = "CPU of an ExecSync"
	execRate         metric = "ExecSync, 10 at once"
	burstRate        metric = "burst of pods, 10 at once"
	burstCPU         metric = "CPU of each pod's start in it"
	emptyMemory      metric = "memory (PSS), no pods"
	podMemory        metric = "memory (PSS) for each pod"
	podMachineMemory metric = "MemAvailable for each pod"
	podMounts        metric = "host mounts for each pod"
	podProcesses     metric = "processes for each pod"
	slowdown         metric = "start of the last pods against the first"
	idleCPU          metric = "CPU in 10 s, idle, with pods"
	listPods         metric = "ListPodSandbox"
	listContainers   metric = "ListContainers"
	listStats        metric = "ListContainerStats"
	containerStatus  metric = "ContainerStatus"
	kubeletCPU       metric = "a kubelet's questions, of a core"
	logRate          metric = "container log, 80-byte lines"
	logCPU           metric = "CPU of logging"
	pullTime         metric = "pull and unpack 8 layers of 4000 files"
	pullCPU          metric = "CPU of the pull"
	restartTime      metric = "restart of the daemon under its pods"
)

// row says how a metric is shown.
type row struct {
	metric
	unit   string
	target string
	more   bool // the more the better
}

// rows are all metrics in the order of the table.
var rows = []row{
	{podUp, "ms", "≤ 5", false}, {"  " + runPod, "ms", "", false}, {"  " + createContainer, "ms", "", false}, {"  " + startContainer, "ms", "", false},
	{podUpPlugins, "ms", "", false}, {podUpRest, "ms", "≤ 5", false},
	{podDown, "ms", "≤ 8", false}, {"  " + stopContainer, "ms", "", false}, {"  " + removeContainer, "ms", "", false},
	{"  " + stopPod, "ms", "", false}, {"  " + removePod, "ms", "", false}, {podDownPlugins, "ms", "", false},
	{podCPU, "ms", "", false}, {usernsUp, "ms", "≤ 6", false}, {usernsDown, "ms", "", false},
	{execTime, "ms", "≤ 1.5", false}, {execCPU, "ms", "≤ 1.2", false}, {execRate, "/s", "≥ 1200", true},
	{burstRate, "pods/s", "≥ 200", true}, {burstCPU, "ms", "", false},
	{emptyMemory, "MiB", "≤ 45", false}, {podMemory, "KiB", "≤ 20", false}, {podMachineMemory, "KiB", "", false},
	{podMounts, "", "≤ 1", false}, {podProcesses, "", "0", false}, {slowdown, "×", "≤ 1.3", false}, {idleCPU, "ms", "≤ 20", false},
	{listPods, "ms", "≤ 1", false}, {listContainers, "ms", "≤ 1", false}, {listStats, "ms", "≤ 3 (50), 25 (500)", false},
	{containerStatus, "ms", "", false}, {kubeletCPU, "%", "≤ 2", false},
	{logRate, "MiB/s", "≥ 500", true}, {logCPU, "ms/MiB", "", false},
	{pullTime, "ms", "≤ 2500", false}, {pullCPU, "ms", "", false}, {restartTime, "ms", "≤ 300 (200)", false},
}

// results are the samples, by metric and runtime.
type results map[metric]map[string][]float64

func (r *results) add(s *subject, m metric, v float64) {
	if *r == nil {
		*r = results{}
	}
	if (*r)[m] == nil {
		(*r)[m] = map[string][]float64{}
	}
	(*r)[m][s.name] = append((*r)[m][s.name], v)
}

func (r *results) time(s *subject, m metric, d time.Duration) { r.add(s, m, d.Seconds()*1000) }

func quantile(all []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func median(all []float64) float64 { return quantile(all, 0.5) }

func seconds(all []time.Duration) (out []float64) {
	for _, d := range all {
		out = append(out, d.Seconds())
	}
	return out
}

// times is how many times better the first runtime is than another; 0: unknown.
func (r results) times(w row, first, other string) float64 {
	a, b := r[w.metric][first], r[w.metric][other]
	if len(a) == 0 || len(b) == 0 || median(a) <= 0 || median(b) <= 0 {
		return 0
	}
	if w.more {
		return median(a) / median(b)
	}
	return median(b) / median(a)
}

// table prints medians and 95th percentiles, and how many times better the first runtime is.
func (r results) table(out io.Writer, names []string) error {
	fmt.Fprintf(out, "\n%s; p50 / p95\n\n", machine())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "WHAT\tUNIT\tTARGET")
	for i, n := range names {
		fmt.Fprintf(w, "\t%s", n)
		if i > 0 {
			fmt.Fprint(w, "\tTIMES")
		}
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		if len(r[row.metric]) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s", row.metric, row.unit, row.target)
		for i, n := range names {
			fmt.Fprintf(w, "\t%s", cell(r[row.metric][n]))
			if i > 0 {
				fmt.Fprintf(w, "\t%s", ratio(r.times(row, names[0], n)))
			}
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func cell(all []float64) string {
	switch len(all) {
	case 0:
		return "-"
	case 1:
		return number(all[0])
	}
	return number(median(all)) + " / " + number(quantile(all, 0.95))
}

func number(v float64) string {
	switch {
	case v >= 100 || v <= -100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func ratio(v float64) string {
	if v == 0 {
		return ""
	}
	return number(v) + "×"
}

// document is the results as JSON.
type document struct {
	Machine  string    `json:"machine"`
	Date     time.Time `json:"date"`
	Runtimes []string  `json:"runtimes"`
	Metrics  []entry   `json:"metrics"`
}

type entry struct {
	Name   string             `json:"name"`
	Unit   string             `json:"unit,omitempty"`
	Target string             `json:"target,omitempty"`
	More   bool               `json:"more_is_better,omitempty"`
	Values map[string]summary `json:"values"`
}

type summary struct {
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	Samples int     `json:"samples"`
}

func (r results) writeJSON(path string, names []string) error {
	d := document{Machine: machine(), Date: time.Now().UTC(), Runtimes: names}
	for _, row := range rows {
		e := entry{Name: string(row.metric), Unit: row.unit, Target: row.target, More: row.more, Values: map[string]summary{}}
		for name, all := range r[row.metric] {
			e.Values[name] = summary{median(all), quantile(all, 0.95), len(all)}
		}
		if len(e.Values) > 0 {
			d.Metrics = append(d.Metrics, e)
		}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// redraw draws the chart of the medians in earlier runs' files.
func redraw(o options) error {
	r := results{}
	var names []string
	for _, path := range o.from {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var d document
		if err := json.Unmarshal(text, &d); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		names = d.Runtimes
		for _, m := range d.Metrics {
			r[metric(m.Name)] = map[string][]float64{}
			for runtime, s := range m.Values {
				r[metric(m.Name)][runtime] = []float64{s.P50}
			}
		}
	}
	return r.writeChart(o.svg, names)
}
