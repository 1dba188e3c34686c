package apparmor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// Profiles finds containers' profiles. It is safe for concurrent use.
type Profiles struct {
	log *slog.Logger

	mu      sync.Mutex
	current bool // the default profile in the kernel is this program's, not an earlier version's
	warned  bool
}

// New returns a finder; it looks at nothing yet.
func New(log *slog.Logger) *Profiles { return &Profiles{log: log} }

// Of returns the name of the profile a container runs under; "": none.
//
// A profile that is asked for by name has to be loaded (ErrFailedPrecondition), also for a privileged
// container. Without a wish, or with RuntimeDefault, it is the default profile, unless the container is
// privileged, or the host has no AppArmor, where nobody expects any.
func (p *Profiles) Of(ctx context.Context, s *spec.Security) (string, error) {
	switch s.AppArmor.Kind {
	case spec.ProfileUnconfined:
		return "", nil
	case spec.ProfileLocalhost:
		return s.AppArmor.Name, check(s.AppArmor.Name)
	}
	if s.Privileged || Enabled() != nil {
		return "", nil
	}
	return p.byDefault(ctx)
}

// check demands that a profile can be applied.
func check(name string) error {
	if err := Enabled(); err != nil {
		return fmt.Errorf("apparmor profile %q: %w: %w", name, err, errdefs.ErrFailedPrecondition)
	}
	there, err := loaded(name)
	if err != nil {
		return fmt.Errorf("apparmor profile %q: %w", name, err)
	}
	if !there {
		return fmt.Errorf("apparmor profile %q is not loaded: %w", name, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// byDefault returns the default profile's name, and loads it: for the first container of this process,
// as another version's may be there, and again if somebody has unloaded it. On a host without the
// parser containers are unconfined, as with other runtimes; that is said once.
func (p *Profiles) byDefault(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there, err := loaded(DefaultName)
	if err != nil {
		return "", fmt.Errorf("apparmor profile %q: %w", DefaultName, err)
	}
	if there && p.current {
		return DefaultName, nil
	}
	err = load(ctx)
	switch {
	case err == nil:
		p.current = true
	case errors.Is(err, exec.ErrNotFound) && there:
	case errors.Is(err, exec.ErrNotFound):
		if !p.warned {
			p.log.Warn("containers with the default AppArmor profile run unconfined", slog.Any("err", err))
		}
		p.warned = true
		return "", nil
	default:
		return "", err
	}
	return DefaultName, nil
}
