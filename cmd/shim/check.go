package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// feature is one row of the check.
type feature struct {
	name     string
	required bool         // no pod runs without it
	probe    func() error // nil: it is there
	has      string       // what it gives, or a remark; shown with yes
	lacks    string       // what follows; shown with no, before the reason
}

// errMissing says that something required is not there: the exit status tells scripts.
var errMissing = errors.New("something that pods cannot do without is missing")

func checkCommand() *cobra.Command {
	root := defaultRoot
	c := &cobra.Command{
		Use:   "check",
		Short: "List what this kernel and these privileges allow",
		Long: `Try everything the runtime uses that not every host allows: for real, in throw-away
processes and namespaces. Nothing on the host is changed.

The exit status is 1 if something is missing that no pod can run without.`,
		Example: `  tare check
  tare check --root /mnt/big/tare      layers will be there: try overlays there`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return check(c.OutOrStdout(), root)
		},
	}
	c.Flags().StringVar(&root, "root", root, "directory of images and layers the daemon has or will have")
	return c
}

func check(out io.Writer, root string) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(out, "You are not root: expect \"no\" where a node would say \"yes\".")
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FEATURE\t\tWHAT FOLLOWS")
	var missing bool
	for _, section := range []struct {
		title string
		rows  []feature
	}{
		{"Kernel", kernelFeatures()},
		{"File systems", fileFeatures(nearest(root))},
		{"Processes", processFeatures()},
		{"Control groups", cgroupFeatures()},
		{"Network", networkFeatures()},
	} {
		fmt.Fprintf(t, "%s\t\t\n", section.title)
		for _, f := range section.rows {
			missing = !f.write(t) || missing
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if missing {
		return errMissing
	}
	return nil
}

// write probes and writes the row; false: it is required and not there.
func (f feature) write(t io.Writer) bool {
	err := f.probe()
	if err == nil {
		fmt.Fprintf(t, "  %s\tyes\t%s\n", f.name, f.has)
		return true
	}
	verdict := "no"
	if f.required {
		verdict = "MISSING"
	}
	fmt.Fprintf(t, "  %s\t%s\t%s (%v)\n", f.name, verdict, cmp.Or(f.lacks, "no pod runs"), err)
	return !f.required
}
