package main

import (
	"errors"
	"fmt"
)

// invite tells how to go on by hand.
func (d *demo) invite() {
	crictl := fmt.Sprintf("bin/crictl -r unix://%[1]s -i unix://%[1]s", d.Socket)
	fmt.Printf(`
The node is yours until Ctrl-C. In another terminal:

  curl http://%[1]s/
  %[2]s ps
  %[2]s exec --sync %[3]s ps
  %[2]s logs %[4]s
  %[2]s pull docker.io/library/busybox:1
  bin/tare ps%[5]s

`, d.ip, crictl, short(d.web), short(d.peer), d.stateFlag())
}

func (d *demo) stateFlag() string {
	if d.State == "/run/tare" {
		return ""
	}
	return " --state " + d.State
}

// cleanUp removes everything the demo made, as far as it came.
func (d *demo) cleanUp() error {
	heading("The end")
	return step("remove pod, daemon, keeper and images", func() (string, error) {
		var errs []error
		if d.cri != nil {
			errs = append(errs, d.cri.Close())
		}
		if d.node != nil {
			errs = append(errs, d.node.Stop())
		}
		if d.registry != nil {
			errs = append(errs, d.registry.Close())
		}
		return "as before", errors.Join(append(errs, d.remove())...)
	})
}
