package cri

import (
	"strings"

	"tare/spec"
)

// capabilities normalises capability names: any case, with or without prefix, or ALL.
func capabilities(names []string, at field) ([]string, error) {
	var out []string
	for i, given := range names {
		name := strings.ToUpper(given)
		if name == "ALL" {
			out = append(out, name)
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if _, ok := spec.CapabilityNumber(name); !ok {
			return nil, at.at(i).errorf("%q is not a capability", given)
		}
		out = append(out, name)
	}
	return out, nil
}
