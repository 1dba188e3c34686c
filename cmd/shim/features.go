package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/cri"
	"tare/lifecycle"
	"tare/nsutil"
	"tare/oci"
)

// handlers are the runtime handlers, the default one first, with what they can do on this host. OCI runtimes are asked that
// behind: no program of theirs holds up a start. Pods with a user namespace need idmapped layers where layers are: below root.
func (d *daemon) handlers(ctx context.Context) []cri.Handler {
	rro, userns := nsutil.ProbeRecursiveReadonly() == nil, nsutil.ProbeOverlayIDMapped(d.settings.Root) == nil
	out := []cri.Handler{
		{Name: lifecycle.DefaultHandler, RecursiveReadonly: rro, UserNamespaces: cri.Found(userns)},
		{
			Name: lifecycle.IsolatedHandler, Isolated: true,
			RecursiveReadonly: rro, UserNamespaces: cri.Found(userns && nsutil.ProbeNestedUserNS() == nil),
		},
	}
	ctx, stop := context.WithCancel(ctx)
	var asked sync.WaitGroup
	d.onClose(func() error { stop(); asked.Wait(); return nil })
	for _, rt := range d.runtimes {
		h := cri.Handler{Name: rt.Name, RecursiveReadonly: rro}
		if userns {
			h.UserNamespaces = cri.Sought()
			asked.Go(func() { tellUserNS(ctx, rt, h.UserNamespaces) }) // ends with the answer, or ctx
		}
		out = append(out, h)
	}
	return out
}

// askAgain is waited before an OCI runtime that gave no answer is asked again: it may be installed meanwhile.
const askAgain = time.Minute

// tellUserNS tells whether an OCI runtime can do user namespaces. Volumes are idmapped, and read-only all the way
// down, before it sees them. One that does not say what it can do (runtime-spec features.md), or cannot be asked,
// is not trusted with it.
func tellUserNS(ctx context.Context, rt *oci.Runtime, told *cri.Finding) {
	for warned := false; ; warned = true {
		f, err := rt.Features(ctx)
		if ctx.Err() != nil {
			return
		}
		told.Tell(err == nil && f.Linux != nil && slices.Contains(f.Linux.Namespaces, string(specs.UserNamespace)))
		if err == nil {
			return
		}
		if !warned {
			rt.Log.Warn("what the runtime handler can do is unknown", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askAgain):
		}
	}
}

// ociRuntimes are those of the configuration, in the order of their names.
func ociRuntimes(s settings, log *slog.Logger) (out []*oci.Runtime) {
	for _, name := range slices.Sorted(maps.Keys(s.Config.Handlers)) {
		h := s.Config.Handlers[name]
		root := cmp.Or(h.Root, filepath.Join(lifecycle.DriversDir(s.State), name))
		out = append(out, &oci.Runtime{Name: name, Binary: h.Binary, Root: root, Args: h.Args, Timeout: time.Duration(h.Timeout), Log: log})
	}
	return out
}

// features is what the runtime can do with any handler. Groups take nothing of the kernel that it
// could lack.
func features() cri.Features {
	return cri.Features{
		SupplementalGroupsPolicy:  true,
		UserNamespacesHostNetwork: nsutil.ProbeUserNSHostNetwork() == nil,
		MountOptions:              nsutil.ProbeMountOptions() == nil,
	}
}
