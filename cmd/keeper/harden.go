package main

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tare/nsutil"
)

const (
	// gcPercent keeps the heap small: every fork copies its page tables, and the daemon's budget for a
	// pod is counted in kilobytes.
	gcPercent = 25
	// maxProcs is enough for a node's log output; each P has caches of its own.
	maxProcs = 4
	// oomScore is that of a process the node cannot do without, proc_pid_oom_score_adj(5).
	oomScore = -999
)

// deadly are the signals whose default action would end the keeper and that are sent by accident.
// They are caught, not ignored: an ignored signal stays ignored in the containers, execve(2).
var deadly = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE,
	syscall.SIGALRM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// harden makes the process what a custodian has to be.
func harden(log *slog.Logger) error {
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(min(runtime.NumCPU(), maxProcs))
	if err := nsutil.KeepPlaces(); err != nil {
		return err
	}
	if err := nsutil.HeedSignals(); err != nil {
		return err
	}
	if err := nsutil.MuteChildren(); err != nil {
		return err
	}
	signal.Notify(make(chan os.Signal, 1), deadly...)
	unix.Umask(0) // programs make files and nodes with exact modes
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Orphans of our children become ours, PR_SET_CHILD_SUBREAPER(2const).
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	// The program has no name of its own (memfd_create(2)), proc_pid_comm(5).
	if err := os.WriteFile("/proc/self/comm", []byte("keeper"), 0); err != nil {
		return err
	}
	// Nobody reads our memory or takes our descriptors through /proc, PR_SET_DUMPABLE(2const).
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_DUMPABLE", err)
	}
	// Going below the present value takes CAP_SYS_RESOURCE.
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(oomScore)), 0)
	if err != nil {
		log.Info("oom score stays as it is", "wanted", oomScore, "err", err)
	}
	return nil
}
