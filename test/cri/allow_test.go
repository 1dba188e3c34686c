package cri

import (
	"slices"
	"strings"
	"testing"
)

func TestParseAllow(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []exception
		fault      string
	}{
		{name: "empty", text: "\n# comment\n"},
		{name: "both outcomes",
			text: "fail [k8s.io] A b\t# machine: no network\nskip [k8s.io] C d\t# next issue: streaming\n",
			want: []exception{{failed, "[k8s.io] A b", "machine: no network"}, {skipped, "[k8s.io] C d", "next issue: streaming"}}},
		{name: "name with #", text: "fail a # b\t# machine: x", want: []exception{{failed, "a # b", "machine: x"}}},
		{name: "no outcome", text: "[k8s.io] A b\t# machine: x", fault: `line 1: outcome "[k8s.io]"`},
		{name: "passing", text: "pass A\t# machine: x", fault: `outcome "pass"`},
		{name: "no reason", text: "fail A", fault: "want"},
		{name: "other reason", text: "fail A\t# flaky", fault: "begins with none of"},
		{name: "empty reason", text: "fail A\t# machine: ", fault: "line 1"},
		{name: "twice", text: "fail A\t# machine: x\nskip A\t# machine: x", fault: "line 2: \"A\" is listed twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseAllow(strings.NewReader(c.text))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got %v, want an error with %q", err, c.fault)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	allowed := []exception{{failed, "F", "machine: x"}, {skipped, "S", "machine: x"}}
	ran := func(name, outcome string) spec { return spec{name: name, outcome: outcome, selected: true} }
	for _, c := range []struct {
		name  string
		specs []spec
		want  []string
	}{
		{"as expected", []spec{ran("P", passed), ran("F", failed), ran("S", skipped)}, nil},
		{"unlisted failure", []spec{ran("P", failed), ran("F", failed), ran("S", skipped)}, []string{"failed: P"}},
		{"unlisted skip", []spec{{name: "P", outcome: skipped, selected: true, message: "why"}, ran("F", failed), ran("S", skipped)}, []string{"skipped, but not listed: P (why)"}},
		{"listed passes", []spec{ran("F", passed), ran("S", skipped)}, []string{"passed, so its line has to go: F (machine: x)"}},
		{"listed skip fails", []spec{ran("F", failed), ran("S", failed)}, []string{"listed as skip, but the outcome is fail: S"}},
		{"no such spec", []spec{ran("F", failed)}, []string{"listed, but critest has no such spec: S"}},
		{"not selected", []spec{{name: "P", outcome: skipped}, {name: "F", outcome: skipped}, {name: "S", outcome: skipped}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(c.specs, allowed); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
