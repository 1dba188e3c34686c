package cri

import (
	"fmt"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// podClocks converts the annotations that shift a pod's clocks: CRI has no field for them.
func podClocks(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	var c spec.Clocks
	asked := false
	for name, offset := range map[string]*time.Duration{
		spec.MonotonicOffsetAnnotation: &c.Monotonic, spec.BoottimeOffsetAnnotation: &c.Boottime,
	} {
		text, ok := cfg.Annotations[name]
		if !ok {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return field(fmt.Sprintf("annotations[%q]", name)).errorf("%q is not a duration such as \"24h\"", text)
		}
		*offset, asked = d, true
	}
	if asked {
		p.Clocks = &c
	}
	return nil
}
