package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/spec"
)

// hookDirs writes files below two directories, a and b; the later one counts more.
func hookDirs(t *testing.T, files map[string]string) HookDirs {
	t.Helper()
	dir := t.TempDir()
	dirs := HookDirs{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "none")}
	for _, d := range dirs[:2] {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// described is a good description.
func described(hook, when string, stages ...string) string {
	return fmt.Sprintf(`{"version": "1.0.0", "hook": {"path": %q}, "when": {%s}, "stages": ["%s"]}`, hook, when, strings.Join(stages, `", "`))
}

func TestHookOrder(t *testing.T) {
	files, err := hookDirs(t, map[string]string{
		"a/20.json": described("/replaced", `"always": true`, "poststop"),
		"b/20.json": described("/20", `"always": true`, "poststop", "poststart"),
		"a/B.json":  described("/B", `"always": true`, "poststop"),
		"b/a.json":  described("/a", `"always": true`, "poststop"),
		"a/x.jsonx": "no description",
	}).Read()
	if err != nil {
		t.Fatal(err)
	}
	oci := &specs.Spec{Process: &specs.Process{Args: []string{"x"}}, Hooks: &specs.Hooks{Poststop: []specs.Hook{{Path: "/of/a/device"}}}}
	if err := addHooks(oci, Request{Spec: &spec.Container{}, Pod: &spec.Pod{}, HookFiles: files}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range oci.Hooks.Poststop {
		got = append(got, h.Path)
	}
	if want := []string{"/of/a/device", "/20", "/a", "/B"}; !slices.Equal(got, want) || len(oci.Hooks.Poststart) != 1 {
		t.Errorf("got %q, want %q; %+v", got, want, oci.Hooks)
	}
}

func TestHookConditions(t *testing.T) {
	request := Request{
		Spec: &spec.Container{Annotations: map[string]string{"example.org/own": "yes"}, Mounts: []spec.Mount{{HostPath: "/srv"}}},
		Pod:  &spec.Pod{Annotations: map[string]string{"example.org/gpu": "two of them"}},
	}
	bare := Request{Spec: &spec.Container{Mounts: []spec.Mount{{Image: "image"}}}, Pod: &spec.Pod{}}
	for _, tt := range []struct {
		when       string
		full, bare bool
	}{
		{`"always": true`, true, true},
		{`"always": false`, false, false},
		{`"hasBindMounts": true`, true, false},
		{`"hasBindMounts": false`, false, false},
		{`"commands": ["^/bin/sh$"]`, true, true},
		{`"commands": ["^/sbin/init$", "sh"]`, true, true},
		{`"commands": ["^sh"]`, false, false},
		{`"annotations": {"^example\\.org/gpu$": "^two"}`, true, false},
		{`"annotations": {"^example\\.org/gpu$": "^one"}`, false, false},
		{`"annotations": {"own": "", "gpu": ""}`, true, false},
		{`"annotations": {"own": "", "other": ""}`, false, false},
		{`"annotations": {"gpu": "yes"}`, false, false},
		{`"always": true, "hasBindMounts": true`, true, false},
		{`"always": true, "commands": ["nothing"]`, false, false},
	} {
		files, err := hookDirs(t, map[string]string{"a/x.json": described("/hook", tt.when, "createRuntime")}).Read()
		if err != nil {
			t.Fatalf("%s: %v", tt.when, err)
		}
		for r, want := range map[*Request]bool{&request: tt.full, &bare: tt.bare} {
			r.HookFiles = files
			oci := &specs.Spec{Process: &specs.Process{Args: []string{"/bin/sh", "-c"}}}
			if err := addHooks(oci, *r); err != nil {
				t.Fatal(err)
			}
			if got := oci.Hooks != nil && len(oci.Hooks.CreateRuntime) == 1; got != want {
				t.Errorf("%s: added %v, want %v", tt.when, got, want)
			}
		}
	}
}

func TestBadHookFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, err string }{
		"no JSON":       {`{`, "unexpected EOF"},
		"two objects":   {described("/x", `"always": true`, "poststop") + `{}`, "more than one object"},
		"unknown field": {`{"version": "1.0.0", "hooks": {}}`, `"hooks"`},
		"wrong type":    {`{"version": "1.0.0", "hook": {"path": 1}}`, "hook.path"},
		"old version":   {`{"stages": ["prestart"]}`, `version: "" is not 1.0.0`},
		"new version":   {`{"version": "2.0.0"}`, `version: "2.0.0"`},
		"path":          {described("bin/hook", `"always": true`, "poststop"), `hook.path: "bin/hook" is not an absolute path`},
		"timeout":       {`{"version": "1.0.0", "hook": {"path": "/x", "timeout": 0}}`, "hook.timeout: 0"},
		"no condition":  {described("/x", ``, "poststop"), "when: "},
		"no stage":      {`{"version": "1.0.0", "hook": {"path": "/x"}, "when": {"always": true}}`, "stages: "},
		"stage":         {described("/x", `"always": true`, "poststop", "poststar"), `stages[1]: "poststar"`},
		"command":       {described("/x", `"commands": ["a", "("]`, "poststop"), "when.commands[1]: "},
		"annotation":    {described("/x", `"annotations": {"a": "("}`, "poststop"), `when.annotations["a"]: `},
		"key":           {described("/x", `"annotations": {"(": "a"}`, "poststop"), "when.annotations: key: "},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := hookDirs(t, map[string]string{"a/bad.json": tt.text})
			_, err := dirs.Read()
			if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "hook file "+filepath.Join(dirs[0], "bad.json")+": ") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
}
