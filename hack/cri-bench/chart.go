package main

import (
	"fmt"
	"html"
	"os"
	"strings"
)

// charted are the metrics a chart shows.
var charted = []metric{podUp, usernsUp, podDown, execTime, execRate, burstRate, podMemory, idleCPU, listStats, kubeletCPU, logRate, pullTime, restartTime}

// The chart's measures, in pixels.
const (
	chartWidth = 860
	labelWidth = 300
	barWidth   = 400
	barHeight  = 14
	barGap     = 3
	groupGap   = 14
	chartTop   = 46
)

// colours of the runtimes, in their order; they read on light and dark pages.
var colours = []string{"#2a9d8f", "#8ecae6", "#e76f51", "#f4a261"}

// writeChart draws a group of bars for each metric, the longest of which fills the width.
func (r results) writeChart(path string, names []string) error {
	var body strings.Builder
	y := chartTop
	for _, row := range rows {
		if isCharted(row.metric) && len(r[row.metric]) > 0 {
			y = r.group(&body, y, row, names)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, y)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, y)
	fmt.Fprintf(&out, `<text x="10" y="20" font-size="11" fill="#666666">%s; medians. Shorter is better, but for rates (▲)</text>`+"\n", html.EscapeString(machine()))
	x := 10
	for i, n := range names {
		fmt.Fprintf(&out, `<rect x="%d" y="28" width="10" height="10" fill="%s"/><text x="%d" y="37">%s</text>`+"\n", x, colour(i), x+14, html.EscapeString(n))
		x += 40 + 7*len(n)
	}
	out.WriteString(body.String())
	out.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

func isCharted(m metric) bool {
	for _, c := range charted {
		if c == m {
			return true
		}
	}
	return false
}

func colour(i int) string { return colours[i%len(colours)] }

// group draws one metric at y and returns where the next one goes.
func (r results) group(out *strings.Builder, y int, w row, names []string) int {
	label, longest := string(w.metric), 0.0
	if w.more {
		label += " ▲"
	}
	for _, all := range r[w.metric] {
		longest = max(longest, median(all))
	}
	fmt.Fprintf(out, `<text x="10" y="%d">%s</text>`+"\n", y+12, html.EscapeString(label))
	for i, n := range names {
		all := r[w.metric][n]
		if len(all) == 0 {
			continue
		}
		v := median(all)
		width := 1.0
		if longest > 0 {
			width = max(1, barWidth*v/longest)
		}
		text := number(v) + " " + w.unit
		if t := r.times(w, names[0], n); i > 0 && t > 0 {
			text += fmt.Sprintf(" (%s)", ratio(t))
		}
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="11">%s</text>`+"\n",
			labelWidth, y, width, barHeight, colour(i), labelWidth+width+5, y+11, html.EscapeString(strings.TrimSpace(text)))
		y += barHeight + barGap
	}
	return y + groupGap
}
