package pod

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// escapeDir is a directory of the host that archives and configurations of registry.LocalHost/escape lead to.
const escapeDir = "/tmp/tare-pod-escape"

// file is an entry of a layer.
type file struct {
	tar.Header
	data string
}

func regular(name, data string) file { return file{tar.Header{Name: name, Mode: 0o644}, data} }

func symlink(name, target string) file {
	return file{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) file {
	return file{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

func node(name string, kind byte, major, minor int64) file {
	return file{tar.Header{Typeflag: kind, Name: name, Mode: 0o666, Devmajor: major, Devminor: minor}, ""}
}

// climb leads to the root of the host from wherever a layer is unpacked.
var climb = strings.Repeat("../", 24)

// escapeLayers are archives that do more than fill their layer, by the tag of their image. Each has /hostile, too.
var escapeLayers = map[string][]file{
	"names": {
		regular(climb+escapeDir[1:]+"/new", "dotdot"), regular(escapeDir+"/new", "absolute"), regular("a/"+climb+escapeDir[1:]+"/new", "within"),
		regular("./..//"+climb+escapeDir+"/new", "in disguise"),
	},
	"write-through": {
		symlink("out", escapeDir), regular("out/new", "by a link"), symlink("file", escapeDir+"/canary"), regular("file", "by a link to a file"),
		symlink("one", climb), symlink("two", "one/"+escapeDir[1:]), regular("two/new", "by a chain"),
	},
	"dir-over-link":  {symlink("out", escapeDir), file{tar.Header{Typeflag: tar.TypeDir, Name: "out/", Mode: 0o700}, ""}, regular("out/new", "")},
	"hardlinks":      {hardlink("stolen", climb+escapeDir[1:]+"/canary"), hardlink("stolen2", escapeDir+"/canary")},
	"hardlink-write": {symlink("s", escapeDir+"/canary"), hardlink("h", "s"), regular("h", "by a hard link to a link")},
	"hardlink-mode":  {symlink("s", escapeDir), file{tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "s/canary", Mode: 0o777}, ""}},
	"whiteouts": {
		regular(climb+escapeDir[1:]+"/.wh.canary", ""), symlink("out", escapeDir), regular("out/.wh.canary", ""), regular("out/.wh..wh..opq", ""),
		regular(escapeDir+"/.wh..wh..opq", ""),
	},
	"whiteout-dots": {regular(".wh..", ""), regular("a/.wh...", ""), regular("a/.wh.", "")},
	"devices":       {node("etc/disk", tar.TypeBlock, 254, 0), node("etc/mem", tar.TypeChar, 1, 1), node("etc/fifo", tar.TypeFifo, 0, 0)},
	"modes":         {symlink("out", escapeDir+"/canary"), file{tar.Header{Typeflag: tar.TypeReg, Name: "out", Mode: 0o6777, Uid: 7, Gid: 7}, ""}},
}

// userFiles are /etc/passwd and /etc/group as no image should have them, and what becomes of a container whose image
// says USER victim:victims: its ids, or what the refusal says.
var userFiles = []struct {
	tag           string
	passwd, group file
	want          string
}{
	{"plain", regular("etc/passwd", "victim:x:1000:1000::/:\n"), regular("etc/group", "victims:x:2000:\n"), "1000 2000"},
	{"no-newline", regular("etc/passwd", "victim:x:1000:1000::/:"), regular("etc/group", "victims:x:2000:"), "1000 2000"},
	{"overflow", regular("etc/passwd", "victim:x:4294967296:4294967296::/:\n"), regular("etc/group", "victims:x:2000:\n"), "victim"},
	{"negative", regular("etc/passwd", "victim:x:-1:-1::/:\n"), regular("etc/group", "victims:x:2000:\n"), "victim"},
	{"unchanged", regular("etc/passwd", "victim:x:4294967295:1000::/:\n"), regular("etc/group", "victims:x:2000:\n"), "victim"}, // -1 of setresuid(2)
	{"group-negative", regular("etc/passwd", "victim:x:1000:1000::/:\n"), regular("etc/group", "victims:x:-2000:\n"), "victims"},
	{"no-number", regular("etc/passwd", "victim:x::::/:\n"), regular("etc/group", "victims:x:2000:\n"), "victim"},
	{"nul", regular("etc/passwd", "victim:x:0\x000:1000::/:\n"), regular("etc/group", "victims:x:2000:\n"), "victim"},
	{"huge", regular("etc/passwd", strings.Repeat("x", 2<<20)), regular("etc/group", ""), "larger than"},
	{"long-line", regular("etc/passwd", strings.Repeat("x", 500<<10)+"\nvictim:x:1000:1000::/:\n"), regular("etc/group", "victims:x:2000:\n"), "1000 2000"},
	{"fifo", node("etc/passwd", tar.TypeFifo, 0, 0), regular("etc/group", "victims:x:2000:\n"), "not a regular file"},
	{"device", node("etc/passwd", tar.TypeChar, 1, 5), regular("etc/group", "victims:x:2000:\n"), "not a regular file"}, // zero(4)
	{"link-out", symlink("etc/passwd", climb+"etc/passwd"), regular("etc/group", "victims:x:2000:\n"), "symbolic links"},
	{"magic-link", symlink("etc/passwd", "/proc/self/environ"), regular("etc/group", "victims:x:2000:\n"), "victim"},
}

// hostileConfigs are configurations of images, and what the refusal says; empty: the container starts, and nothing
// happens outside of it.
var hostileConfigs = []struct {
	tag    string
	config v1.Config
	want   string
}{
	{"user-overflow", v1.Config{User: "4294967296"}, "4294967296"}, // CVE-2024-40635: it became 0
	{"user-beyond", v1.Config{User: "2147483648"}, "2147483648"},
	{"user-unchanged", v1.Config{User: "4294967295:0"}, "4294967295"},
	{"user-negative", v1.Config{User: "-1"}, "-1"},
	{"user-many-digits", v1.Config{User: strings.Repeat("9", 40)}, "9999"},
	{"user-of-host", v1.Config{User: "../../etc/passwd"}, "passwd"},
	{"group-overflow", v1.Config{User: "0:4294967296"}, "4294967296"},
	{"workdir-descriptor", v1.Config{WorkingDir: "/proc/self/fd/7"}, "/proc/self/fd/7"},
	{"workdir-root", v1.Config{WorkingDir: "/proc/1/root" + escapeDir}, "/proc/1/root"},
	{"workdir-up", v1.Config{WorkingDir: climb + escapeDir[1:]}, ""},
	{"workdir-link", v1.Config{WorkingDir: "/out/new"}, ""}, // in the image, /out leads to the host's directory
	{"volumes", v1.Config{Volumes: map[string]struct{}{"/proc": {}, "/": {}, "../../.." + escapeDir: {}, "/out/volume": {}}}, ""},
	{"entrypoint-descriptor", v1.Config{Entrypoint: []string{"/proc/self/fd/7/" + climb + "bin/sh"}}, "/proc/self/fd/7"},
	{"loader", v1.Config{Env: []string{"LD_PRELOAD=/hostile", "PATH=/out:/bin", "A", "=B", strings.Repeat("C", 100<<10) + "=D"}}, ""},
	{"stop-signal", v1.Config{StopSignal: "SIGKILL; rm -rf /"}, ""},
	{"labels", v1.Config{Labels: map[string]string{"io.kubernetes.container.name": "x", "../../x": strings.Repeat("y", 1<<20)}}, ""},
}

// escapeImages are the images registry.LocalHost/escape.
func escapeImages(base v1.Layer) ([]registry.Entry, error) {
	var out []registry.Entry
	var errs []error
	image := func(tag string, config v1.Config, files ...file) {
		layer, err := layerOf(append([]file{regular("hostile", tag+"\n"), symlink("out", escapeDir)}, files...))
		if err == nil {
			var img v1.Image
			if img, err = imageOf(config, base, layer); err == nil {
				out = append(out, registry.Entry{Repo: "escape", Tags: []string{tag}, Image: img})
			}
		}
		errs = append(errs, err)
	}
	for tag, files := range escapeLayers {
		image(tag, v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}, files...)
	}
	for _, u := range userFiles {
		image("users-"+u.tag, v1.Config{Env: []string{"PATH=/bin"}, User: "victim:victims"}, u.passwd, u.group)
	}
	for _, h := range hostileConfigs {
		h.config.Env = append([]string{"PATH=/bin"}, h.config.Env...)
		if h.config.Cmd = []string{"1000000"}; h.config.Entrypoint == nil {
			h.config.Entrypoint = []string{"sleep"}
		}
		image("config-"+h.tag, h.config)
	}
	mounts, err := mountsImage(base)
	out = append(out, registry.Entry{Repo: "escape", Tags: []string{"mounts"}, Image: mounts})
	texts, terr := textImages(base)
	return append(out, texts...), errors.Join(append(errs, err, terr)...)
}

func archive(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		f.Size, f.Format = int64(len(f.data)), tar.FormatPAX
		if f.Typeflag == 0 {
			f.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

func layerOf(files []file) (v1.Layer, error) {
	data, err := archive(files)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, tarball.WithMediaType(types.OCILayer))
}

// escapeTarget makes escapeDir with a file in it, which has to be the only one when the test is over.
func escapeTarget(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(escapeDir, 0o755); err != nil {
		t.Fatal(err)
	}
	o := &outside{t: t, dir: escapeDir, canary: filepath.Join(escapeDir, "canary"), names: []string{"canary"}}
	writeFile(t, o.canary, canaryText)
	t.Cleanup(func() {
		o.check()
		if err := os.RemoveAll(escapeDir); err != nil {
			t.Error(err)
		}
	})
}

// TestEscapeLayers: what a layer's archive says ends up in the layer, or nowhere. That the archives are what they are
// made for, is seen by a tar that believes them, in a root of its own.
func TestEscapeLayers(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	unharmed(t)
	escapeTarget(t)
	p := d.runPod(t)
	for _, tag := range slices.Sorted(maps.Keys(escapeLayers)) {
		t.Run(tag, func(t *testing.T) {
			ref := registry.LocalHost + "/escape:" + tag
			defer d.removeImage(t, ref)
			if _, err := d.tryPull(t, ref); err != nil {
				t.Logf("refused: %v", err)
				return
			}
			q := *p
			q.t = t
			c := q.start(sleeper, image(ref))
			if got := c.exec("cat /hostile"); got != tag+"\n" {
				t.Errorf("the rest of the image says %q", got)
			}
			if got := c.exec("cat /stolen /stolen2 /h 2>/dev/null; true"); strings.Contains(got, canaryText) {
				t.Errorf("the container reads a file of the host")
			}
			c.keeps("sh", "-c", "dd if=/etc/disk of=/dev/null bs=1 count=1 || dd if=/etc/mem of=/dev/null bs=1 count=1")
			c.exec("echo written | tee /h /file /out /one /two >/dev/null 2>&1; true")
		})
	}
	t.Run("tar believes them", func(t *testing.T) {
		for _, tag := range []string{"names", "write-through", "hardlinks"} {
			if !believed(t, escapeLayers[tag]) {
				t.Errorf("%s: a tar that follows names and links leaves nothing of it outside: the archive is no attack", tag)
			}
		}
	})
}

// believed says whether an archive, unpacked by a tar that takes it as it is, reaches out of the directory: in a mount
// namespace where /tmp is another one.
func believed(t *testing.T, files []file) bool {
	t.Helper()
	data, err := archive(files)
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /tmp && mkdir -p /tmp/layer $0 && printf %s "$1" > $0/canary
		tar -C /tmp/layer -xPf - 2>/dev/null
		test "$(ls -A $0)" != canary || test "$(cat $0/canary)" != "$1" || test "$(stat -c %h,%u $0/canary)" != 1,0`, escapeDir, canaryText)
	unpack.Stdin = bytes.NewReader(data)
	return unpack.Run() == nil
}

// TestEscapeUserFiles: what an image's users and groups cannot be, a container does not run as.
func TestEscapeUserFiles(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	escapeTarget(t)
	p := d.runPod(t)
	for _, u := range userFiles {
		t.Run(u.tag, func(t *testing.T) {
			q := *p
			q.t = t
			q.startsAs(registry.LocalHost+"/escape:users-"+u.tag, script("echo $(id -u) $(id -g)"), u.want, func(c *ctr) {
				c.finish()
				if got := c.logged("stdout"); got != u.want+"\n" {
					t.Errorf("it runs as %q, want %s", got, u.want)
				}
			})
		})
	}
}

// startsAs creates and starts a container of an image, and looks at it, or finds it refused with a word.
func (p *pod) startsAs(ref string, change option, word string, look func(*ctr)) {
	p.t.Helper()
	if _, err := p.tryPull(p.t, ref); err != nil {
		refused(p.t, err, codes.InvalidArgument, word)
		return
	}
	defer p.removeImage(p.t, ref)
	config := p.containerConfig(image(ref), change)
	id, err := p.tryCreate(config)
	c := &ctr{p, id, config}
	if err == nil {
		err = c.tryStart()
		defer c.tryRemove()
	}
	if err != nil {
		refused(p.t, err, codes.InvalidArgument, word)
		return
	}
	look(c)
}

// TestEscapeHostileConfigs: nor is there anything in an image's configuration that leads out of its container.
func TestEscapeHostileConfigs(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	unharmed(t)
	escapeTarget(t)
	for name, options := range users {
		p := d.runPod(t, options...)
		for _, h := range hostileConfigs {
			t.Run(name+" "+h.tag, func(t *testing.T) {
				q := *p
				q.t = t
				q.startsAs(registry.LocalHost+"/escape:config-"+h.tag, func(*runtime.ContainerConfig) {}, h.want, func(c *ctr) {
					if h.want != "" {
						t.Errorf("it starts, and should be refused for %q", h.want)
					}
					if cwd, err := os.Readlink(procPath(c.pid(), "cwd")); err != nil || strings.Contains(cwd, suite.dir) {
						t.Errorf("working directory %s, %v", cwd, err)
					}
					c.exec("touch new; test -d /proc/self")
				})
			})
		}
	}
}
