package cri

import (
	"maps"
	"slices"

	"tare/spec"
)

// sysctls checks and normalises the kernel parameters of a pod.
func sysctls(values map[string]string, at field, p *spec.Pod) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, err := spec.Sysctl(key, values[key], p)
		if err != nil {
			return nil, at.key(key).errorf("%v", err)
		}
		if _, twice := out[name]; twice {
			return nil, at.key(key).errorf("%s is given twice", name)
		}
		out[name] = values[key]
	}
	return out, nil
}
