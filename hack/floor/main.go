// Command floor measures what the kernel alone takes for what a pod is made of, on this machine: the floor under the
// figures of cri-bench. It speaks to nobody, so nothing but the kernel, and the few system calls that ask it, is in
// them. Each is repeated, in turn; what is shown is the fastest, which is what the machine can do while nobody
// disturbs it, and the median, also of the processor time of this process and its children.
//
//	floor                    what the kernel takes
//	floor answers SOCKET     a server for cri-bench --grpc, which answers and does nothing else: what gRPC takes
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// rounds is how often everything is measured.
const rounds = 200

// part is one thing the kernel does.
type part struct {
	name string
	do   func() error // what is timed
	undo func() error // nil: nothing
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	if len(os.Args) == 3 && os.Args[1] == "answers" {
		return serveAnswers(os.Args[2])
	}
	if len(os.Args) > 1 {
		return errors.New("usage: floor [answers SOCKET]")
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces and cgroups need root")
	}
	if err := nsutil.KeepFromChildren(); err != nil { // as the keeper does: forks are lean
		return err
	}
	dir, err := os.MkdirTemp("", "tare-floor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := newContainer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	if err := nsutil.KeepFromChildren(); err != nil { // as the keeper does
		return err
	}
	parts := allParts(dir, c)
	times, used := make([][]time.Duration, len(parts)), make([][]time.Duration, len(parts))
	for range rounds {
		for i, p := range parts {
			start, before := time.Now(), processorTime()
			err := p.do()
			times[i] = append(times[i], time.Since(start))
			used[i] = append(used[i], processorTime()-before)
			if err == nil && p.undo != nil {
				err = p.undo()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return show(parts, times, used)
}

// processorTime is what this process and the children it has waited for have used.
func processorTime() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil { // fails for no other who
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

func show(parts []part, times, used [][]time.Duration) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "WHAT (%d processors)\tFASTEST\tMEDIAN\tPROCESSOR\n", runtime.NumCPU())
	for i, p := range parts {
		slices.Sort(times[i])
		slices.Sort(used[i])
		fmt.Fprintf(w, "%s\t%.2f ms\t%.2f ms\t%.2f ms\n", p.name, milliseconds(times[i][0]), milliseconds(times[i][rounds/2]), milliseconds(used[i][rounds/2]))
	}
	return w.Flush()
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
