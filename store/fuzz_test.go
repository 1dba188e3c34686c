package store

import (
	"encoding/json"
	"testing"

	"tare/spec"
)

// Whatever a record's file holds, it is read or refused; what was read can be written and read again.
func FuzzRecord(f *testing.F) {
	full := &Pod{ID: "p", Spec: spec.Pod{UID: "u", Name: "n"}, State: PodReady, Containers: map[spec.ContainerID]*Container{
		"c": {ID: "c", Pod: "p", State: ContainerRunning, Spec: spec.Container{Name: "c", Env: []spec.EnvVar{{Name: "A", Value: "\xff"}}}},
	}}
	data, err := json.Marshal(file{formatVersion, full, saveEnviron(full)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"Version":1,"Pod":{"ID":"p","State":"ready","Containers":{"c":null}},"Environ":{"x":{}}}`))
	f.Add([]byte(`{"Version":1,"Pod":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decode(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(file{formatVersion, p.copy(), saveEnviron(p)})
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := decode(again); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}
