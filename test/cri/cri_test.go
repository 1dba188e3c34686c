package cri

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	endpoint  = flag.String("endpoint", os.Getenv("CRI_ENDPOINT"), "test the runtime at this socket instead of starting one (unix:///PATH); $CRI_ENDPOINT")
	certsDir  = flag.String("certs-dir", os.Getenv("CRI_CERTS_DIR"), "with -endpoint: that runtime's registry configuration directory, to write hosts.toml files to; $CRI_CERTS_DIR")
	tareBin   = flag.String("tare", "../../bin/tare", "runtime to start")
	prebuilt  = flag.String("critest", "", "critest executable; default: built from this module's requirements. With it nothing is built")
	allowed   = flag.String("allow", "allow.txt", "file of the specs that are not expected to pass")
	driver    = flag.String("driver", "cgroupfs", "cgroup driver of the runtime to start, cgroupfs or systemd")
	handler   = flag.String("handler", "", "runtime handler of all pods; one that is no built-in is configured as the OCI runtime of that name in PATH")
	processes = flag.Int("processes", 4, "how many processes TestParallel uses")
	focus     = flag.String("focus", "", "run the specs that match this regular expression only")
	skip      = flag.String("skip", "", "do not run the specs that match this regular expression")
	seed      = flag.Int64("seed", 0, "order of the specs; default: random, printed by critest")
	limit     = flag.Duration("limit", 8*time.Minute, "time for all specs together")
	output    = flag.String("output", "", "keep critest's report and log and the daemon's log in this directory")
)

// TestCRI runs critest's specs one after the other.
func TestCRI(t *testing.T) { testSpecs(t, 1) }

// TestParallel runs them in several processes at a time. Those that critest marks as
// serial run alone, after the others.
func TestParallel(t *testing.T) { testSpecs(t, *processes) }

// testSpecs fails t if a spec's outcome is not the one allow.txt leads to expect, or
// if anything is left on the host.
func testSpecs(t *testing.T, processes int) {
	list, err := readAllow(*allowed)
	if err != nil {
		t.Fatal(err)
	}
	s := newSuite(t)
	specs := s.run(t, processes)
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
	critest  string // absolute, ginkgo is beside it
	endpoint string
	log      string // the daemon's, empty with -endpoint
}

// newSuite starts registry and runtime. Clean-ups of t end them in the opposite order
// and look for leftovers.
func newSuite(t *testing.T) *suite {
	if os.Getuid() != 0 {
		t.Fatal("critest needs root")
	}
	s := &suite{endpoint: *endpoint}
	var err error
	if s.critest, err = filepath.Abs(cmp.Or(*prebuilt, filepath.Join(bin, "critest"))); err != nil {
		t.Fatal(err)
	}
	if *output != "" {
		s.dir = filepath.Join(*output, t.Name())
	} else {
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

func (s *suite) daemonLog() string {
	log, _ := os.ReadFile(s.log) // no log, nothing to show
	return string(log)
}
