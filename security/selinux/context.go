package selinux

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// context is user, role, type and level; a part may be empty.
type context struct{ user, role, kind, level string }

// parse reads a context. The level has colons of its own.
func parse(label string) context {
	p := append(strings.SplitN(label, ":", 4), "", "", "", "")
	return context{p[0], p[1], p[2], p[3]}
}

// String is the empty text for no context. The level is missing where the policy has none.
func (c context) String() string {
	if c == (context{}) {
		return ""
	}
	return strings.TrimSuffix(strings.Join([]string{c.user, c.role, c.kind, c.level}, ":"), ":")
}

// with returns the context changed by options.
func (c context) with(o context) context {
	for part, value := range map[*string]string{&c.user: o.user, &c.role: o.role, &c.kind: o.kind, &c.level: o.level} {
		if value != "" {
			*part = value
		}
	}
	return c
}

// change applies options to labels. Files are of the process's user and level; their role and type
// are the policy's. A host whose policy has nothing for containers needs user, role and type in full.
func change(base spec.Labels, options string) (spec.Labels, error) {
	if options == "" {
		return base, nil
	}
	o := parse(options)
	process := parse(base.Process).with(o)
	if process.user == "" || process.role == "" || process.kind == "" {
		return spec.Labels{}, fmt.Errorf("user, role and type are all needed: the host's policy has no contexts for containers: %w", errdefs.ErrFailedPrecondition)
	}
	labels := spec.Labels{Process: process.String()}
	if base.Mount != "" {
		labels.Mount = parse(base.Mount).with(context{user: o.user, level: o.level}).String()
	}
	return labels, nil
}
