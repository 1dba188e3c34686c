package cri

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	endpoint = flag.String("endpoint", os.Getenv("CRI_ENDPOINT"), "test the runtime at this socket instead of starting one (unix:///PATH); $CRI_ENDPOINT")
	certsDir = flag.String("certs-dir", os.Getenv("CRI_CERTS_DIR"), "with -endpoint: that runtime's registry configuration directory, to write hosts.toml files to; $CRI_CERTS_DIR")
	tareBin  = flag.String("tare", "../../bin/tare", "runtime to start")
	prebuilt = flag.String("critest", "", "critest executable; default: built from this module's requirements. With it nothing is built")
	allowed  = flag.String("allow", "allow.txt", "file of the specs that are not expected to pass")
	focus    = flag.String("focus", "", "run the specs that match this regular expression only")
	seed     = flag.Int64("seed", 0, "order of the specs; default: random, printed by critest")
	limit    = flag.Duration("limit", 8*time.Minute, "time for all specs together")
	output   = flag.String("output", "", "keep critest's report and log and the daemon's log in this directory")
)

// TestCRI runs critest and fails if a spec's outcome is not the one allow.txt
// leads to expect, or if anything is left on the host.
func TestCRI(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("critest needs root")
	}
	list, err := readAllow(*allowed)
	if err != nil {
		t.Fatal(err)
	}
	s := newSuite(t)
	specs := s.run(t)
	printTable(t.Output(), specs)
	printFailures(t.Output(), specs, list, s.daemonLog())
	for _, f := range judge(specs, list) {
		t.Error(f)
	}
}

func readAllow(path string) ([]exception, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := parseAllow(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// A suite is everything one run of critest needs: its programs, a registry, and a
// runtime.
type suite struct {
	dir      string // logs, report and, unless -endpoint, the runtime's files
	critest  string
	endpoint string
	log      string // the daemon's, empty with -endpoint
}

// newSuite builds the programs and starts registry and runtime. Clean-ups of t
// end them in the opposite order and look for leftovers.
func newSuite(t *testing.T) *suite {
	s := &suite{dir: *output, critest: *prebuilt, endpoint: *endpoint}
	if s.dir == "" {
		// Not t.TempDir: socket paths end at 107 bytes (unix(7)).
		dir, err := os.MkdirTemp("", "tare-cri-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		s.dir = dir
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.build(t)
	checkLeaks(t, filepath.Join(s.dir, "before.json"), s.endpoint == "")

	certs := *certsDir
	if certs == "" {
		certs = filepath.Join(s.dir, "certs.d")
	}
	startRegistry(t, certs)
	if s.endpoint == "" {
		s.startDaemon(t, certs)
	}
	return s
}

const bin = "../../bin"

// build makes critest and the main module's helper programs; what is up to date
// is not built again.
func (s *suite) build(t *testing.T) {
	if s.critest != "" {
		return
	}
	t.Log("building critest, registry and leak")
	goTool(t, "../..", "build", "-o", "bin/", "./test/registry/cmd/registry", "./test/leak/cmd/leak")
	s.critest = filepath.Join(bin, "critest")
	goTool(t, ".", "test", "-c", "-trimpath", "-o", s.critest, "sigs.k8s.io/cri-tools/cmd/critest")
}

func goTool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", args[0], err, out)
	}
}

// run runs critest to its end. That specs fail is not an error of the run.
func (s *suite) run(t *testing.T) []spec {
	report := filepath.Join(s.dir, "report.json")
	log, err := os.Create(filepath.Join(s.dir, "critest.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.critest,
		"-config", "/dev/null",
		"-runtime-endpoint", s.endpoint, "-image-endpoint", s.endpoint,
		"-ginkgo.json-report", report, "-ginkgo.junit-report", filepath.Join(s.dir, "junit.xml"),
		"-ginkgo.timeout", limit.String(), "-ginkgo.poll-progress-after", "60s",
		"-ginkgo.v=false", "-ginkgo.no-color", "-test.timeout", (*limit + time.Minute).String())
	if *focus != "" {
		cmd.Args = append(cmd.Args, "-ginkgo.focus", *focus)
	}
	if *seed != 0 {
		cmd.Args = append(cmd.Args, "-ginkgo.seed", fmt.Sprint(*seed))
	}
	cmd.Stdout = io.MultiWriter(log, dots{os.Stderr})
	cmd.Stderr = log
	var exit *exec.ExitError
	err = cmd.Run()
	fmt.Fprintln(os.Stderr)
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	specs, err := readReport(report, *focus)
	if err != nil {
		_ = log.Sync()
		out, _ := os.ReadFile(log.Name())
		t.Fatalf("%v\ncritest wrote:\n%s", err, indent(tail(string(out), tailLines)))
	}
	return specs
}

func (s *suite) daemonLog() string {
	log, _ := os.ReadFile(s.log) // no log, nothing to show
	return string(log)
}
