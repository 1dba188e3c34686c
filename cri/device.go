package cri

import (
	"maps"
	"slices"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"tags.cncf.io/container-device-interface/pkg/parser"

	"tare/spec"
)

func devices(wire []*runtime.Device, at field) ([]spec.Device, error) {
	var out []spec.Device
	for i, w := range wire {
		at := at.at(i)
		if err := at.sub("host_path").absolute(w.GetHostPath()); err != nil {
			return nil, err
		}
		if err := at.sub("container_path").absolute(w.GetContainerPath()); err != nil {
			return nil, err
		}
		if err := devicePermissions(w.GetPermissions(), at.sub("permissions")); err != nil {
			return nil, err
		}
		out = append(out, spec.Device{HostPath: w.HostPath, ContainerPath: w.ContainerPath, Permissions: w.Permissions})
	}
	return out, nil
}

// devicePermissions refuses all but one or more of r, w and m.
func devicePermissions(p string, at field) error {
	if p == "" || strings.Trim(p, "rwm") != "" {
		return at.errorf("%q is not one or more of r, w and m", p)
	}
	for _, letter := range "rwm" {
		if strings.Count(p, string(letter)) > 1 {
			return at.errorf("%q has %c twice", p, letter)
		}
	}
	return nil
}

// cdiPrefix is that of annotations that name CDI devices: how device plugins asked for them before
// there was a field (CDI SPEC.md; kubelets older than 1.28).
const cdiPrefix = "cdi.k8s.io/"

// cdiDevices converts the names in CDI_devices, then those in annotations that were not among them.
func cdiDevices(cfg *runtime.ContainerConfig) ([]string, error) {
	var out []string
	add := func(name string, at field) error {
		if _, _, _, err := parser.ParseQualifiedName(name); err != nil {
			return at.errorf("%q is not of the form vendor/class=device: %v", name, err)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
		return nil
	}
	for i, w := range cfg.CDIDevices {
		if err := add(w.GetName(), field("CDI_devices").at(i).sub("name")); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(cfg.Annotations)) {
		if !strings.HasPrefix(key, cdiPrefix) {
			continue
		}
		for name := range strings.SplitSeq(cfg.Annotations[key], ",") {
			if err := add(name, field("annotations").key(key)); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
