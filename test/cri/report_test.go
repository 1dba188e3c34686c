package cri

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadReport(t *testing.T) {
	const report = `[{"SpecReports":[
	 {"ContainerHierarchyTexts":["[k8s.io] Pod","basic"],"LeafNodeType":"It","LeafNodeText":"runs","State":"passed","NumAttempts":1,"StartTime":"2026-01-02T03:04:05Z","EndTime":"2026-01-02T03:04:07Z"},
	 {"ContainerHierarchyTexts":["[k8s.io] Pod"],"LeafNodeType":"It","LeafNodeText":"stops","State":"failed","Failure":{"Message":"no"}},
	 {"ContainerHierarchyTexts":["[k8s.io] Pod"],"LeafNodeType":"It","LeafNodeText":"waits","State":"timedout"},
	 {"ContainerHierarchyTexts":["[k8s.io] LSM"],"LeafNodeType":"It","LeafNodeText":"confines","State":"skipped"},
	 {"ContainerHierarchyTexts":["[k8s.io] Pod benchmark"],"LeafNodeType":"It","LeafNodeText":"x","State":"skipped"},
	 {"LeafNodeType":"BeforeSuite","State":"passed"}]}]`
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	specs, err := readReport(path, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range specs {
		got = append(got, s.group+": "+s.name+": "+s.outcome)
	}
	want := "Pod: [k8s.io] Pod basic runs: pass\nPod: [k8s.io] Pod stops: fail\nPod: [k8s.io] Pod waits: fail\nLSM: [k8s.io] LSM confines: skip"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}

	specs, err = readReport(path, "basic")
	if err != nil || !specs[0].selected || specs[1].selected {
		t.Errorf("with a focus, selected are those that ran: %+v, %v", specs, err)
	}

	specs, err = readReport(path, benchmarks)
	if err != nil || len(specs) != 1 || specs[0].name != "[k8s.io] Pod benchmark x" {
		t.Errorf("the benchmarks are %+v, %v", specs, err)
	}
}

func TestReadReportFaults(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":     "{",
		"no spec":      "[]",
		"setup failed": `[{"SpecReports":[{"LeafNodeType":"BeforeSuite","State":"failed","Failure":{"Message":"no socket"}}]}]`,
	} {
		path := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readReport(path, ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPrintTable(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ran := func(group, outcome string) spec {
		return spec{group: group, outcome: outcome, selected: true, start: start, end: start.Add(1500 * time.Millisecond)}
	}
	var b strings.Builder
	printTable(&b, []spec{ran("Pod", passed), ran("Pod", failed), ran("Image", skipped), {group: "Other", outcome: skipped}})
	want := "group  passed  failed  skipped  time\n" +
		"Image  0       0       1        1.5 s\n" +
		"Pod    1       1       0        3.0 s\n" +
		"all    1       1       1        4.5 s\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestLinesBetween(t *testing.T) {
	log := "time=2026-01-02T03:04:04.000Z level=INFO msg=before\n" +
		"time=2026-01-02T03:04:05.500+00:00 level=INFO msg=inside\n" +
		"\tno time: belongs to the line above\n" +
		"{\"time\":\"2026-01-02T03:04:09Z\",\"msg\":\"after\"}\n"
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := linesBetween(log, start, start.Add(time.Second))
	if strings.Count(got, "\n") != 2 || !strings.Contains(got, "inside") {
		t.Errorf("got %q", got)
	}
}
