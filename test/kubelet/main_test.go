package kubelet

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

var (
	bin    = flag.String("bin", "../../bin", "directory of tare, kubelet and the programs beside them")
	built  = flag.Bool("built", false, "all programs are there: build none")
	driver = flag.String("driver", "cgroupfs", "cgroup driver of kubelet and runtime, cgroupfs or systemd")
	slower = flag.Int("slower", 1, "how many times slower this machine is than others, as one that is emulated")
	keep   = flag.Bool("keep", false, "keep the node's directory with the logs")
)

// outerVar is set in an enclosure (test/enclose).
const outerVar = "TARE_ENCLOSE_OUTER"

// node is what all tests share.
var node *machine

// TestMain has the tests run in an enclosure.
func TestMain(m *testing.M) {
	flag.Parse()
	// Tests wait for the kubelet most of the time, unless the machine is slow.
	_ = flag.Set("test.parallel", strconv.Itoa(max(4, 24 / *slower)))
	if role := os.Getenv(roleVar); role != "" {
		play(role)
	}
	var code int
	var err error
	if os.Getenv(outerVar) == "" {
		err = enclose()
	} else {
		code, err = runOnNode(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/kubelet:", err)
		code = 1
	}
	os.Exit(code)
}

// enclose builds what needs the machine's network and executes this program again inside. It
// returns if that cannot be done.
func enclose() error {
	if !*built {
		err := errors.Join(
			goTool("../..", "build", "-o", "bin/", "./test/registry/cmd/registry", "./test/leak/cmd/leak", "./test/enclose/cmd/enclose"),
			goTool(".", "build", "-trimpath", "-ldflags=-s -w", "-o", *bin, "k8s.io/kubernetes/cmd/kubelet"))
		if err != nil {
			return err
		}
	}
	program := filepath.Join(*bin, "enclose")
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, append([]string{program}, os.Args...), os.Environ()))
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

// runOnNode brings the node up, runs the tests, and takes it down.
func runOnNode(m *testing.M) (code int, err error) {
	if node, err = newMachine(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, node.close(code != 0 || err != nil)) }()
	if err := node.up(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
