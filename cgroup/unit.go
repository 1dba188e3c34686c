package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"tare/spec"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// unitPrefix tells our units from others in systemd's lists.
const unitPrefix = "tare-"

// podUnit is the unit a pod's containers live in, and their directory's name.
func podUnit(id spec.PodID) string { return unitPrefix + string(id) + ".service" }

// inUnit reports whether a container's directory is in a pod's unit.
func inUnit(dir string) bool {
	unit := path.Base(path.Dir(dir))
	return strings.HasPrefix(unit, unitPrefix) && strings.HasSuffix(unit, ".service")
}

// unitProperty is one as systemd's D-Bus interface takes it, org.freedesktop.systemd1(5).
type unitProperty struct {
	Name  string
	Value dbus.Variant
}

func property(name string, value any) unitProperty {
	return unitProperty{name, dbus.MakeVariant(value)}
}

// execCommand is an entry of ExecStop=.
type execCommand struct {
	Path          string
	Args          []string
	IgnoreFailure bool
}

// noTasksLimit lifts DefaultTasksMax= (systemd-system.conf(5)): what a pod may have, its slice says.
func noTasksLimit() unitProperty { return property("TasksMax", uint64(math.MaxUint64)) }

// podUnitProperties describe a service without a process: RemainAfterExit= keeps it active although
// nothing was started, Delegate= leaves what is below it to us. A service has to name some program
// (systemd.service(5)); this one is run when the unit is stopped, and may be missing.
func podUnitProperties(slice string) []unitProperty {
	return []unitProperty{
		property("Description", "containers of a Kubernetes pod"),
		property("Slice", slice),
		property("Type", "oneshot"),
		property("RemainAfterExit", true),
		property("Delegate", true),
		property("ExecStop", []execCommand{{"/bin/true", []string{"/bin/true"}, true}}),
		noTasksLimit(),
		property("OOMPolicy", "continue"),             // a container's kill is ours to judge
		property("DefaultDependencies", false),        // a shutdown lets the kubelet end its pods first
		property("IgnoreOnIsolate", true),             // as of scopes
		property("CollectMode", "inactive-or-failed"), // nothing of it stays once it is stopped
	}
}

// transientUnit is one to be started in the same job as another.
type transientUnit struct {
	Name       string
	Properties []unitProperty
}

// ownSlice is a slice that nobody else has made: it goes when the last unit in it does, StopWhenUnneeded= in
// systemd.unit(5). One that systemd makes by itself, because a unit is to be in it, stays for ever.
func ownSlice(name string) transientUnit {
	return transientUnit{name, []unitProperty{property("StopWhenUnneeded", true)}}
}

// standing is a slice as it was found: by the number of its directory, 0 if it has none.
type standing struct {
	dir   string
	inode uint64
}

// slicesAt looks at a slice and those it is in.
func (t *Tree) slicesAt(dir string) []standing {
	var found []standing
	for ; dir != "."; dir = path.Dir(dir) {
		found = append(found, standing{dir, t.inode(dir)})
	}
	return found
}

func (t *Tree) inode(dir string) uint64 {
	var st unix.Stat_t
	if unix.Fstatat(int(t.killer().root.Fd()), dir, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Ino
}

// startUnit has systemd make the directory of a pod's unit.
func (t *Tree) startUnit(ctx context.Context, dir string) error {
	name, slice := path.Base(dir), rootSlice
	if parent := path.Dir(dir); parent != "." {
		slice = path.Base(parent)
	}
	return withSystemd(ctx, func(ctx context.Context, s *systemd) error {
		above := t.slicesAt(path.Dir(dir))
		err := s.startTransient(ctx, name, podUnitProperties(slice), missing(above))
		if err == nil {
			err = t.ownRestarted(ctx, s, above)
		}
		if err != nil {
			return fmt.Errorf("start unit %s in %s: %w", name, slice, err)
		}
		if err := t.realize(ctx, s, dir); err != nil {
			return fmt.Errorf("realize unit %s: %w", name, err)
		}
		return nil
	})
}

// realize makes sure of a unit's directory. systemd drops that of a service whose start is over
// (service_set_state in its src/core/service.c), and makes it again, for good, when a property of the
// active unit is set. Setting it again on a unit that lost its directory some other way would do nothing:
// mkdir then.
func (t *Tree) realize(ctx context.Context, s *systemd, dir string) error {
	if err := s.setProperty(ctx, path.Base(dir), noTasksLimit()); err != nil {
		return err
	}
	if err := t.killer().mkdir(dir); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// missing are the slices to be made with a unit.
func missing(above []standing) []transientUnit {
	units := []transientUnit{} // D-Bus knows no nil
	for _, s := range above {
		if s.inode == 0 {
			units = append(units, ownSlice(path.Base(s.dir)))
		}
	}
	return units
}

// ownRestarted makes those slices our own that are not what they were before a unit was started: an own one
// that was about to be stopped was started again with it, and then systemd made it by itself. Those that
// are somebody's already, or ours, remain so.
func (t *Tree) ownRestarted(ctx context.Context, s *systemd, above []standing) error {
	for _, a := range above {
		if t.inode(a.dir) == a.inode {
			continue
		}
		own := ownSlice(path.Base(a.dir))
		err := s.job(ctx, "StartTransientUnit", own.Name, "replace", own.Properties, []transientUnit{})
		if err != nil && !isError(err, errUnitExists) {
			return err
		}
	}
	return nil
}

// ReleasePod gives up what the containers of a pod had in common: with systemd their unit, and the slices
// made for it. What is left in it is killed. It may be repeated, and the pod need never have had any.
func (t *Tree) ReleasePod(ctx context.Context, id spec.PodID) error {
	if t.driver != DriverSystemd {
		return nil
	}
	return withSystemd(ctx, func(ctx context.Context, s *systemd) error {
		if err := s.stop(ctx, podUnit(id)); err != nil {
			return fmt.Errorf("stop unit %s: %w", podUnit(id), err)
		}
		return nil
	})
}
