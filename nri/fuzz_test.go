package nri

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
)

// Whatever a plugin answers, it is refused, or afterwards what it removed is gone, what it set is there, and the record that the
// specification was made from is as it was.
func FuzzAdjustment(f *testing.F) {
	full := &adaptation.ContainerAdjustment{
		Args:        []string{"sh", "-c", "true"},
		Annotations: map[string]string{"a": "b", "-own": "", "own": "new"},
		Env:         []*adaptation.KeyValue{{Key: "A", Value: "b"}, {Key: "-OWN"}},
		Mounts:      []*adaptation.Mount{{Source: "/a", Destination: "/b", Type: "bind", Options: []string{"ro", "rbind"}}, {Destination: "-/proc"}},
		Hooks:       &adaptation.Hooks{Prestart: []*adaptation.Hook{{Path: "/bin/true", Args: []string{"a"}, Env: []string{"B=c"}, Timeout: api.Int(3)}}},
		Rlimits:     []*adaptation.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 2, Soft: 1}},
		CDIDevices:  []*adaptation.CDIDevice{{Name: "a.b/c=d"}},
		Linux: &adaptation.LinuxContainerAdjustment{
			Devices: []*adaptation.LinuxDevice{
				{Path: "/dev/a", Type: "c", Major: 1, Minor: 3, FileMode: api.FileMode(0o600), Uid: api.UInt32(1), Gid: api.UInt32(2)}, {Path: "-/dev/own"},
			},
			Resources: &adaptation.LinuxResources{
				Cpu:            &api.LinuxCPU{Shares: api.UInt64(uint64(1)), Quota: api.Int64(int64(2)), Period: api.UInt64(uint64(3)), Cpus: "0", Mems: "0"},
				Memory:         &api.LinuxMemory{Limit: api.Int64(int64(1) << 30), Swap: api.Int64(int64(-1))},
				HugepageLimits: []*api.HugepageLimit{{PageSize: "2MB", Limit: 1}}, Unified: map[string]string{"memory.high": "max"},
			},
			OomScoreAdj: api.Int(500),
		},
	}
	for _, a := range []*adaptation.ContainerAdjustment{
		full, {Linux: &adaptation.LinuxContainerAdjustment{CgroupsPath: "/a", Sysctl: map[string]string{"a": "b"}}},
		{Env: []*adaptation.KeyValue{{}}, Mounts: []*adaptation.Mount{{}}, Rlimits: []*adaptation.POSIXRlimit{{}}, Hooks: &adaptation.Hooks{Poststop: []*adaptation.Hook{{}}}},
	} {
		data, err := proto.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := &adaptation.ContainerAdjustment{}
		if proto.Unmarshal(data, raw) != nil {
			return
		}
		a, err := newAdjustment(raw)
		if err != nil {
			if a != nil && a.Resources != nil {
				t.Error("limits that are refused are there")
			}
			return
		}
		record := ofRecord()
		before, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		oci := ofRecord()
		oci.Annotations, oci.Linux.Resources.Devices = record.Annotations, record.Linux.Resources.Devices // what Assemble shares with it
		a.Apply(oci)
		if after, err := json.Marshal(record); err != nil || string(after) != string(before) {
			t.Errorf("the record was\n%s and is\n%s, %v", before, after, err)
		}
		if _, err := json.Marshal(oci); err != nil {
			t.Errorf("the specification cannot be stored: %v", err)
		}
		checkAdjusted(t, raw, oci)
		for _, kv := range a.Edits.Env {
			if strings.HasPrefix(kv, "-") {
				t.Errorf("variable %q is set, and was to be removed", kv)
			}
		}
	})
}

// ofRecord is a specification with one of each that can be removed.
func ofRecord() *specs.Spec {
	major, minor := int64(1), int64(5)
	return &specs.Spec{
		Annotations: map[string]string{"own": "x"},
		Process:     &specs.Process{Args: []string{"true"}, Env: []string{"OWN=x"}, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}},
		Mounts:      []specs.Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/b", Type: "tmpfs"}},
		Linux: &specs.Linux{
			Devices: []specs.LinuxDevice{{Path: "/dev/own", Type: "c", Major: major, Minor: minor}},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
				{Access: "rwm"}, {Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"},
			}},
		},
	}
}

func checkAdjusted(t *testing.T, raw *adaptation.ContainerAdjustment, oci *specs.Spec) {
	t.Helper()
	if len(raw.Args) > 0 && !slices.Equal(oci.Process.Args, raw.Args) {
		t.Errorf("arguments are %q", oci.Process.Args)
	}
	for key := range oci.Annotations {
		if _, is := raw.Annotations[api.MarkForRemoval(key)]; is {
			if _, set := raw.Annotations[key]; !set {
				t.Errorf("annotation %q is there, and was removed", key)
			}
		}
	}
	for key, value := range raw.Annotations {
		_, marked := api.IsMarkedForRemoval(key)
		if got, ok := oci.Annotations[key]; !marked && (!ok || got != value) {
			t.Errorf("annotation %q is %q, want %q", key, got, value)
		}
	}
	types := map[string]int{}
	for _, l := range oci.Process.Rlimits {
		if types[l.Type]++; types[l.Type] > 1 {
			t.Errorf("rlimit %s is there twice", l.Type)
		}
	}
	gone := removedOf(raw.Mounts, func(m *adaptation.Mount) string { return m.Destination })
	for _, m := range oci.Mounts {
		if gone[m.Destination] {
			t.Errorf("mount %q is there, and was removed", m.Destination)
		}
	}
}
