package cri

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// parameters say how much of everything critest measures; what has no number it skips.
const parameters = `containersNumber: 20
containersNumberParallel: 4
podsNumber: 20
podsNumberParallel: 4
imagesNumber: 5
imagePullingBenchmarkImage: registry.k8s.io/e2e-test-images/busybox:1.37.0-1
imageListingBenchmarkImages: [registry.k8s.io/e2e-test-images/busybox:1.37.0-1]
`

// A series is what critest writes of one benchmark.
type series struct {
	Operations []string `json:"operationsNames"`
	Points     []struct {
		Durations []time.Duration `json:"operationsDurationsNs"`
	} `json:"datapoints"`
}

// wanted is the number of points each series has to have, by its file.
var wanted = map[string]int{
	"container_benchmark_data.json":       20,
	"pod_benchmark_data.json":             20,
	"image_lifecycle_benchmark_data.json": 5,
	"image_listing_benchmark_data.json":   5,
}

// TestBenchmark runs the benchmarks that critest carries. What they measure is printed, and
// not judged: it depends on the machine.
func TestBenchmark(t *testing.T) {
	s := newSuite(t)
	params := filepath.Join(s.dir, "benchmarks.yaml")
	if err := os.WriteFile(params, []byte(parameters), 0o644); err != nil {
		t.Fatal(err)
	}
	output := s.runCritest(t, "-benchmark", "-benchmarking-params-file", params, "-benchmarking-output-dir", s.dir)
	for _, b := range s.readSpecs(t, benchmarks, output) {
		if b.outcome != passed {
			t.Errorf("%s: %s: %s", b.outcome, b.name, b.message)
		}
	}
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "operation\tmedian\tlongest")
	for file, points := range wanted {
		measured, err := readSeries(filepath.Join(s.dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if len(measured.Points) != points {
			t.Errorf("%s: %d points, want %d", file, len(measured.Points), points)
		}
		measured.print(w)
	}
	_ = w.Flush()
}

func readSeries(path string) (s series, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// print writes a line for each operation.
func (s series) print(w *tabwriter.Writer) {
	for i, name := range s.Operations {
		var took []time.Duration
		for _, p := range s.Points {
			if i < len(p.Durations) {
				took = append(took, p.Durations[i])
			}
		}
		if slices.Sort(took); len(took) > 0 {
			fmt.Fprintf(w, "%s\t%.1f ms\t%.1f ms\n", name, ms(took[len(took)/2]), ms(took[len(took)-1]))
		}
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
