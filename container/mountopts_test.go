package container

import (
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

func TestMountOptions(t *testing.T) {
	type attr = nsutil.MountAttr
	for _, tt := range []struct {
		options []string
		want    mountOptions
	}{
		{nil, mountOptions{}},
		{[]string{"rw", "bind", "defaults", "idmap"}, mountOptions{}},
		{[]string{"rbind", "rprivate", "ro"}, mountOptions{attr: attr{Set: unix.MOUNT_ATTR_RDONLY}, recursive: attr{Propagation: unix.MS_PRIVATE, Recursive: true}, bindAll: true}},
		{[]string{"rro", "private"}, mountOptions{recursive: attr{Set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE, Recursive: true}}},
		{[]string{"nosuid", "exec", "rnodev", "rsuid"}, mountOptions{
			attr:      attr{Set: unix.MOUNT_ATTR_NOSUID, Clear: unix.MOUNT_ATTR_NOEXEC},
			recursive: attr{Set: unix.MOUNT_ATTR_NODEV, Clear: unix.MOUNT_ATTR_NOSUID, Recursive: true},
		}},
		{[]string{"relatime"}, mountOptions{attr: attr{Clear: unix.MOUNT_ATTR__ATIME}}},
		{[]string{"rnoatime"}, mountOptions{recursive: attr{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME, Recursive: true}}},
		{[]string{"size=1m", "sync"}, mountOptions{data: []nsutil.Option{{Key: "size", Value: "1m"}, {Key: "sync"}}}},
	} {
		got := parseOptions(specs.Mount{Options: tt.options})
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v: got %+v, want %+v", tt.options, got, tt.want)
		}
		if err := got.noData(); (err == nil) != (len(tt.want.data) == 0) {
			t.Errorf("%v on a bind mount: %v", tt.options, err)
		}
	}
}
