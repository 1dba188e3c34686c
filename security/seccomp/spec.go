package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

// Profile is what Filter makes a filter from, for those who make their own; nil: none.
func Profile(s *spec.Security, caps []string) (*specs.LinuxSeccomp, error) {
	switch {
	case s.Privileged:
		return nil, nil
	case s.Seccomp.Kind == spec.ProfileRuntimeDefault:
		return Default(slices.Sorted(slices.Values(caps))), nil
	case s.Seccomp.Kind == spec.ProfileLocalhost:
		content, err := readProfile(s.Seccomp.Name)
		var p specs.LinuxSeccomp
		if err == nil {
			p, err = parseProfile(content)
		}
		if err != nil {
			return nil, fmt.Errorf("linux.security_context.seccomp: profile %s: %w", s.Seccomp.Name, err)
		}
		return &p, nil
	}
	return nil, nil
}

func parseProfile(content []byte) (p specs.LinuxSeccomp, err error) {
	if err := json.Unmarshal(content, &p); err != nil {
		return p, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return p, nil
}
