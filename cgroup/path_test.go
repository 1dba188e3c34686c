package cgroup

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestPath(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		name, parent, path, dir string
		driver                  Driver
	}{
		{"none given", "", "/tare/c1", "tare/c1", DriverCgroupfs},
		{"kubelet's", "/kubepods/burstable/pod1", "/kubepods/burstable/pod1/c1", "kubepods/burstable/pod1/c1", DriverCgroupfs},
		{"slashes", "//a///b/", "/a/b/c1", "a/b/c1", DriverCgroupfs},
		{"the root", "/", "/c1", "c1", DriverCgroupfs},
		{"relative", "a/b", "", "", DriverCgroupfs},
		{"dot dot", "/a/../b", "", "", DriverCgroupfs},
		{"dot", "/a/./b", "", "", DriverCgroupfs},
		{"newline", "/a\nb", "", "", DriverCgroupfs},
		{"NUL", "/a\x00b", "", "", DriverCgroupfs},
		{"too long", "/" + long, "", "", DriverCgroupfs},
		{"a kernel file", "/a/cgroup.procs", "", "", DriverCgroupfs},
		{"a slice", "/kubepods.slice/kubepods-pod1.slice", "", "", DriverCgroupfs},
		{"a slice's name", "kubepods-pod1.slice", "", "", DriverCgroupfs},
		{"a scope", "a.slice:p:n", "", "", DriverCgroupfs},

		{"none given", "", "/system.slice/tare-p1.service/c1", "system.slice/tare-p1.service/c1", DriverSystemd},
		{"kubelet's", "/kubepods.slice/kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice/tare-p1.service/c1",
			"kubepods.slice/kubepods-pod1.slice/tare-p1.service/c1", DriverSystemd},
		{"name", "a-b_c-d.slice", "/a.slice/a-b_c.slice/a-b_c-d.slice/tare-p1.service/c1", "a.slice/a-b_c.slice/a-b_c-d.slice/tare-p1.service/c1", DriverSystemd},
		{"the root", "-.slice", "/tare-p1.service/c1", "tare-p1.service/c1", DriverSystemd},
		{"a path", "/kubepods/pod1", "", "", DriverSystemd},
		{"a path ending in .slice", "/kubepods/pod1.slice", "", "", DriverSystemd},
		{"a scope", "a.slice:p:n", "", "", DriverSystemd},
		{"dashes", "a--b.slice", "", "", DriverSystemd},
		{"only a suffix", ".slice", "", "", DriverSystemd},
		{"elsewhere", "/a/b.slice", "", "", DriverSystemd},
		{"half a path", "/b.slice/a-b.slice", "", "", DriverSystemd},
		{"a space", "a b.slice", "", "", DriverSystemd},
		{"a template", "a@b.slice", "", "", DriverSystemd},
		{"too long", long + ".slice", "", "", DriverSystemd},
	} {
		t.Run(string(c.driver)+"/"+c.name, func(t *testing.T) {
			tree := &Tree{driver: c.driver, root: map[Driver]string{DriverCgroupfs: "/tare", DriverSystemd: "system.slice"}[c.driver]}
			p, err := tree.Path(c.parent, "p1", "c1")
			if c.path == "" {
				if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "cgroup_parent") {
					t.Fatalf("Path: %q, %v, want InvalidArgument naming cgroup_parent", p, err)
				}
				return
			}
			if err != nil || string(p) != c.path {
				t.Fatalf("Path: %q, %v, want %q", p, err, c.path)
			}
			if dir, err := p.dir(); err != nil || dir != c.dir {
				t.Errorf("dir: %q, %v, want %q", dir, err, c.dir)
			}
		})
	}
}

func TestRecordedPath(t *testing.T) {
	for _, p := range []Path{"a.slice:tare:c1", "/a/../../c1", "/", "//", "", "a/b"} {
		if dir, err := p.dir(); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %q, %v, want InvalidArgument", p, dir, err)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const table = `22 28 0:21 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,clone_children,release_agent=/x
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
36 31 0:30 / /var/lib/other/memory rw - cgroup cgroup rw,memory
37 31 0:30 / /sys/fs/cgroup/again rw - cgroup cgroup rw,memory
garbage
`
	found, err := parseMounts(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range found {
		got = append(got, strings.TrimPrefix(h.mount, mountRoot)+" "+strings.Join(h.controllers, "+"))
	}
	want := []string{"/cpu,cpuacct cpu+cpuacct", "/memory memory", "/systemd ", "/unified "}
	if !slices.Equal(got, want) || !found[3].v2 {
		t.Errorf("got %q, want %q", got, want)
	}
}
