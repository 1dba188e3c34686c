package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/trace"
)

func traceCommand() *cobra.Command {
	state := defaultState
	c := &cobra.Command{
		Use:   "trace POD",
		Short: "Show where the time of a pod's operations went",
		Long: `Show the operations on a pod and its containers that the daemon has recorded, and
how long each of their steps took: a bar is drawn where in the operation a step was.

The daemon records if its configuration says so:

  [tracing]
  keep = 1000      # operations of any pod, the oldest go first

With tracing.endpoint they are sent to an OpenTelemetry collector as well.`,
		Example: `  tare trace 1f0c5a3b9d21
  tare trace --state /tmp/t/state 1f0c5a3b9d21`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("trace: name one pod by its id: crictl pods, tare ps")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := absolute(&state); err != nil {
				return err
			}
			trees, err := askTrees(c.Context(), state, args[0])
			if err != nil {
				return err
			}
			for _, t := range trees {
				writeTree(c.OutOrStdout(), t)
			}
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", state, "state directory of the daemon")
	return c
}

// askTrees asks the daemon of a state directory for what it has recorded about a pod.
func askTrees(ctx context.Context, state, pod string) ([]trace.Tree, error) {
	s, err := recorded(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no daemon has run with the state directory %s, or all was stopped", state)
	}
	if err != nil {
		return nil, err
	}
	switch mine, err := claim(state); {
	case err == nil:
		return nil, errors.Join(fmt.Errorf("no daemon runs with the state directory %s, and records end with it: systemctl status tare", state), mine.release())
	case !isRunning(err):
		return nil, err
	}
	conn, err := dial(s.Listen)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r, err := runtime.NewRuntimeServiceClient(conn).PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: pod, Verbose: true})
	if err != nil {
		return nil, fmt.Errorf("ask the daemon at %s: %w", s.Listen, err)
	}
	var info struct {
		Operations []trace.Tree `json:"operations"`
	}
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if len(info.Operations) == 0 && s.Config.Tracing.Keep == 0 {
		return nil, errors.New("the daemon keeps no records: set tracing.keep in its configuration")
	}
	return info.Operations, nil
}

// barWidth is how many characters an operation is wide.
const barWidth = 40

// writeTree draws an operation: each step with its bar, when it began, and how long it took.
func writeTree(out io.Writer, t trace.Tree) {
	fmt.Fprintf(out, "%s  %s  %s%s\n", t.Begin.Format("15:04:05.000"), t.Name, milliseconds(t.Took), failure(t.Error))
	for _, p := range t.Steps {
		name := strings.Repeat("  ", p.Depth) + p.Name
		fmt.Fprintf(out, "%-40s %s %9s %9s%s\n", name, bar(t.Took, p), "+"+milliseconds(p.After), milliseconds(p.Took), failure(p.Error))
	}
	fmt.Fprintln(out)
}

// bar shows where in a whole a step was.
func bar(whole time.Duration, p trace.Part) string {
	at := func(d time.Duration) int { return int(barWidth * min(max(d, 0), whole) / max(whole, 1)) }
	from := min(at(p.After), barWidth-1)
	to := max(at(p.After+p.Took), from+1)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", barWidth-to)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

func failure(text string) string {
	if text == "" {
		return ""
	}
	return "  failed: " + text
}
