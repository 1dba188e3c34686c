package cri

import (
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// selinux converts SELinux options into a label whose parts may be empty. The level has
// colons of its own, so only the first three parts may not.
func selinux(o *runtime.SELinuxOption, at field) (string, error) {
	if o == nil || (o.User == "" && o.Role == "" && o.Type == "" && o.Level == "") {
		return "", nil
	}
	parts := []struct{ name, value string }{
		{"user", o.User}, {"role", o.Role}, {"type", o.Type}, {"level", o.Level},
	}
	label := make([]string, 0, len(parts))
	for _, p := range parts {
		if p.value != "" {
			if err := at.sub(p.name).word(p.value); err != nil {
				return "", err
			}
		}
		if p.name != "level" && strings.Contains(p.value, ":") {
			return "", at.sub(p.name).errorf("%q contains a colon", p.value)
		}
		label = append(label, p.value)
	}
	return strings.Join(label, ":"), nil
}
