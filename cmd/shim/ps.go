package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// nsKinds are the namespaces that are shown, by their names in /proc/PID/ns: those a pod shares,
// then those a container has of its own.
var nsKinds = []string{"user", "net", "ipc", "uts", "pid", "mnt", "cgroup"}

// podRow and containerRow are what is shown of a pod and of a container.
type podRow struct {
	id, name, state, ip string
	namespaces          map[string]uint64 // kind → inode of the pod's own
	containers          []containerRow
}

type containerRow struct {
	id, name, state string
	pid             int               // 0: it does not run
	namespaces      map[string]uint64 // kind → inode it is in
}

func psCommand() *cobra.Command {
	state := defaultState
	c := &cobra.Command{
		Use:   "ps",
		Short: "List pods, containers and the namespaces they are in",
		Long: `List pods and containers with their states, processes, addresses and Linux
namespaces. A number is the inode of a namespace that is the pod's or the
container's own, as in "ls -l /proc/PID/ns"; "pod" is the pod's, "host" the host's.

If the daemon does not run, its records are read: what they say of processes may be
out of date.`,
		Example: `  tare ps
  tare ps --state /tmp/t/state`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := absolute(&state); err != nil {
				return err
			}
			rows, err := podRows(c.Context(), state)
			if err != nil {
				return err
			}
			return writeRows(c.OutOrStdout(), rows)
		},
	}
	c.Flags().StringVar(&state, "state", state, "state directory of the daemon")
	return c
}

// podRows asks the daemon of a state directory, or reads the records of one that is gone.
func podRows(ctx context.Context, state string) ([]podRow, error) {
	s, err := recorded(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no daemon has run with the state directory %s, or all was stopped", state)
	}
	if err != nil {
		return nil, err
	}
	mine, err := claim(state)
	if isRunning(err) {
		return askRows(ctx, s.Listen)
	}
	if err != nil {
		return nil, err
	}
	rows, err := readRows(state)
	return rows, errors.Join(err, mine.release())
}

func writeRows(out io.Writer, rows []podRow) error {
	host := namespacesOf("self")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "ID\tNAME\tSTATE\tPID\tIP")
	for _, kind := range nsKinds {
		fmt.Fprint(t, "\t", kind)
	}
	fmt.Fprintln(t)
	slices.SortFunc(rows, func(a, b podRow) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id)) })
	for _, p := range rows {
		fmt.Fprintf(t, "%.12s\t%s\t%s\t\t%s", p.id, p.name, p.state, p.ip)
		for _, kind := range nsKinds[:sharedKinds] {
			fmt.Fprint(t, "\t", podMark(p, kind))
		}
		fmt.Fprintln(t)
		for _, c := range p.containers {
			fmt.Fprintf(t, "%.12s\t  %s\t%s\t%s\t", c.id, c.name, c.state, pidText(c.pid))
			for _, kind := range nsKinds {
				fmt.Fprint(t, "\t", containerMark(p, c, kind, host))
			}
			fmt.Fprintln(t)
		}
	}
	return t.Flush()
}

// sharedKinds is how many of nsKinds a pod may own.
const sharedKinds = 4

// podMark shows a namespace of a pod: its inode, or whose it is.
func podMark(p podRow, kind string) string {
	if inode := p.namespaces[kind]; inode != 0 {
		return fmt.Sprint(inode)
	}
	if p.state == "ready" {
		return "host"
	}
	return "-"
}

// containerMark shows a namespace of a container likewise.
func containerMark(p podRow, c containerRow, kind string, host map[string]uint64) string {
	switch inode := c.namespaces[kind]; inode {
	case 0:
		return "-"
	case p.namespaces[kind]:
		return "pod"
	case host[kind]:
		return "host"
	default:
		return fmt.Sprint(inode)
	}
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return fmt.Sprint(pid)
}
