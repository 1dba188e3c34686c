package main

import (
	"strings"
	"testing"
)

// TestRead has a test of each end, and a package that ends in one.
func TestRead(t *testing.T) {
	const events = `# a line that is no event
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: fine\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:2: no such kernel: 6.7\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:3: lost\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: d\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
`
	tests := []struct {
		name    string
		verbose bool
		want    string
	}{
		{"short", false, "# a line that is no event\n    c_test.go:3: lost\nFAIL\tp\t0.1s\npanic: d\n?   \tq\t[no test files]\n"},
		{"verbose", true, "# a line that is no event\n    a_test.go:1: fine\n    b_test.go:2: no such kernel: 6.7\n--- SKIP: TestB (0.00s)\n" +
			"    c_test.go:3: lost\npanic: d\nFAIL\tp\t0.1s\n?   \tq\t[no test files]\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, skips strings.Builder
			r := reader{tt.verbose, &out, &skips, map[string][]string{}}
			if err := r.read(strings.NewReader(events)); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("it prints\n%s\nwant\n%s", out.String(), tt.want)
			}
			if got, want := skips.String(), "p.TestB: no such kernel: 6.7\n"; got != want {
				t.Errorf("skipped: %q, want %q", got, want)
			}
		})
	}
}
