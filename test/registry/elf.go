package registry

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraryDirs are the directories the loader searches without being told
// (ld.so(8)); Debian's multiarch directory comes first.
func libraryDirs() []string {
	dirs, _ := filepath.Glob("/lib/*-linux-gnu*")
	more, _ := filepath.Glob("/usr/lib/*-linux-gnu*")
	return append(append(dirs, more...), "/lib64", "/lib", "/usr/lib64", "/usr/lib")
}

// sharedObjects returns the loader and every library program needs, directly or
// through another library, as sorted paths of this machine. A static program
// needs none.
func sharedObjects(program string) ([]string, error) {
	needed := map[string]bool{}
	dirs := libraryDirs()
	queue := []string{program}
	for len(queue) > 0 {
		object := queue[0]
		queue = queue[1:]
		loader, names, err := dynamicNeeds(object)
		if err != nil {
			return nil, err
		}
		if loader != "" {
			needed[loader] = true
		}
		for _, name := range names {
			lib, err := findLibrary(dirs, name)
			if err != nil {
				return nil, fmt.Errorf("%s needs %w", object, err)
			}
			if !needed[lib] && filepath.Base(lib) != filepath.Base(loader) {
				needed[lib] = true
				queue = append(queue, lib)
			}
		}
	}
	libs := make([]string, 0, len(needed))
	for lib := range needed {
		libs = append(libs, lib)
	}
	slices.Sort(libs)
	return libs, nil
}

// dynamicNeeds reads the program interpreter and the DT_NEEDED names of one object.
func dynamicNeeds(object string) (loader string, names []string, err error) {
	f, err := elf.Open(object)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		path := make([]byte, p.Filesz)
		if _, err := p.ReadAt(path, 0); err != nil {
			return "", nil, fmt.Errorf("read interpreter of %s: %w", object, err)
		}
		loader = strings.TrimRight(string(path), "\x00")
	}
	names, err = f.ImportedLibraries()
	return loader, names, err
}

func findLibrary(dirs []string, name string) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}

// packages names the Debian package of each program the images are made of;
// hack/packages lists the same ones.
var packages = map[string]string{
	"busybox":   "busybox-static",
	"catatonit": "catatonit",
	"id":        "coreutils",
	"ipcmk":     "util-linux",
	"ipcs":      "util-linux",
	"nginx":     "nginx",
	"pgrep":     "procps",
}

func packageOf(program string) string {
	if p, ok := packages[filepath.Base(program)]; ok {
		return p
	}
	return "unknown"
}
