// Command tare is a Kubernetes CRI runtime: the daemon, and the tools around it.
//
//	tare serve      the daemon (serve.go, daemon.go)
//	tare stop       ends a daemon; with --all its pods and its keeper too
//	tare ps         pods, containers and their namespaces
//	tare trace      where the time of a pod's operations went
//	tare check      what this kernel and these privileges allow
//	tare config     the configuration, and where it comes from
//	tare version
//
// It is the one place that knows every part: it builds each object once and hands it the settings
// it needs. A daemon owns a state directory and holds a lock on it (instance.go); what it runs
// with is recorded there, where the other commands find it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
)

// The main goroutine keeps the main thread to itself: no goroutine that changes namespaces can
// end on it, where Go would wedge the thread instead of ending it (package nsutil).
func init() { runtime.LockOSThread() }

func main() {
	// What containerd's packages write outside of any call of ours: that a file system has no
	// fs-verity, and suchlike. Their errors come back as such.
	if err := log.SetLevel("error"); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "tare:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	c := &cobra.Command{
		Use:   "tare",
		Short: "A Kubernetes CRI runtime that weighs nothing",
		Long: `Tare runs Kubernetes pods: it answers the kubelet's Container Runtime Interface
(CRI) on a socket, and maps pods and containers straight onto the kernel's
namespaces and cgroups. Two processes serve a node, however many pods there are:
this daemon, and the keeper, which holds the containers while the daemon is
restarted or replaced. A guard of 200 KiB beside the keeper keeps what it holds,
should it be killed.`,
		Example: `  tare check                      what can this machine do?
  tare serve                      run the daemon on unix:///run/tare/tare.sock
  crictl -r unix:///run/tare/tare.sock info
  tare ps                         what runs, in which namespaces?
  tare stop --all                 end pods, daemon and keeper, leave nothing`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.CompletionOptions.HiddenDefaultCmd = true
	c.SetFlagErrorFunc(seeHelp) // of the commands below, too
	c.AddCommand(serveCommand(), stopCommand(), psCommand(), traceCommand(), checkCommand(), configCommand(), versionCommand())
	return c
}

// noArguments refuses arguments.
func noArguments(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return seeHelp(c, err)
	}
	return nil
}

// seeHelp tells who has mistyped a command where to look.
func seeHelp(c *cobra.Command, err error) error {
	return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
}
