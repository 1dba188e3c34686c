// Package enclose runs tests as if they had the machine to themselves: in PID, mount and
// network namespaces of their own, where /run (but for systemd's place), /var/lib and /var/log
// are empty and loopback is the only link. Nothing made there but cgroups and files survives the tests.
//
// An enclosure is three processes of one program: the one outside, which makes the namespaces;
// process 1 in them, which reaps orphans; and the one that is inside, which runs the tests.
package enclose

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
)

const (
	// StageVar tells the processes which of the three they are.
	StageVar = "TARE_ENCLOSE_STAGE"
	// OuterVar is the pid outside, which is unique where cgroups are: these are shared with
	// the rest of the machine. It is set in the process inside only.
	OuterVar = "TARE_ENCLOSE_OUTER"
)

// Main calls inside in a process of the enclosure, and returns everywhere with the status to
// exit with. It has to come first in main or TestMain, after the flags.
func Main(inside func() (int, error)) (code int, err error) {
	switch os.Getenv(StageVar) {
	case "":
		return outside()
	case "init":
		return beInit()
	}
	return inside()
}

// outside runs this program again as process 1 of new namespaces.
func outside() (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("namespaces need root")
	}
	runtime.LockOSThread() // Pdeathsig is about the thread, prctl(2)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), StageVar+"=init", OuterVar+"="+strconv.Itoa(os.Getpid()))
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

// beInit sets up the namespaces and reaps whatever ends in them until the process inside has.
func beInit() (int, error) {
	if err := setUp(); err != nil {
		return 1, err
	}
	if err := os.Setenv(StageVar, "inside"); err != nil {
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
