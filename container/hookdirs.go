package container

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// HookDirs are directories of the host that describe hooks and for which containers they are, oci-hooks(5). They
// are read for each container that is created, as CDI's are. A later directory's file replaces the one
// of the same name in an earlier one.
//
// One bad file fails the creation of every container: a hook may be what confines or records them, and who
// wrote it should hear that it is not in force.
type HookDirs []string

// HookFile is one description, version 1.0.0 of the format.
type HookFile struct {
	path    string
	Version string     `json:"version"`
	Hook    specs.Hook `json:"hook"`
	When    hookWhen   `json:"when"`
	Stages  []string   `json:"stages"`
}

// hookWhen says for which containers: those for which everything holds that is given. Texts are regular expressions.
type hookWhen struct {
	Always        *bool             `json:"always"`
	Annotations   map[string]string `json:"annotations"` // each is one of the pod's or the container's
	Commands      []string          `json:"commands"`    // one is the first argument
	HasBindMounts *bool             `json:"hasBindMounts"`
}

// hookStages are the lists of hooks by the stages' names.
var hookStages = map[string]func(*specs.Hooks) *[]specs.Hook{
	"prestart":        func(h *specs.Hooks) *[]specs.Hook { return &h.Prestart }, //lint:ignore SA1019 deprecated, but still in use
	"createRuntime":   func(h *specs.Hooks) *[]specs.Hook { return &h.CreateRuntime },
	"createContainer": func(h *specs.Hooks) *[]specs.Hook { return &h.CreateContainer },
	"startContainer":  func(h *specs.Hooks) *[]specs.Hook { return &h.StartContainer },
	"poststart":       func(h *specs.Hooks) *[]specs.Hook { return &h.Poststart },
	"poststop":        func(h *specs.Hooks) *[]specs.Hook { return &h.Poststop },
}

// Read reads the descriptions, in the order in which their hooks run: by file name, in lower case.
// ErrFailedPrecondition: one is not in order.
func (dirs HookDirs) Read() ([]HookFile, error) {
	paths := map[string]string{} // by name
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, hooksError("hooks", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				paths[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(paths), func(a, b string) int {
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	})
	var files []HookFile
	for _, name := range names {
		f, err := readHook(paths[name])
		if errors.Is(err, fs.ErrNotExist) { // removed since
			continue
		}
		if err != nil {
			return nil, hooksError("hook file "+paths[name], err)
		}
		files = append(files, f)
	}
	return files, nil
}

// hooksError gives what is wrong with a description its class; what the system refused has its number.
func hooksError(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if _, refused := errors.AsType[syscall.Errno](err); refused {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
}

func readHook(path string) (HookFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return HookFile{}, err
	}
	f := HookFile{path: path}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return HookFile{}, err
	}
	if d.More() {
		return HookFile{}, fmt.Errorf("offset %d: more than one object", d.InputOffset())
	}
	return f, f.check()
}

// check finds what cannot be, and names the field.
func (f *HookFile) check() error {
	w := &f.When
	switch {
	case f.Version != "1.0.0":
		return fmt.Errorf("version: %q is not 1.0.0", f.Version)
	case !filepath.IsAbs(f.Hook.Path):
		return fmt.Errorf("hook.path: %q is not an absolute path", f.Hook.Path)
	case f.Hook.Timeout != nil && *f.Hook.Timeout <= 0:
		return fmt.Errorf("hook.timeout: %d is not above 0", *f.Hook.Timeout)
	case w.Always == nil && w.HasBindMounts == nil && len(w.Annotations) == 0 && len(w.Commands) == 0:
		return errors.New("when: there is no condition")
	case len(f.Stages) == 0:
		return errors.New("stages: there is none")
	}
	for i, stage := range f.Stages {
		if hookStages[stage] == nil {
			return fmt.Errorf("stages[%d]: %q is not one of %s", i, stage, strings.Join(slices.Sorted(maps.Keys(hookStages)), ", "))
		}
	}
	for i, command := range w.Commands {
		if _, err := regexp.Compile(command); err != nil {
			return fmt.Errorf("when.commands[%d]: %w", i, err)
		}
	}
	for key, value := range w.Annotations {
		if _, err := regexp.Compile(key); err != nil {
			return fmt.Errorf("when.annotations: key: %w", err)
		}
		if _, err := regexp.Compile(value); err != nil {
			return fmt.Errorf("when.annotations[%q]: %w", key, err)
		}
	}
	return nil
}

// addHooks adds to a specification the hooks of the files that are for it.
func addHooks(oci *specs.Spec, r Request) error {
	for _, f := range r.HookFiles {
		if !f.When.holds(oci, r) {
			continue
		}
		var hooks specs.Hooks
		for _, stage := range f.Stages {
			*hookStages[stage](&hooks) = []specs.Hook{f.Hook}
		}
		if err := checkHooks(&hooks); err != nil {
			return fmt.Errorf("hook file %s: %w", f.path, err)
		}
		if oci.Hooks == nil {
			oci.Hooks = &specs.Hooks{}
		}
		for _, list := range hookStages {
			*list(oci.Hooks) = append(*list(oci.Hooks), *list(&hooks)...)
		}
	}
	return nil
}

func (w *hookWhen) holds(oci *specs.Spec, r Request) bool {
	if w.Always != nil && !*w.Always {
		return false
	}
	if w.HasBindMounts != nil && (!*w.HasBindMounts || !hasBindMounts(r)) {
		return false
	}
	matches := func(text string) func(pattern string) bool {
		return func(pattern string) bool { return regexp.MustCompile(pattern).MatchString(text) } // checked when it was read
	}
	if len(w.Commands) > 0 && !slices.ContainsFunc(w.Commands, matches(oci.Process.Args[0])) {
		return false
	}
	for key, value := range w.Annotations {
		if !annotated(r, func(k, v string) bool { return matches(k)(key) && matches(v)(value) }) {
			return false
		}
	}
	return true
}

func hasBindMounts(r Request) bool {
	for _, m := range r.Spec.Mounts {
		if m.Image == "" {
			return true
		}
	}
	return false
}

// annotated says whether an annotation is meant, of the container or of its pod: people annotate pods.
func annotated(r Request, meant func(key, value string) bool) bool {
	for _, annotations := range []map[string]string{r.Spec.Annotations, r.Pod.Annotations} {
		for key, value := range annotations {
			if meant(key, value) {
				return true
			}
		}
	}
	return false
}
