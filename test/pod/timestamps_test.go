package pod

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// timestamps calls f with every field of that name in a message.
func timestamps(m protoreflect.Message, path string, f func(path string, ns int64)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		at := path + "." + string(field.Name())
		switch {
		case field.Name() == "timestamp":
			f(at, m.Get(field).Int())
		case field.IsMap() || field.Message() == nil || !m.Has(field):
		case field.IsList():
			for list, i := m.Get(field).List(), 0; i < list.Len(); i++ {
				timestamps(list.Get(i).Message(), at, f)
			}
		default:
			timestamps(m.Get(field).Message(), at, f)
		}
	}
}

// TestTimestamps: whatever is measured says when, and that is now or was measured lately.
func TestTimestamps(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inCgroup(cgroupParent("timestamps")))
	running, exited := p.start(sleeper), p.start(script("exit 0"))
	exited.finish()
	images, err := p.images.ImageFsInfo(deadline(t), &runtime.ImageFsInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]proto.Message{
		"container": running.stats(), "exited container": exited.stats(), "pod": p.stats(), "images": images,
	} {
		n := 0
		timestamps(m.ProtoReflect(), name, func(path string, ns int64) {
			if n++; time.Since(time.Unix(0, ns)) > time.Minute || ns > time.Now().UnixNano() {
				t.Errorf("%s is %d", path, ns)
			}
		})
		if n == 0 {
			t.Errorf("%s: nothing was measured in %v", name, m)
		}
	}
	s := p.stats().Linux
	if s.Cpu == nil || s.Memory == nil || s.Network == nil || s.Process == nil || s.Io == nil || len(s.Containers) != 1 {
		t.Errorf("%v", s)
	}
	if c := running.stats(); c.Cpu == nil || c.Memory == nil || c.Swap == nil || c.Io == nil || c.WritableLayer == nil {
		t.Errorf("%v", c)
	}
}
