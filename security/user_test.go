package security

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tare/spec"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func ptr(v uint32) *uint32 { return &v }

const passwd = `root:x:0:0:root:/root:/bin/sh
+::::::
broken:x:zero:0::/:/bin/sh
huge:x:4294967296:0::/:/bin/sh
web:x:1000:1001:,,,:/srv/web:/bin/sh
short:x:1002:1002
relative:x:1003:1003::home:/bin/sh
`

const group = `root:x:0:
+:::
web:x:1001:
broken:x:none:web
logs:x:50:web,other
disk:x:6:root,web
`

// rootfs makes a root directory with files given by path; a content of "-> x" makes a link.
func rootfs(t *testing.T, files map[string]string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "-> ")
		err := error(nil)
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestResolveUser(t *testing.T) {
	root := rootfs(t, map[string]string{"etc/passwd": passwd, "etc/group": group})
	empty := rootfs(t, nil)
	many := make([]uint32, maxGroups+1)
	for i := range many {
		many[i] = uint32(i)
	}
	ids := spec.IDMap{Host: 1 << 16, Length: 1001}
	small := spec.Namespaces{User: &spec.UserNamespace{UID: ids, GID: ids}}
	for _, c := range []struct {
		name  string
		root  *os.File
		s     spec.Security
		image string
		want  Identity
		err   string // what it says; all are InvalidArgument
	}{
		{name: "nothing", root: root, want: Identity{0, 0, []uint32{0, 6}, "/root"}},
		{name: "nothing, empty image", root: empty, want: Identity{0, 0, []uint32{0}, "/"}},
		{name: "image name", root: root, image: "web", want: Identity{1000, 1001, []uint32{6, 50, 1001}, "/srv/web"}},
		{name: "image name and group", root: root, image: "web:logs", want: Identity{1000, 50, []uint32{6, 50}, "/srv/web"}},
		{name: "image name and gid", root: root, image: "web:7", want: Identity{1000, 7, []uint32{6, 7, 50}, "/srv/web"}},
		{name: "image uid", root: root, image: "1000", want: Identity{1000, 1001, []uint32{6, 50, 1001}, "/srv/web"}},
		{name: "image uid without entry", root: root, image: "77", want: Identity{77, 0, []uint32{0}, "/"}},
		{name: "image uid and gid", root: root, image: "77:88", want: Identity{77, 88, []uint32{88}, "/"}},
		{name: "image uid and group", root: root, image: "77:logs", want: Identity{77, 50, []uint32{50}, "/"}},
		{name: "image uid, empty image", root: empty, image: "5", want: Identity{5, 0, []uint32{0}, "/"}},
		{name: "uid over image's", root: root, s: spec.Security{User: spec.User{UID: ptr(1002)}}, image: "web", want: Identity{1002, 1002, []uint32{1002}, "/"}},
		{name: "uid and gid", root: root, s: spec.Security{User: spec.User{UID: ptr(1000), GID: ptr(9)}}, want: Identity{1000, 9, []uint32{6, 9, 50}, "/srv/web"}},
		{name: "name", root: root, s: spec.Security{User: spec.User{Name: "web"}}, image: "77", want: Identity{1000, 1001, []uint32{6, 50, 1001}, "/srv/web"}},
		{name: "name that is a number", root: root, s: spec.Security{User: spec.User{Name: "1000"}}, want: Identity{1000, 1001, []uint32{6, 50, 1001}, "/srv/web"}},
		{name: "relative home", root: root, image: "relative", want: Identity{1003, 1003, []uint32{1003}, "/"}},
		{name: "supplemental, merged", root: root, s: spec.Security{SupplementalGroups: []uint32{50, 3, 3}}, image: "web", want: Identity{1000, 1001, []uint32{3, 6, 50, 1001}, "/srv/web"}},
		{name: "supplemental, strict", root: root, s: spec.Security{SupplementalGroups: []uint32{3}, StrictGroups: true}, image: "web", want: Identity{1000, 1001, []uint32{3, 1001}, "/srv/web"}},

		{name: "the last of a user namespace", root: root, s: spec.Security{User: spec.User{UID: ptr(1000), GID: ptr(999)}, SupplementalGroups: []uint32{1000}, StrictGroups: true, Namespaces: small},
			want: Identity{1000, 999, []uint32{999, 1000}, "/srv/web"}},

		{name: "uid beyond the user namespace", root: root, s: spec.Security{User: spec.User{UID: ptr(1001)}, Namespaces: small}, err: "run_as_user: user 1001"},
		{name: "name beyond the user namespace", root: root, s: spec.Security{User: spec.User{Name: "short"}, Namespaces: small}, err: "run_as_username: user 1002"},
		{name: "image user beyond the user namespace", root: root, image: "1003", s: spec.Security{Namespaces: small}, err: "image user: user 1003"},
		{name: "primary group beyond the user namespace", root: root, s: spec.Security{User: spec.User{Name: "web"}, Namespaces: small}, err: "run_as_username: group 1001"},
		{name: "group beyond the user namespace", root: root, s: spec.Security{User: spec.User{UID: ptr(5), GID: ptr(1001)}, Namespaces: small}, err: "run_as_group: group 1001"},
		{name: "supplemental group beyond the user namespace", root: root, s: spec.Security{SupplementalGroups: []uint32{7, 1001}, Namespaces: small}, err: "supplemental_groups: group 1001"},
		{name: "too many groups", root: root, s: spec.Security{SupplementalGroups: many}, err: "supplemental_groups: 65537 groups"},
		{name: "group alone", root: root, s: spec.Security{User: spec.User{GID: ptr(9)}}, image: "web", err: "run_as_group"},
		{name: "unknown name", root: root, s: spec.Security{User: spec.User{Name: "nobody"}}, err: `run_as_username: no user "nobody"`},
		{name: "name that is an unknown number", root: root, s: spec.Security{User: spec.User{Name: "4711"}}, err: `run_as_username: no user "4711"`},
		{name: "unknown image user", root: root, image: "nobody", err: `image user: no user "nobody"`},
		{name: "unknown image group", root: root, image: "web:nogroup", err: `no group "nogroup"`},
		{name: "name, empty image", root: empty, image: "web", err: "no user"},
		{name: "broken entry", root: root, image: "broken", err: "no user"},
		{name: "entry out of range", root: root, image: "huge", err: "no user"},
		{name: "broken group", root: root, image: "web:broken", err: "no group"},
		{name: "uid out of range", root: root, s: spec.Security{User: spec.User{UID: ptr(1 << 31)}}, err: "out of range"},
		{name: "image uid out of range", root: root, image: "99999999999999999999", err: "out of range"},
		{name: "negative", root: root, image: "-1", err: "no user"},
		{name: "too many parts", root: root, image: "a:b:c", err: "is not user or user:group"},
		{name: "only a group", root: root, image: ":50", err: "is not user or user:group"},
		{name: "colon", root: root, image: "web:", err: "is not user or user:group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ResolveUser(c.root, &c.s, c.image)
			if c.err != "" {
				if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want InvalidArgument with %q", err, c.err)
				}
			} else if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// TestHostileImage resolves in images that try to have something else read.
func TestHostileImage(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("spy:x:4242:4242::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := rootfs(t, map[string]string{"etc/group": ""})
	if err := unix.Mkfifoat(int(fifo.Fd()), "etc/passwd", 0o644); err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]*os.File{
		"link out":          rootfs(t, map[string]string{"etc/passwd": "-> " + outside}),
		"link up":           rootfs(t, map[string]string{"etc/passwd": "-> ../../../../../../../../.." + outside}),
		"directory out":     rootfs(t, map[string]string{"etc": "-> " + filepath.Dir(outside)}),
		"magic link":        rootfs(t, map[string]string{"etc/passwd": "-> /proc/self/root" + outside}),
		"loop":              rootfs(t, map[string]string{"etc/passwd": "-> passwd"}),
		"directory":         rootfs(t, map[string]string{"etc/passwd/x": ""}),
		"etc is a file":     rootfs(t, map[string]string{"etc": ""}),
		"fifo":              fifo,
		"endless":           rootfs(t, map[string]string{"etc/passwd": strings.Repeat("#", maxUserFile) + "\nspy:x:4242:4242::/:/bin/sh\n"}),
		"no newline at end": rootfs(t, map[string]string{"etc/passwd": "spyx:x:1:1"}),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := ResolveUser(root, &spec.Security{}, "spy"); !errdefs.IsInvalidArgument(err) {
				t.Errorf("found %+v, %v", id, err)
			}
		})
	}
	inside := rootfs(t, map[string]string{"etc/passwd": "-> /usr/share/passwd", "usr/share/passwd": "me:x:7:8::/me:"})
	if id, err := ResolveUser(inside, &spec.Security{}, "me"); err != nil || id.UID != 7 || id.GID != 8 || id.Home != "/me" {
		t.Errorf("a link inside the root: %+v, %v", id, err)
	}
}
