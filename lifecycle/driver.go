package lifecycle

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"tare/oci"
	"tare/spec"
	"tare/store"
)

// drivers are the OCI runtimes of the configuration.
type drivers struct {
	dir      string                  // of their state: a directory for each handler that is configured with no other
	runtimes map[string]*oci.Runtime // by runtime handler; nil: none
	log      *slog.Logger
}

// DriversDir is the directory below a runtime's state directory of what OCI runtimes keep: a directory for each handler.
func DriversDir(state string) string { return filepath.Join(state, "oci") }

// open makes the directories of those that there are.
func (d *drivers) open(runtimes []*oci.Runtime) error {
	if len(runtimes) > 0 {
		d.runtimes = map[string]*oci.Runtime{}
	}
	for _, rt := range runtimes {
		d.runtimes[rt.Name] = rt
		if err := makePrivate(rt.Root); err != nil {
			return err
		}
	}
	return nil
}

// record is what a pod's record says of its handler.
func (d *drivers) record(handler string) *store.Driver {
	rt := d.runtimes[handler]
	if rt == nil {
		return nil
	}
	return &store.Driver{Binary: rt.Binary, Root: rt.Root, Args: rt.Args}
}

// of is the OCI runtime of a pod, nil if it has none: the one it began with, though the handler be another's now, or
// gone from the configuration. Of a program that has moved, the configuration knows where it is.
func (d *drivers) of(p *store.Pod) *oci.Runtime {
	now, began := d.runtimes[p.Handler], p.Driver
	if began == nil {
		return now
	}
	rt := &oci.Runtime{Name: p.Handler, Binary: began.Binary, Root: began.Root, Args: began.Args, Log: d.log}
	if now == nil {
		return rt
	}
	rt.Timeout = now.Timeout
	if errors.Is(rt.Check(), fs.ErrNotExist) {
		rt.Binary, rt.Args = now.Binary, now.Args
	}
	return rt
}

// drop removes root, the directory of an OCI runtime, if the handler is no more, and none of pods has it.
func (d *drivers) drop(root string, pods []*store.Pod) {
	for _, rt := range d.runtimes {
		if rt.Root == root {
			return
		}
	}
	if !slices.ContainsFunc(pods, func(p *store.Pod) bool { return p.Driver != nil && p.Driver.Root == root }) {
		_ = os.Remove(root) // unless somebody else has something in it
	}
}

// sweep removes what OCI runtimes have, below our own directory, of containers that no record names, and the
// directories of handlers that are no more.
func (d *drivers) sweep(pods []*store.Pod, containers map[string]bool) error {
	handlers, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, h := range handlers {
		root := filepath.Join(d.dir, h.Name())
		errs = append(errs, sweepDir(root, containers, func(name string) error { return os.RemoveAll(filepath.Join(root, name)) }))
		d.drop(root, pods)
	}
	return errors.Join(errs...)
}

// drivenBy is a container of the pod as an OCI runtime's, nil if the pod's handler is none of those.
func drivenBy(r *Runtime, p *store.Pod, id spec.ContainerID) *oci.Container {
	rt := r.drivers.of(p)
	if rt == nil {
		return nil
	}
	return &oci.Container{Runtime: rt, ID: string(id), Bundle: filepath.Join(r.layers.dir(id), "bundle")}
}
