package container

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// mountOptions are the options of a runtime-spec mount, sorted out.
type mountOptions struct {
	attr      nsutil.MountAttr // of the mount itself
	recursive nsutil.MountAttr // with Recursive: of all below it too
	bindAll   bool             // rbind
	data      []nsutil.Option  // the file system's own parameters
}

// The options that runtime-spec (config-linux.md, "Linux mount options") defines for a mount. With an r
// before it, an attribute is that of all mounts below, too.
var (
	attrOptions = map[string]nsutil.MountAttr{
		"ro":     {Set: unix.MOUNT_ATTR_RDONLY},
		"nosuid": {Set: unix.MOUNT_ATTR_NOSUID}, "suid": {Clear: unix.MOUNT_ATTR_NOSUID},
		"nodev": {Set: unix.MOUNT_ATTR_NODEV}, "dev": {Clear: unix.MOUNT_ATTR_NODEV},
		"noexec": {Set: unix.MOUNT_ATTR_NOEXEC}, "exec": {Clear: unix.MOUNT_ATTR_NOEXEC},
		"nodiratime": {Set: unix.MOUNT_ATTR_NODIRATIME}, "diratime": {Clear: unix.MOUNT_ATTR_NODIRATIME},
		"nosymfollow": {Set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "symfollow": {Clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
		// One of these replaces another, mount_setattr(2).
		"noatime":     {Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME},
		"strictatime": {Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME},
		"relatime":    {Clear: unix.MOUNT_ATTR__ATIME},
	}
	propagationOptions = map[string]nsutil.MountAttr{
		"private": {Propagation: unix.MS_PRIVATE}, "rprivate": {Propagation: unix.MS_PRIVATE, Recursive: true},
		"slave": {Propagation: unix.MS_SLAVE}, "rslave": {Propagation: unix.MS_SLAVE, Recursive: true},
		"shared": {Propagation: unix.MS_SHARED}, "rshared": {Propagation: unix.MS_SHARED, Recursive: true},
		"unbindable": {Propagation: unix.MS_UNBINDABLE}, "runbindable": {Propagation: unix.MS_UNBINDABLE, Recursive: true},
	}
)

func parseOptions(m specs.Mount) mountOptions {
	var o mountOptions
	for _, opt := range m.Options {
		if a, ok := attrOptions[opt]; ok {
			o.attr.Set |= a.Set
			o.attr.Clear |= a.Clear
			continue
		}
		if a, ok := attrOptions[strings.TrimPrefix(opt, "r")]; ok {
			o.recursive.Set |= a.Set
			o.recursive.Clear |= a.Clear
			o.recursive.Recursive = true
			continue
		}
		if p, ok := propagationOptions[opt]; ok {
			o.recursive.Propagation = p.Propagation
			o.recursive.Recursive = o.recursive.Recursive || p.Recursive
			continue
		}
		switch opt {
		case "rw", "defaults", "bind": // a bind is as writable as what it is of
		case "idmap", "ridmap": // where there is a user namespace; see specs.Mount.UIDMappings
		case "rbind":
			o.bindAll = true
		default:
			key, value, _ := strings.Cut(opt, "=")
			o.data = append(o.data, nsutil.Option{Key: key, Value: value})
		}
	}
	return o
}

// value is that of one of the file system's own parameters.
func (o mountOptions) value(key string) string {
	for _, d := range o.data {
		if d.Key == key {
			return d.Value
		}
	}
	return ""
}

// noData refuses parameters of a file system on a bind mount, which makes none.
func (o mountOptions) noData() error {
	if len(o.data) == 0 {
		return nil
	}
	return fmt.Errorf("option %q is not one of a bind mount: %w", o.data[0].Key, errdefs.ErrInvalidArgument)
}
