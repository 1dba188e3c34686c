package seccomp

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"tare/spec"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limits of what a node may be asked to keep.
const (
	maxProfile = 1 << 20 // bytes of a profile's file
	maxFilters = 64
)

// Cache makes filters and keeps them. The zero value is ready, and safe for concurrent use.
type Cache struct {
	mu      sync.Mutex
	filters map[string]*Filter // by what they were made from
}

// Filter returns the filter of a container's profile, nil if it has none: that is what unconfined
// means, an unset profile, and a privileged container. caps are the capabilities in its bounding set: the
// default profile allows the calls they are for. A profile file that is not there is
// ErrFailedPrecondition, one that is no profile ErrInvalidArgument.
func (c *Cache) Filter(s *spec.Security, caps []string) (*Filter, error) {
	if s.Privileged {
		return nil, nil
	}
	switch s.Seccomp.Kind {
	case spec.ProfileRuntimeDefault:
		names := slices.Sorted(slices.Values(caps))
		return c.get("default "+strings.Join(names, " "), func() (*specs.LinuxSeccomp, error) { return Default(names), nil })
	case spec.ProfileLocalhost:
		f, err := c.localhost(s.Seccomp.Name)
		if err != nil {
			return nil, fmt.Errorf("linux.security_context.seccomp: profile %s: %w", s.Seccomp.Name, err)
		}
		return f, nil
	}
	return nil, nil
}

// Compile returns the filter of a profile that something else than the request brought.
func (c *Cache) Compile(p *specs.LinuxSeccomp) (*Filter, error) {
	content, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return c.get(digest(content), func() (*specs.LinuxSeccomp, error) { return p, nil })
}

// Default is the profile RuntimeDefault names: containerd's, for a process with these capabilities.
func Default(caps []string) *specs.LinuxSeccomp {
	return seccomp.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
}

// localhost returns the filter of a profile in a file. Its content is what counts: an
// administrator's edit takes effect with the next container.
func (c *Cache) localhost(path string) (*Filter, error) {
	content, err := readProfile(path)
	if err != nil {
		return nil, err
	}
	return c.get(digest(content), func() (*specs.LinuxSeccomp, error) {
		p, err := parseProfile(content)
		return &p, err
	})
}

// readProfile reads a profile's file, which has to be one: O_NONBLOCK keeps open(2) of a FIFO from waiting.
func readProfile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file: %w", errdefs.ErrInvalidArgument)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if len(content) > maxProfile {
		err = errors.Join(err, fmt.Errorf("it is larger than %d bytes: %w", maxProfile, errdefs.ErrInvalidArgument))
	}
	return content, err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return string(sum[:])
}

// get returns a filter, making it if it is not there. Making one takes a millisecond: whoever wants it
// meanwhile waits instead of doing it again.
func (c *Cache) get(key string, profile func() (*specs.LinuxSeccomp, error)) (*Filter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.filters[key]; ok {
		return f, nil
	}
	p, err := profile()
	if err != nil {
		return nil, err
	}
	f, err := Compile(p)
	if err != nil {
		return nil, err
	}
	if c.filters == nil || len(c.filters) >= maxFilters {
		c.filters = make(map[string]*Filter) // rare: a node with that many profiles starts over
	}
	c.filters[key] = f
	return f, nil
}
