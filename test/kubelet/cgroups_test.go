package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// cgroups are those of the node's pods.
type cgroups struct {
	root string // the kubelet's: its cgroup of pods is below
	top  string // below which all are
}

func newCgroups() cgroups {
	if *driver == "systemd" {
		return cgroups{"/", "/kubepods.slice"}
	}
	own := "/tare-kubelet-" + os.Getenv(outerVar)
	return cgroups{own, own}
}

// own is where the runtime's own would be, of pods whose cgroup nobody says.
func (c cgroups) own() string {
	if *driver == "systemd" {
		return "kubepods-none.slice"
	}
	return c.top + "/none"
}

// make makes the cgroup below which everything happens, in every hierarchy. Slices are made by systemd.
func (c cgroups) make() error {
	if *driver == "systemd" {
		return nil
	}
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range hierarchies {
		own := filepath.Join(dir, c.top)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		// A cpuset of cgroup v1 is empty at first; in v2 children have what their parent
		// passes on.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(dir, own, name); err != nil {
				return err
			}
		}
		if err := passOn(dir); err != nil {
			return err
		}
	}
	return nil
}

// inherit copies a setting of cgroup v1 from one cgroup to another.
func inherit(from, to, name string) error {
	if _, err := os.Stat(filepath.Join(from, "cgroup.controllers")); err == nil {
		return nil
	}
	value, err := os.ReadFile(filepath.Join(from, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), value, 0o644)
}

// passOn has a cgroup's children have all of its controllers (cgroup-v2.rst, "Top-down
// Constraint"); in v1 there is nothing to do.
func passOn(cgroup string) error {
	controllers, err := os.ReadFile(filepath.Join(cgroup, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hierarchies are the directories where cgroup file systems are mounted.
func hierarchies() (dirs []string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(table)) {
		before, after, _ := strings.Cut(line, " - ")
		if kind := strings.Fields(after)[0]; kind == "cgroup" || kind == "cgroup2" {
			dirs = append(dirs, strings.Fields(before)[4])
		}
	}
	return dirs, nil
}

// stopUnit has systemd stop a unit. systemctl(1) cannot from inside the enclosure: it wants to know systemd's pid, which is not
// in this PID namespace.
func stopUnit(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	defer conn.Close()
	result := make(chan string, 1)
	if _, err := conn.StopUnitContext(ctx, name, "replace", result); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", name, ctx.Err())
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("stop %s: %s", name, r)
		}
	}
	return nil
}

// remove removes what kubelet and runtime left empty.
func (c cgroups) remove() error {
	if *driver == "systemd" {
		return stopUnit(filepath.Base(c.top))
	}
	below, err := c.find(func(string) bool { return true })
	for _, path := range slices.Backward(below) { // the deepest first
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// find returns the cgroups whose name is right, in all hierarchies.
func (c cgroups) find(right func(name string) bool) (found []string, err error) {
	hierarchies, err := hierarchies()
	for _, dir := range hierarchies {
		walk := filepath.WalkDir(filepath.Join(dir, c.top), func(path string, d os.DirEntry, err error) error {
			switch {
			case errors.Is(err, os.ErrNotExist): // by now
				return nil
			case err == nil && d.IsDir() && right(d.Name()):
				found = append(found, path)
			}
			return err
		})
		err = errors.Join(err, walk)
	}
	return found, err
}

// ofPod are the cgroups of a pod itself, not those below.
func (c cgroups) ofPod(uid string) ([]string, error) {
	if *driver == "systemd" {
		return c.find(func(name string) bool {
			return strings.HasSuffix(name, "-pod"+strings.ReplaceAll(uid, "-", "_")+".slice")
		})
	}
	return c.find(func(name string) bool { return name == "pod"+uid })
}

// hasLimits is an error if a container's limits are others, by its id.
func (c cgroups) hasLimits(id, memory, quota string) error {
	found, err := c.find(func(name string) bool { return name == id })
	if err != nil {
		return err
	}
	left := 2
	for _, dir := range found {
		// The files of cgroup v1 and of v2.
		for file, want := range map[string]string{
			"memory.limit_in_bytes": memory, "memory.max": memory,
			"cpu.cfs_quota_us": quota, "cpu.max": quota + " 100000",
		} {
			got, err := os.ReadFile(filepath.Join(dir, file))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if left--; strings.TrimSpace(string(got)) != want {
				return fmt.Errorf("%s of %s is %s, want %s", file, id, got, want)
			}
		}
	}
	if left != 0 {
		return fmt.Errorf("%d limits of %s are not in %q", left, id, found)
	}
	return nil
}
