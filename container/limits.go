package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

// Limits are limits in the runtime specification's terms, without device rules.
func Limits(r *spec.Resources) *specs.LinuxResources { return resources(r) }

// WithLimits returns a copy of a specification with other limits. The original stays as it is.
func WithLimits(oci *specs.Spec, r *spec.Resources) *specs.Spec {
	out, linux, process := *oci, *oci.Linux, *oci.Process
	limits := resources(r)
	if linux.Resources != nil {
		limits.Devices = linux.Resources.Devices
	}
	linux.Resources = limits
	adj := int(r.OOMScoreAdj)
	process.OOMScoreAdj = &adj
	out.Linux, out.Process = &linux, &process
	return &out
}
