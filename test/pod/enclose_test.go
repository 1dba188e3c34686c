package pod

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The suite is three processes: the one go test starts, which makes the namespaces; process 1 in
// them, which reaps orphans; and the one that runs the tests.
const (
	stageVar = "TARE_POD_TEST_STAGE" // "": outside
	// outerVar is the pid outside, which is unique where cgroups are: these are shared with
	// the rest of the machine.
	outerVar = "TARE_POD_TEST_OUTER"
)

func TestMain(m *testing.M) {
	flag.Parse()
	var code int
	var err error
	switch os.Getenv(stageVar) {
	case "":
		code, err = enclose()
	case "init":
		code, err = beInit()
	default:
		code, err = runSuite(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/pod:", err)
		code = 1
	}
	os.Exit(code)
}

// enclose runs this program again as process 1 of new namespaces.
func enclose() (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("pods need root")
	}
	runtime.LockOSThread() // Pdeathsig is about the thread, prctl(2)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVar+"=init", outerVar+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// beInit sets up the namespaces and reaps whatever ends in them until the tests have.
func beInit() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return 1, fmt.Errorf("mount /proc: %w", err)
	}
	if err := ownRun(); err != nil {
		return 1, err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return 1, fmt.Errorf("set up loopback: %w", err)
	}
	if err := os.Setenv(stageVar, "tests"); err != nil {
		return 1, err
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case pid == tests.Pid && status.Signaled():
			return 1, fmt.Errorf("tests ended by %s", status.Signal())
		case pid == tests.Pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

// ownRun replaces /run, where other runtimes and CNI plugins bind namespaces, by an empty one.
func ownRun() error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		if place := strings.Fields(line)[4]; strings.HasPrefix(place, "/run/") {
			_ = unix.Unmount(place, unix.MNT_DETACH) // it may have gone with one above it
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}
