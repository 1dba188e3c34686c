package container

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

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
		s.sendable(t, null)
	})
}

// sendable compiles a specification with a stand-in for all its sources: the program can be sent, or there is none.
func (s Start) sendable(t *testing.T, f *os.File) {
	t.Helper()
	s.Prepared = &Prepared{Rootfs: f, Nodes: map[string]*os.File{}, Sources: sources(s.OCI, f)}
	p, err := Compile(s)
	if err != nil {
		return
	}
	if _, _, err := nsutil.Decode(p.Encode()); err != nil {
		t.Errorf("the program cannot be sent: %v", err)
	}
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

// maxFuzzed keeps what a few bytes of YAML grow to within bounds.
const maxFuzzed = 16 << 10

// Whatever a description of devices says, each device that the library finds in it becomes part of a container that can be
// started, or the container is refused as what the host is not prepared for.
func FuzzCDI(f *testing.F) {
	null := place(f, "null")
	base := start(f, &spec.Pod{}, &spec.Container{})
	f.Add([]byte(`
cdiVersion: 0.7.0
kind: tare.test/gadget
containerEdits:
  env: [GADGETS=yes]
devices:
- name: a
  containerEdits:
    additionalGids: [44]
    deviceNodes:
    - {path: /dev/gadgets/a, hostPath: /dev/null, permissions: r, gid: 44}
    - {path: /dev/made, type: b, major: 7, minor: 0, fileMode: 384, permissions: none}
    mounts:
    - {hostPath: /etc/hostname, containerPath: /opt/lib/liba.so, options: [ro, nosuid, nodev, rbind, rprivate, noatime]}
    - {hostPath: none, containerPath: /opt/scratch, type: tmpfs, options: [nosuid, nodev, size=1m, mode=0711]}
    hooks:
    - {hookName: createContainer, path: /bin/true, args: [a, b], env: [A=b], timeout: 3}
`))
	f.Add([]byte(`{"cdiVersion": "0.5.0", "kind": "a.b/c", "devices": [{"name": "d", "containerEdits": {"env": ["C=1"], "intelRdt": {"closID": "x"}}}]}`))
	f.Add([]byte(`{"cdiVersion": "1.1.0", "kind": "a.b/c", "containerEdits": {"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}, "devices": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFuzzed {
			return
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "x.yaml")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		names := []string{"a.b/c=d"}
		if s, err := cdi.ReadSpec(file, 0); err == nil && s != nil {
			for _, d := range s.Devices {
				names = append(names, s.Kind+"="+d.Name)
			}
		}
		for _, name := range names {
			edits, err := CDI{Dirs: []string{dir}}.Edits([]string{name, name})
			if err != nil {
				if !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			oci, err := Assemble(Request{
				ID: "c", Spec: &spec.Container{}, Pod: &spec.Pod{}, PodDir: "/run/pods/p", CgroupPath: "/a/c", CgroupV2: true, OpenFiles: 1 << 20,
				Image: ocispec.ImageConfig{Cmd: []string{"true"}}, Edits: edits,
			})
			if err == nil {
				s := base
				s.OCI = oci
				s.sendable(t, null)
			} else if !errdefs.IsFailedPrecondition(err) && !errdefs.IsInvalidArgument(err) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Whatever is found in a directory of hooks, it is refused by its name, or its hooks run in each of their stages once, where its conditions hold.
func FuzzHookFile(f *testing.F) {
	for _, when := range []string{`"always": true`, `"commands": ["^true$"], "annotations": {"a": "b"}`, `"hasBindMounts": false`} {
		f.Add([]byte(described("/bin/true", when, "prestart", "poststop", "startContainer")))
	}
	f.Add([]byte(`{"version": "1.0.0", "hook": {"path": "/x", "args": ["a\u0000"], "timeout": 0}, "when": {"commands": ["("]}}{}`))
	r := Request{Spec: &spec.Container{Annotations: map[string]string{"a": "b"}}, Pod: &spec.Pod{}}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		r := r
		var err error
		if r.HookFiles, err = (HookDirs{dir}).Read(); err != nil {
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "x.json") {
				t.Errorf("refused by %v", err)
			}
			return
		}
		oci := &specs.Spec{Process: &specs.Process{Args: []string{"true"}}}
		if err := addHooks(oci, r); err != nil {
			if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("refused by %v", err)
			}
			return
		}
		file := r.HookFiles[0]
		for stage, list := range hookStages {
			hooks := 0
			if oci.Hooks != nil {
				hooks = len(*list(oci.Hooks))
			}
			want := 0
			for _, s := range file.Stages {
				if s == stage && file.When.holds(oci, r) {
					want = 1
				}
			}
			if hooks != want {
				t.Errorf("stage %s has %d hooks, want %d", stage, hooks, want)
			}
		}
		if oci.Hooks == nil {
			return
		}
		if _, _, err := nsutil.Decode(Hook(HookRun{Hook: file.Hook, Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}}).Encode()); err != nil {
			t.Errorf("the hook's program cannot be sent: %v", err)
		}
	})
}
