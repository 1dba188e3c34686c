package cri

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// run runs the conformance specs to their end. That some fail is not an error of the
// run.
func (s *suite) run(t *testing.T, processes int) []spec {
	var args []string
	if processes > 1 { // ginkgo refuses the flag otherwise: go test has one of this name
		args = append(args, "-parallel", fmt.Sprint(processes))
	}
	if *focus != "" {
		args = append(args, "-ginkgo.focus", *focus)
	}
	if *skip != "" {
		args = append(args, "-ginkgo.skip", *skip)
	}
	if *seed != 0 {
		args = append(args, "-ginkgo.seed", fmt.Sprint(*seed))
	}
	return s.readSpecs(t, cmp.Or(*focus, *skip), s.runCritest(t, args...))
}

// runCritest runs critest and returns what it wrote.
func (s *suite) runCritest(t *testing.T, args ...string) (output string) {
	log, err := os.Create(filepath.Join(s.dir, "critest.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.critest, append([]string{
		"-config", "/dev/null", "-runtime-handler", *handler, "-nri-socket", filepath.Join(s.dir, "nri.sock"),
		"-runtime-endpoint", s.endpoint, "-image-endpoint", s.endpoint,
		"-ginkgo.json-report", s.report(), "-ginkgo.junit-report", filepath.Join(s.dir, "junit.xml"),
		"-ginkgo.timeout", limit.String(), "-ginkgo.poll-progress-after", "60s",
		"-ginkgo.v=false", "-ginkgo.no-color", "-test.timeout", (*limit + time.Minute).String(),
	}, args...)...)
	// With -parallel, critest executes ginkgo, and leaves a directory in TMPDIR.
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.critest)+":"+os.Getenv("PATH"), "TMPDIR="+s.dir)
	cmd.Stdout = io.MultiWriter(log, dots{os.Stderr})
	cmd.Stderr = log
	err = cmd.Run()
	fmt.Fprintln(os.Stderr)
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *suite) report() string { return filepath.Join(s.dir, "report.json") }

// readSpecs reads the report of a run that wrote output.
func (s *suite) readSpecs(t *testing.T, selection, output string) []spec {
	specs, err := readReport(s.report(), selection)
	if err != nil {
		t.Fatalf("%v\ncritest wrote:\n%s", err, indent(tail(output, tailLines)))
	}
	return specs
}
