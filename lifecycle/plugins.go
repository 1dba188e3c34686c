package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/containerd/errdefs"

	"tare/container"
	"tare/nri"
	"tare/spec"
	"tare/store"
)

// told logs that a plugin could not be told, where nothing depends on it any more.
func told(log *slog.Logger, err error) {
	if err != nil {
		log.Warn("tell plugins", slog.Any("err", err))
	}
}

// adjust has plugins change the specification of a container that is being made.
func (d *draft) adjust(ctx context.Context, request container.Request) error {
	a, answer, err := d.Plugins.Create(ctx, d.pod, d.rec)
	d.answer = answer
	if a == nil || err != nil {
		return err
	}
	err = d.adopt(ctx, a, request)
	switch {
	case err == nil:
		return nil
	case errdefs.IsFailedPrecondition(err):
		return fmt.Errorf("NRI: adjustment: %w", err)
	}
	// The request is right: without the plugin it had come to a specification.
	return fmt.Errorf("NRI: adjustment: %v: %w", err, errdefs.ErrFailedPrecondition)
}

// adopt makes the changes that plugins want. Where they cannot be made, the specification is what plugins were asked about,
// or one that nobody uses.
func (d *draft) adopt(ctx context.Context, a *nri.Adjustment, request container.Request) (err error) {
	if len(a.CDIDevices) > 0 {
		d.rec.Spec.CDIDevices = withDevices(d.rec.Spec.CDIDevices, a.CDIDevices)
		if request.Edits, err = d.cdi.Edits(d.rec.Spec.CDIDevices); err != nil {
			return err
		}
	}
	if request.Edits, err = container.AddEdits(request.Edits, a.Edits); err != nil {
		return err
	}
	if a.Resources != nil {
		change := *a.Resources
		change.MemorySwap = followMemory(d.rec.Spec.Resources, a.Resources)
		d.rec.Spec.Resources = merge(d.rec.Spec.Resources, &change)
		if err := d.Cgroups.Check(container.Limits(d.rec.Spec.Resources)); err != nil {
			return err
		}
	}
	oci, err := container.Assemble(request)
	if err != nil {
		return err
	}
	d.rec.OCI = oci
	a.Apply(oci)
	if adj := oci.Process.OOMScoreAdj; adj != nil { // zero, too: merge takes it for nothing
		limits := *merge(d.rec.Spec.Resources, &spec.Resources{})
		limits.OOMScoreAdj = int64(*adj)
		d.rec.Spec.Resources = &limits
	}
	if err := container.CheckProcess(oci); err != nil {
		return err
	}
	if d.live.driven != nil && oci.Linux.MemoryPolicy != nil { // those that know it are newer than most
		return fmt.Errorf("memory_policy: runtime handler %s would pass over it", d.live.driven.Name)
	}
	if p := oci.Process; d.live.driven != nil && (p.Scheduler != nil || p.IOPriority != nil) {
		if err := d.live.driven.Schedules(ctx); err != nil {
			return fmt.Errorf("scheduler, io_priority: %w", err)
		}
	}
	if d.rec.OCI.Linux.Seccomp == nil || d.live.driven != nil { // an OCI runtime may know more
		return nil
	}
	if _, err := d.filter(d.rec); err != nil {
		return fmt.Errorf("seccomp_policy: %w", err)
	}
	return nil
}

// withDevices are the CDI devices of a request and those that are added, each once.
func withDevices(requested, added []string) []string {
	out := slices.Clone(requested)
	for _, name := range added {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// tellPlugins tells of the end, and makes the changes that follow beside it: who stops the pod may hold it and wait for
// the end to be on record.
func (e *ending) tellPlugins(ctx context.Context, pod *store.Pod, c *store.Container) {
	answer, err := e.Plugins.StopContainer(ctx, pod, c)
	told(e.Log, err)
	if answer.Empty() {
		return
	}
	e.wg.Go(func() { told(e.Log, e.Plugins.Apply(ctx, answer, c.ID)) }) // ends with the changes
}

// forPlugins is what plugins may do outside of events. It tells no plugin of a change.
type forPlugins struct{ *Runtime }

// ForPlugins is what plugins may do to containers of their own accord.
func ForPlugins(r *Runtime) nri.Changer { return forPlugins{r} }

// UpdateContainer changes limits of a container.
func (f forPlugins) UpdateContainer(ctx context.Context, id spec.ContainerID, change *spec.Resources) error {
	p, _, err := f.Store.Container(id)
	if err != nil {
		return err
	}
	defer f.locks.Lock(p.ID)()
	return f.updateContainer(ctx, id, change)
}
