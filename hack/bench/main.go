// Command bench measures what a pod costs: p50 and p95 of its life, execs, memory, idle CPU, mounts
// and processes, each beside the target of docs/architecture.md. It speaks CRI only, so any runtime can be measured:
//
//	bench                                            a daemon of its own, beside this program
//	bench --endpoint unix:///run/containerd/containerd.sock --process containerd,containerd-shim
//
// Times are no test: they depend on the machine, which should be idle. That no process beyond daemon and
// keeper exists, is one: the exit status is 1 if it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tare/hack/node"
)

// options are the command line.
type options struct {
	endpoint  string
	processes string
	image     string
	rounds    int
	pods      int
	idle      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "", "measure the runtime at this socket, unix:///PATH, instead of starting one")
	flag.StringVar(&o.processes, "process", "tare,keeper", "with --endpoint: names of the runtime's processes, separated by commas")
	flag.StringVar(&o.image, "image", "docker.io/library/busybox:latest", "image with sleep and true; pulled if it is not there")
	flag.IntVar(&o.rounds, "rounds", 100, "pods run one after the other")
	flag.IntVar(&o.pods, "pods", 50, "pods run side by side")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "how long idle CPU is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	b := &bench{options: o}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	return errors.Join(b.all(ctx), b.table.write(os.Stdout))
}

// bench is one run.
type bench struct {
	options
	cri     *node.CRI
	private *private
	runtime processes
	table   table
	serial  int // of pods, for names and id ranges
}

// private is what a run without --endpoint starts.
type private struct {
	dir   string
	node  *node.Node
	close func() error
}

// open connects to the runtime, starting one if none was named, and has the image there.
func (b *bench) open(ctx context.Context) (err error) {
	if b.endpoint == "" {
		if err := b.start(ctx); err != nil {
			return err
		}
	}
	if b.cri, err = node.Dial(b.endpoint); err != nil {
		return err
	}
	if b.private == nil {
		b.runtime = processes{names: strings.Split(b.processes, ",")}
	}
	if _, err := b.cri.Pull(ctx, b.image); err != nil {
		return fmt.Errorf("pull %s: %w", b.image, err)
	}
	return nil
}

func (b *bench) start(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tare-bench-")
	if err != nil {
		return err
	}
	b.private = &private{dir: dir}
	images, err := node.Serve()
	if err != nil {
		return err
	}
	b.private.close = images.Close
	o := node.Options{
		Socket: dir + "/tare.sock", State: dir + "/state", Root: dir + "/root", Work: dir,
		Bridge: "tarebench0", Subnet: "10.90.0.0/16", Cgroup: "/tare-bench",
	}
	if b.private.node, err = node.Start(ctx, o, images.Addr()); err != nil {
		return err
	}
	b.endpoint = "unix://" + o.Socket
	keeper, err := b.private.node.KeeperPid()
	b.runtime = processes{pids: []int{b.private.node.Pid(), keeper}}
	return err
}

// close ends what open has begun.
func (b *bench) close() error {
	var errs []error
	if b.cri != nil {
		errs = append(errs, b.cri.Close())
	}
	if p := b.private; p != nil {
		if p.node != nil {
			errs = append(errs, p.node.Stop())
		}
		if p.close != nil {
			errs = append(errs, p.close())
		}
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}
