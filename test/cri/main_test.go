package cri

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const (
	bin = "../../bin"
	// outerVar is set in an enclosure (test/enclose).
	outerVar = "TARE_ENCLOSE_OUTER"
)

// TestMain has the tests run in an enclosure, with nobody else's ports, links and
// processes, unless they are about a runtime that is outside.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(outerVar) == "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "test/cri:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// prepare does what needs the machine's network, and executes this program again in
// an enclosure. It returns if that is not to be done, or cannot.
func prepare() error {
	if *prebuilt == "" {
		if err := build(); err != nil {
			return err
		}
	}
	if *endpoint != "" {
		return nil
	}
	program := filepath.Join(bin, "enclose")
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, append([]string{program}, os.Args...), os.Environ()))
}

// build makes critest, ginkgo and the main module's helper programs; what is up to
// date is not built again.
func build() error {
	return errors.Join(
		goTool("../..", "build", "-o", "bin/", "./test/registry/cmd/registry", "./test/leak/cmd/leak", "./test/enclose/cmd/enclose"),
		goTool(".", "test", "-c", "-trimpath", "-o", filepath.Join(bin, "critest"), "sigs.k8s.io/cri-tools/cmd/critest"),
		goTool(".", "build", "-trimpath", "-o", bin, "github.com/onsi/ginkgo/v2/ginkgo"))
}

func goTool(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}
