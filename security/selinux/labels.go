package selinux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"tare/spec"
)

// Enabled says why nothing can be labelled on this host; nil: it can.
var Enabled = sync.OnceValue(func() error {
	if !selinux.GetEnabled() {
		return errors.New("SELinux is off, or has no policy")
	}
	return nil
})

// Labels gives labels, and knows the levels that are taken. It is safe for concurrent use; the levels are the
// whole process's.
type Labels struct{ on bool }

// New returns what gives labels: nothing, unless wanted and the host has SELinux.
func New(wanted bool) *Labels { return &Labels{on: wanted && Enabled() == nil} }

// Pod returns a pod's labels. Its level is taken until Release. A context the policy does not have is
// ErrInvalidArgument, or ErrFailedPrecondition if it is the policy's own for containers.
func (l *Labels) Pod(options string) (spec.Labels, error) {
	if !l.on {
		return spec.Labels{}, nil
	}
	process, mount, err := label.InitLabels(nil)
	if err != nil {
		return spec.Labels{}, err
	}
	base := spec.Labels{Process: process, Mount: mount}
	labels, err := changed(base, options)
	if err != nil || parse(labels.Process).level != parse(process).level {
		l.Release(base)
	}
	if err != nil {
		return spec.Labels{}, err
	}
	return labels, l.Keep(labels)
}

// Container returns a container's labels: its pod's, changed by its own options. A privileged
// container's process has none, unless it asks for some.
func (l *Labels) Container(pod spec.Labels, s *spec.Security) (spec.Labels, error) {
	switch {
	case !l.on:
		return spec.Labels{}, nil
	case s.SELinux != "":
		return changed(pod, s.SELinux)
	case s.Privileged:
		return spec.Labels{Mount: pod.Mount}, nil
	}
	return pod, nil
}

// changed applies options and asks the kernel whether there are such contexts.
func changed(base spec.Labels, options string) (spec.Labels, error) {
	labels, err := change(base, options)
	if err != nil {
		return spec.Labels{}, err
	}
	var class error = errdefs.ErrInvalidArgument
	if options == "" {
		class = errdefs.ErrFailedPrecondition
	}
	for _, c := range []string{labels.Process, labels.Mount} {
		if c == "" {
			continue
		}
		if err := selinux.SecurityCheckContext(c); err != nil {
			return spec.Labels{}, fmt.Errorf("context %q is not in the host's policy: %w: %w", c, err, class)
		}
	}
	return labels, nil
}

// Keep takes a level, as that of a pod an earlier daemon made; one that is taken already may be shared
// on purpose.
func (l *Labels) Keep(labels spec.Labels) error {
	if !l.on || labels.Process == "" {
		return nil
	}
	if err := selinux.ReserveLabelV2(labels.Process); err != nil && !errors.Is(err, selinux.ErrMCSAlreadyExists) {
		return fmt.Errorf("context %q: %w", labels.Process, err)
	}
	return nil
}

// Release gives a level back.
func (l *Labels) Release(labels spec.Labels) {
	if l.on {
		selinux.ReleaseLabel(labels.Process)
	}
}

// Relabel gives a host path, with all below it, the label of a container's files. A file system that
// knows no labels is left as it is. The host's own directories are refused: ErrInvalidArgument.
func (l *Labels) Relabel(path string, labels spec.Labels) error {
	if !l.on || labels.Mount == "" {
		return nil
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	err = label.Relabel(target, labels.Mount, false)
	switch {
	case errors.Is(err, unix.ENOTSUP):
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("relabel %s: %w: %w", target, err, errdefs.ErrPermissionDenied)
	case err != nil:
		return fmt.Errorf("relabel %s: %w: %w", target, err, errdefs.ErrInvalidArgument)
	}
	return nil
}
