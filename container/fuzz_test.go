package container

import (
	"encoding/json"
	"os"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/nsutil"
	"tare/spec"
)

// Whatever a specification says, edited by others as it may be, it becomes a program that can be sent, or is
// refused.
func FuzzCompile(f *testing.F) {
	own := spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}}
	userns := &spec.UserNamespace{UID: spec.IDMap{Host: 100000, Length: 65536}, GID: spec.IDMap{Host: 100000, Length: 65536}}
	for _, pod := range []spec.Pod{{Hostname: "a"}, {Namespaces: spec.Namespaces{User: userns}}, {Isolated: true, Namespaces: spec.Namespaces{User: userns}}} {
		data, err := json.Marshal(start(f, &pod, &spec.Container{Security: own}).OCI)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"process":null,"linux":null,"root":null}`))
	f.Add([]byte(`{"mounts":[{"destination":"../..","type":"bind","options":["rro","idmap","size=1","propagation=x"]}]}`))
	base := start(f, &spec.Pod{Hostname: "a"}, &spec.Container{Security: own})
	text, err := json.Marshal(base.OCI)
	if err != nil {
		f.Fatal(err)
	}
	null := place(f, "null")
	f.Fuzz(func(t *testing.T, data []byte) {
		s := base
		s.OCI = &specs.Spec{}
		if json.Unmarshal(text, s.OCI) != nil || json.Unmarshal(data, s.OCI) != nil {
			return
		}
		s.Prepared = &Prepared{Rootfs: null, Nodes: map[string]*os.File{}, Sources: sources(s.OCI, null)}
		p, err := Compile(s)
		if err != nil {
			return
		}
		if _, _, err := nsutil.Decode(p.Encode()); err != nil {
			t.Errorf("the program cannot be sent: %v", err)
		}
	})
}

func sources(oci *specs.Spec, f *os.File) []Source {
	out := make([]Source, len(oci.Mounts))
	for i, m := range oci.Mounts {
		if out[i].IsDir = true; m.Type == "bind" || m.Type == shmType {
			out[i].File = f
		}
	}
	return out
}
