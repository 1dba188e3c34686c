// Command cri-bench gives CRI runtimes the same work, in turn, and shows what each takes for it: times as a
// kubelet sees them, CPU time, memory. Runtimes are
//
//	cri-bench                                     Tare, beside this program
//	cri-bench --containerd                        and the containerd and runc installed here
//	cri-bench --cni                               and Tare with containerd's CNI plugins instead of its own network
//	cri-bench --grpc                              and a server that answers and does nothing else
//	cri-bench --bin old/bin --bin new/bin         two builds of Tare
//	cri-bench --endpoint crio=unix:///run/crio/crio.sock --process crio=crio,conmon
//
// Those it starts have directories, sockets and networks of their own in an enclosure (package test/enclose): the
// machine stays as it was. Work alternates between the runtimes, pod by pod, so that a machine that is busy at
// times is so for all; the ratios tell more than the times. Times are no test.
//
// Nouns: a runtime is what is measured; a part is one kind of work; a metric is a row of the result; results are
// the samples of each metric and runtime, shown as table, JSON and chart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"tare/nsutil"
	"tare/test/enclose"
)

// options are the command line.
type options struct {
	bins       list
	endpoints  list
	processes  list
	containerd bool
	cni        bool
	grpc       bool
	image      string
	parts      string
	rounds     int
	burst      int
	pods       int
	idle       time.Duration
	json       string
	svg        string
	from       list
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func parse() options {
	var o options
	flag.Var(&o.bins, "bin", "measure the build of Tare in this directory; may be repeated (default: this program's, unless --endpoint)")
	flag.Var(&o.endpoints, "endpoint", "measure the runtime at NAME=unix:///PATH, which runs already; may be repeated")
	flag.Var(&o.processes, "process", "NAME=comm,comm: names of the processes of the --endpoint NAME; may be repeated")
	flag.BoolVar(&o.containerd, "containerd", false, "measure the containerd and runc installed here, too")
	flag.BoolVar(&o.cni, "cni", false, "measure Tare also with the reference CNI plugins: bridge with masquerade, portmap")
	flag.BoolVar(&o.grpc, "grpc", false, "measure also a server that only answers: what gRPC takes, whoever is asked (life, exec, burst, standing)")
	flag.StringVar(&o.image, "image", "docker.io/library/busybox:latest", "image with sh, sleep, dd, yes and true")
	flag.StringVar(&o.parts, "parts", "all", "what is measured, separated by commas: "+strings.Join(partNames(), ", "))
	flag.IntVar(&o.rounds, "rounds", 100, "pods run one after the other; other work is repeated in proportion")
	flag.IntVar(&o.burst, "burst", 50, "pods of a burst")
	flag.IntVar(&o.pods, "pods", 50, "pods held for what standing pods cost")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "how long standing pods are watched")
	flag.StringVar(&o.json, "json", "", "write the results to this file")
	flag.StringVar(&o.svg, "svg", "", "write a chart of the results to this file")
	flag.Var(&o.from, "from", "draw the chart of what earlier runs wrote to this file (--json) instead of measuring; may be repeated, later ones win")
	flag.Parse()
	return o
}

func main() {
	o := parse()
	inside := func() (int, error) { return 1, run(o) }
	var code int
	var err error
	if len(o.endpoints) > 0 || len(o.from) > 0 { // which an enclosure would hide
		err = run(o)
	} else {
		code, err = enclose.Main(inside)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri-bench:", err)
		os.Exit(1)
	}
	if os.Getenv(enclose.StageVar) == "" {
		os.Exit(code)
	}
}

func run(o options) (err error) {
	if len(o.from) > 0 {
		return redraw(o)
	}
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{options: o}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	return errors.Join(b.all(ctx), b.show())
}

// bench is one run.
type bench struct {
	options
	dir      string
	images   *imageServer
	runtimes []*subject
	results  results
	serial   int // of pods, for names and id ranges
}

// open starts the runtimes.
func (b *bench) open(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "cri-bench-"); err != nil {
		return err
	}
	if err := ownDisk(b.dir); err != nil {
		return err
	}
	if b.images, err = serveImages(b.wants("pull")); err != nil {
		return err
	}
	for _, s := range b.subjects() {
		fmt.Printf("  … %s\n", s.name)
		b.runtimes = append(b.runtimes, s)
		if err := s.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := s.cri.Pull(ctx, b.image); err != nil {
			return fmt.Errorf("%s: pull %s: %w", s.name, b.image, err)
		}
	}
	return nil
}

// subjects are the runtimes the command line names. Paths of one length keep arguments alike.
func (b *bench) subjects() []*subject {
	var all []*subject
	if len(b.bins) == 0 && len(b.endpoints) == 0 {
		self, _ := os.Executable() // /proc is there
		b.bins = list{filepath.Dir(self)}
	}
	for i, bin := range b.bins {
		name := "tare"
		if len(b.bins) > 1 {
			name = bin
		}
		all = append(all, b.tare(name, bin, i, ""))
	}
	if b.cni && len(b.bins) > 0 {
		all = append(all, b.tare("tare, CNI plugins", b.bins[0], len(b.bins), chain("benchc1", "10.92.0.0/16", b.dir)))
	}
	if b.containerd {
		all = append(all, b.startContainerd())
	}
	if b.grpc {
		all = append(all, b.startAnswers())
	}
	for _, e := range b.endpoints {
		name, address, _ := strings.Cut(e, "=")
		all = append(all, b.attach(name, address))
	}
	return all
}

// wants says whether a part is measured.
func (b *bench) wants(part string) bool {
	return b.parts == "all" || slices.Contains(strings.Split(b.parts, ","), part)
}

// close ends what open has begun.
func (b *bench) close() error {
	var errs []error
	for _, s := range slices.Backward(b.runtimes) {
		errs = append(errs, s.close())
	}
	if b.images != nil {
		errs = append(errs, b.images.close())
	}
	if os.Getenv(enclose.StageVar) != "" { // its disk, with all that is on it
		errs = append(errs, nsutil.Unmount(b.dir))
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func (b *bench) show() error {
	errs := []error{b.results.table(os.Stdout, b.names())}
	if b.json != "" {
		errs = append(errs, b.results.writeJSON(b.json, b.names()))
	}
	if b.svg != "" {
		errs = append(errs, b.results.writeChart(b.svg, b.names()))
	}
	return errors.Join(errs...)
}

func (b *bench) names() []string {
	var out []string
	for _, s := range b.runtimes {
		out = append(out, s.name)
	}
	return out
}

// machine says where results are from.
func machine() string {
	var u syscall.Utsname
	_ = syscall.Uname(&u) // cannot fail
	var release []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	version := strings.SplitN(string(release), ".", 3) // what follows is the distribution's
	return fmt.Sprintf("Linux %s, %d processors", strings.Join(version[:min(2, len(version))], "."), runtime.NumCPU())
}
