package cri

import (
	"regexp"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

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

// cdiName is a fully qualified device name, vendor/class=device (CDI SPEC.md, Kind and Devices).
var cdiName = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$`)

func cdiDevices(wire []*runtime.CDIDevice, at field) ([]string, error) {
	var out []string
	for i, w := range wire {
		if !cdiName.MatchString(w.GetName()) {
			return nil, at.at(i).sub("name").errorf("%q is not of the form vendor/class=device", w.GetName())
		}
		out = append(out, w.Name)
	}
	return out, nil
}
