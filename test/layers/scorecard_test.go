package layers

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
)

// score is one row of the scorecard: a measure of the module's shape and what it has to keep to.
type score struct {
	what    string
	limit   float64
	atLeast bool // the limit is a lower one
	measure func(m *shape) (got float64, where string)
}

// scorecard says how large things may get before their shape is to be thought over. Only what is
// shipped is measured (not hack, not test, no test files), except for the last two rows.
var scorecard = []score{
	{what: "percent of lines in functions over 100 lines", limit: 5, measure: longFunctions},
	{what: "most methods on a type, vocabularies excepted", limit: 30, measure: mostMethods},
	{what: "most parameters besides ctx", limit: 4, measure: mostParameters},
	{what: "longest chain of imports", limit: 6, measure: longestChain},
	{what: "packages but main that import CRI's wire types", limit: 2, measure: wireUsers},
	{what: "contexts stored in structs", limit: 0, measure: storedContexts},
	{what: "comments in nsutil that cite a source, per 1000 lines", limit: 5, atLeast: true, measure: citing("nsutil")},
	{what: "comments in cgroup that cite a source, per 1000 lines", limit: 5, atLeast: true, measure: citing("cgroup")},
	{what: "lines of the largest file, tests included", limit: 500, measure: largestFile},
	{what: "fakes, mocks and stubs, tests included", limit: 0, measure: fakes},
}

// TestScorecard prints the card with -v, and fails beyond a limit.
func TestScorecard(t *testing.T) {
	m := measure(t)
	var card strings.Builder
	w := tabwriter.NewWriter(&card, 0, 0, 2, ' ', 0)
	for _, s := range scorecard {
		got, where := s.measure(m)
		sign := "≤"
		if s.atLeast {
			sign = "≥"
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s %g\t%s\n", s.what, math.Round(got*10)/10, sign, s.limit, where)
		if got > s.limit && !s.atLeast || got < s.limit && s.atLeast {
			t.Errorf("%s: %.4g, want %s %g: %s", s.what, got, sign, s.limit, where)
		}
	}
	w.Flush()
	t.Logf("scorecard of %d lines shipped:\n%s", m.lines, card.String())
}

// TestMeasures makes sure that the measures would find something.
func TestMeasures(t *testing.T) {
	m := &shape{root: "/", methods: map[string]int{}, imports: map[string][]string{"a": {"b", "c"}, "b": {"c"}}}
	f := parse(t, "x.go", `package x
import "context"
type fakeKernel struct { ctx context.Context }
func (f *fakeKernel) one(ctx context.Context, a, b int, c string, _ bool, e error) {}
// as in mount(2)
func (f fakeKernel) two() { _ = func(a, b, c, d, e, f int) {} }
`)
	m.add("x", f)
	m.addAny(f)
	for what, want := range map[string]float64{
		"most methods on a type, vocabularies excepted": 2, "most parameters besides ctx": 6, "longest chain of imports": 3,
		"contexts stored in structs": 1, "fakes, mocks and stubs, tests included": 1, "lines of the largest file, tests included": 6,
	} {
		for _, s := range scorecard {
			if got, where := s.measure(m); s.what == what && got != want {
				t.Errorf("%s: %g (%s), want %g", what, got, where, want)
			}
		}
	}
	if got, _ := citing("x")(m); math.Round(got) != math.Round(1000.0/6) {
		t.Errorf("citations: %g", got)
	}
}

func rel(root, path string) string {
	if r, err := filepath.Rel(root, path); err == nil {
		return r
	}
	return path
}
