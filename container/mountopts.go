package container

import (
	"strings"

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

// The options that runtime-spec (config-linux.md, "Mount options") defines and this runtime uses.
var (
	attrOptions = map[string]uint64{
		"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
		"noexec": unix.MOUNT_ATTR_NOEXEC, "strictatime": unix.MOUNT_ATTR_STRICTATIME, "noatime": unix.MOUNT_ATTR_NOATIME,
	}
	propagationOptions = map[string]nsutil.MountAttr{
		"private": {Propagation: unix.MS_PRIVATE}, "rprivate": {Propagation: unix.MS_PRIVATE, Recursive: true},
		"slave": {Propagation: unix.MS_SLAVE}, "rslave": {Propagation: unix.MS_SLAVE, Recursive: true},
		"shared": {Propagation: unix.MS_SHARED}, "rshared": {Propagation: unix.MS_SHARED, Recursive: true},
	}
)

func parseOptions(m specs.Mount) mountOptions {
	var o mountOptions
	for _, opt := range m.Options {
		if bit, ok := attrOptions[opt]; ok {
			o.attr.Set |= bit
			continue
		}
		if p, ok := propagationOptions[opt]; ok {
			o.recursive.Propagation, o.recursive.Recursive = p.Propagation, p.Recursive
			continue
		}
		switch opt {
		case "rw", "bind":
		case "rbind":
			o.bindAll = true
		case "rro":
			o.recursive.Set, o.recursive.Recursive = unix.MOUNT_ATTR_RDONLY, true
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
