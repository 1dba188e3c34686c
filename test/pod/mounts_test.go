package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hostMount mounts a tmpfs on a directory of the host, made if need be, until the test is over.
func hostMount(t *testing.T, dir string, propagation uintptr) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	if err := unix.Mount("", dir, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
}

// volumeTree is what the host offers as volumes: a directory with a file, links and a mount below it, and
// mounts of every propagation.
func volumeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	hostMount(t, filepath.Join(dir, "plain/sub"), unix.MS_PRIVATE)
	hostMount(t, filepath.Join(dir, "shared"), unix.MS_SHARED)
	writeFile(t, filepath.Join(dir, "plain/file"), "the file\n")
	owned(t, filepath.Join(dir, "shared/mine"), 7, 8)
	for name, target := range map[string]string{"link": "plain", "file-link": "plain/file", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mountRow is one volume at /v.
type mountRow struct {
	name  string
	sent  *runtime.Mount // HostPath is below the tree
	has   []string       // mount options and optional fields, as mountinfo has them
	lacks []string
	shell map[string]string
}

const (
	canWrite = "touch %s/x 2>/dev/null && rm %[1]s/x && echo yes || echo no"
	h2c      = runtime.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	twoWay   = runtime.MountPropagation_PROPAGATION_BIDIRECTIONAL
)

func hostVolumes() []mountRow {
	writes := func(path, answer string) map[string]string {
		return map[string]string{fmt.Sprintf(canWrite, path): answer + "\n"}
	}
	return []mountRow{
		{"as it is", &runtime.Mount{HostPath: "plain"}, []string{"rw"}, []string{"ro", "shared", "master"},
			map[string]string{"cat /v/file": "the file\n", fmt.Sprintf(canWrite, "/v"): "yes\n", fmt.Sprintf(canWrite, "/v/sub"): "yes\n"}},
		{"readonly", &runtime.Mount{HostPath: "plain", Readonly: true}, []string{"ro"}, []string{"rw"},
			map[string]string{fmt.Sprintf(canWrite, "/v"): "no\n", fmt.Sprintf(canWrite, "/v/sub"): "yes\n"}},
		{"recursive_read_only", &runtime.Mount{HostPath: "plain", Readonly: true, RecursiveReadOnly: true}, []string{"ro"}, []string{"rw"},
			map[string]string{fmt.Sprintf(canWrite, "/v"): "no\n", fmt.Sprintf(canWrite, "/v/sub"): "no\n"}},
		{"a link", &runtime.Mount{HostPath: "link"}, []string{"rw"}, nil, map[string]string{"cat /v/file": "the file\n"}},
		{"a file", &runtime.Mount{HostPath: "plain/file", Readonly: true}, []string{"ro"}, nil, map[string]string{"cat /v": "the file\n"}},
		{"a link to a file", &runtime.Mount{HostPath: "file-link"}, []string{"rw"}, nil, map[string]string{"cat /v": "the file\n"}},
		{"host_path as it is written", &runtime.Mount{HostPath: "plain/../plain/./sub/"}, []string{"rw"}, nil, writes("/v", "yes")},
		{"propagation from the host", &runtime.Mount{HostPath: "shared", Propagation: h2c}, []string{"rw", "master"}, []string{"shared"}, writes("/v", "yes")},
		{"propagation from the host, readonly", &runtime.Mount{HostPath: "shared", Propagation: h2c, Readonly: true}, []string{"ro", "master"}, []string{"shared"}, writes("/v", "no")},
		{"propagation both ways", &runtime.Mount{HostPath: "shared", Propagation: twoWay}, []string{"rw", "shared"}, []string{"master"}, writes("/v", "yes")},
		{"no propagation", &runtime.Mount{HostPath: "shared"}, nil, []string{"shared", "master"}, nil},
		{"mount_options", &runtime.Mount{HostPath: "plain", Readonly: true, RecursiveReadOnly: true, MountOptions: []string{"noexec", "nodev", "nosuid"}},
			[]string{"ro", "noexec", "nodev", "nosuid"}, nil, writes("/v/sub", "no")},
		{"one of mount_options", &runtime.Mount{HostPath: "plain", MountOptions: []string{"nosuid"}}, []string{"rw", "nosuid"}, []string{"noexec", "nodev"}, nil},
	}
}

func imageVolumes() []mountRow {
	img := &runtime.ImageSpec{Image: layers, UserSpecifiedImage: "my/volume"}
	return []mountRow{
		{"image", &runtime.Mount{Image: img, Readonly: true}, []string{"ro"}, []string{"noexec"},
			map[string]string{"cat /v/data/kept": "lower\n", "stat -c %u:%g /v/meta/owned": "1234:4321\n", "/v/bin/busybox echo runs": "runs\n", fmt.Sprintf(canWrite, "/v"): "no\n"}},
		{"image, recursively", &runtime.Mount{Image: img, Readonly: true, RecursiveReadOnly: true}, []string{"ro"}, nil, map[string]string{"cat /v/data/kept": "lower\n"}},
		{"image_sub_path", &runtime.Mount{Image: img, Readonly: true, ImageSubPath: "data/becomes-dir", MountOptions: []string{"noexec"}}, []string{"ro", "noexec"}, nil,
			map[string]string{"ls /v; cat /v/inside": "inside\nupper\n"}},
		{"image_sub_path of a file", &runtime.Mount{Image: img, Readonly: true, ImageSubPath: "./data/kept"}, []string{"ro"}, nil, map[string]string{"cat /v": "lower\n"}},
		{"image_sub_path through a link", &runtime.Mount{Image: img, Readonly: true, ImageSubPath: "meta/absolute"}, []string{"ro"}, nil, map[string]string{"cat /v": "lower\n"}},
	}
}

// TestMounts runs every kind of volume, with what the kernel shows in the container and what the status tells.
func TestMounts(t *testing.T) {
	d := suite.shared
	id, err := d.tryPull(t, layers)
	if err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	dir := volumeTree(t)
	for name, options := range map[string][]podOption{"": nil, "in a user namespace": {inUserNS}} {
		t.Run(name, func(t *testing.T) {
			p := d.runPod(t, options...)
			for _, row := range slices.Concat(hostVolumes(), imageVolumes()) {
				m := proto.Clone(row.sent).(*runtime.Mount)
				m.ContainerPath = "/v/" // as it was sent, the status has to tell it
				if m.HostPath != "" {
					m.HostPath = dir + "/" + m.HostPath
				}
				if len(options) > 0 { // kubelets send them with every volume of such a pod
					m.UidMappings, m.GidMappings = mapping(), mapping()
				}
				t.Run(row.name, func(t *testing.T) { row.check(t, p, m, id) })
			}
		})
	}
}

func (row mountRow) check(t *testing.T, p *pod, m *runtime.Mount, image string) {
	q := *p
	q.t = t
	c := q.start(sleeper, volume(m))
	options, peers := c.mounted("/v")
	for _, o := range row.has {
		if !slices.Contains(options, o) && !slices.Contains(peers, o) {
			t.Errorf("mounted %v %v, not %s", options, peers, o)
		}
	}
	for _, o := range row.lacks {
		if slices.Contains(options, o) || slices.Contains(peers, o) {
			t.Errorf("mounted %v %v, with %s", options, peers, o)
		}
	}
	for command, want := range row.shell {
		if got := c.exec(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	want := proto.Clone(m).(*runtime.Mount)
	if want.Image != nil {
		want.Image.ImageRef = image
	}
	if got := c.status().Mounts; len(got) != 1 || !proto.Equal(got[0], want) {
		t.Errorf("status tells %v, want %v", got, want)
	}
	if err := c.tryRemove(); err != nil {
		t.Error(err)
	}
}

// mounted is the uppermost mount at a place, as the container sees it: its options, and the kinds of its
// optional fields, /proc/PID/mountinfo.
func (c *ctr) mounted(place string) (options, peers []string) {
	c.t.Helper()
	for line := range strings.Lines(c.exec("cat /proc/self/mountinfo")) {
		f := strings.Fields(line)
		if f[4] != place {
			continue
		}
		options, peers = strings.Split(f[5], ","), nil
		for _, field := range f[6:slices.Index(f, "-")] {
			kind, _, _ := strings.Cut(field, ":")
			peers = append(peers, kind)
		}
	}
	if options == nil {
		c.t.Errorf("nothing is mounted on %s", place)
	}
	return options, peers
}

// TestMountPropagation: mounts travel as far as asked, and no further.
func TestMountPropagation(t *testing.T) {
	leavesNothing(t, suite.shared)
	dir := volumeTree(t)
	shared := filepath.Join(dir, "shared")
	p := suite.shared.runPod(t)
	admin := secured(func(s *runtime.LinuxContainerSecurityContext) {
		s.Capabilities = &runtime.Capability{AddCapabilities: []string{"SYS_ADMIN"}}
		s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
		s.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
	})
	with := func(propagation runtime.MountPropagation) *ctr {
		return p.start(sleeper, admin, volume(&runtime.Mount{HostPath: shared, ContainerPath: "/v", Propagation: propagation}))
	}
	none, slave, both := with(runtime.MountPropagation_PROPAGATION_PRIVATE), with(h2c), with(twoWay)
	hostMount(t, filepath.Join(shared, "host"), unix.MS_PRIVATE)
	writeFile(t, filepath.Join(shared, "host/mark"), "")
	for c, want := range map[*ctr]string{none: "", slave: "mark\n", both: "mark\n"} {
		if got := c.exec("ls /v/host"); got != want {
			t.Errorf("a new mount of the host shows %q, want %q", got, want)
		}
	}
	for c, name := range map[*ctr]string{none: "none", slave: "slave", both: "both"} {
		c.exec("mkdir /v/" + name + " && mount -t tmpfs tmpfs /v/" + name + " && touch /v/" + name + "/mark")
		_, err := os.Stat(filepath.Join(shared, name, "mark"))
		if got := err == nil; got != (c == both) {
			t.Errorf("propagation %s: a mount of the container's is seen on the host: %t", name, got)
		}
	}
	both.exec("umount /v/both")
}

func TestBadMounts(t *testing.T) {
	d := suite.shared
	d.pull(t, layers)
	leavesNothing(t, d)
	dir := volumeTree(t)
	img := &runtime.ImageSpec{Image: layers}
	other := []*runtime.IDMapping{{HostId: hostIDs + 1, Length: manyIDs}}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name  string
		in    []podOption
		sent  *runtime.Mount
		code  codes.Code
		words []string
	}{
		{"host_path that is not there", nil, &runtime.Mount{HostPath: at("none")}, codes.InvalidArgument, []string{"mounts[0].host_path", at("none")}},
		{"a link that leads nowhere", nil, &runtime.Mount{HostPath: at("dangling")}, codes.InvalidArgument, []string{"mounts[0].host_path", at("dangling")}},
		{"below a file", nil, &runtime.Mount{HostPath: at("plain/file/x")}, codes.InvalidArgument, []string{"mounts[0].host_path"}},
		{"nothing", nil, &runtime.Mount{}, codes.InvalidArgument, []string{"mounts[0].host_path"}},
		{"from a private mount", nil, &runtime.Mount{HostPath: at("plain"), Propagation: h2c}, codes.InvalidArgument, []string{"propagation", at("plain")}},
		{"both ways on a private mount", nil, &runtime.Mount{HostPath: at("plain/sub"), Propagation: twoWay}, codes.InvalidArgument, []string{"propagation", at("plain/sub")}},
		{"propagation that is none", nil, &runtime.Mount{HostPath: at("plain"), Propagation: 7}, codes.InvalidArgument, []string{"mounts[0].propagation"}},
		{"recursive_read_only alone", nil, &runtime.Mount{HostPath: at("plain"), RecursiveReadOnly: true}, codes.InvalidArgument, []string{"mounts[0].recursive_read_only"}},
		{"recursive_read_only and propagation", nil, &runtime.Mount{HostPath: at("shared"), Readonly: true, RecursiveReadOnly: true, Propagation: h2c}, codes.InvalidArgument, []string{"mounts[0].recursive_read_only"}},
		{"mount_options", nil, &runtime.Mount{HostPath: at("plain"), MountOptions: []string{"nodev", "sync"}}, codes.InvalidArgument, []string{"mounts[0].mount_options[1]", "sync"}},
		{"mappings without a user namespace", nil, &runtime.Mount{HostPath: at("plain"), UidMappings: mapping(), GidMappings: mapping()}, codes.InvalidArgument, []string{"mounts[0].uidMappings"}},
		{"mappings that are not the pod's", []podOption{inUserNS}, &runtime.Mount{HostPath: at("plain"), UidMappings: other, GidMappings: mapping()}, codes.InvalidArgument, []string{"mounts[0].uidMappings"}},
		{"mappings of a file system that has none", []podOption{inUserNS}, &runtime.Mount{HostPath: "/proc/sys", UidMappings: mapping(), GidMappings: mapping()}, codes.FailedPrecondition, []string{"uidMappings", "/proc/sys"}},
		{"image that is not there", nil, &runtime.Mount{Readonly: true, Image: &runtime.ImageSpec{Image: "registry.tare.test/none:none"}}, codes.Unknown, []string{"ImageVolumeMountFailed: ", "registry.tare.test/none:none"}},
		{"image to be written", nil, &runtime.Mount{Image: img}, codes.InvalidArgument, []string{"mounts[0].readonly"}},
		{"image and host_path", nil, &runtime.Mount{Readonly: true, Image: img, HostPath: at("plain")}, codes.InvalidArgument, []string{"mounts[0].host_path"}},
		{"image_sub_path that is not there", nil, &runtime.Mount{Readonly: true, Image: img, ImageSubPath: "data/none"}, codes.Unknown, []string{"ImageVolumeMountFailed: ", "image_sub_path", "data/none"}},
		{"image_sub_path that was removed", []podOption{inUserNS}, &runtime.Mount{Readonly: true, Image: img, ImageSubPath: "data/gone/inside"}, codes.Unknown, []string{"ImageVolumeMountFailed: ", "image_sub_path"}},
		{"image_sub_path that leads out", nil, &runtime.Mount{Readonly: true, Image: img, ImageSubPath: "data/../../x"}, codes.InvalidArgument, []string{"mounts[0].image_sub_path"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			p := d.runPod(t, tt.in...)
			tt.sent.ContainerPath = "/v"
			id, err := p.tryCreate(p.containerConfig(sleeper, volume(tt.sent)))
			if err == nil { // what a mount is on may change until the start
				c := &ctr{p, id, p.containerConfig()}
				err = c.tryStart()
			}
			refused(t, err, tt.code, tt.words...)
			if first := tt.words[0]; tt.code == codes.Unknown && !strings.HasPrefix(status.Convert(err).Message(), first) {
				t.Errorf("%v does not begin with %s, which kubelets look for", err, first)
			}
		})
	}
}
