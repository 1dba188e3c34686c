package pod

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// imageStore is a snapshot of the files of a daemon's image store.
func imageStore(t *testing.T, d *daemon) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(d.path("root/images"), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		out[path] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sameStore waits until the image store has no file more than it had.
func sameStore(t *testing.T, d *daemon, before map[string]bool) {
	t.Helper()
	await(t, "the image store is as before", func() error {
		for path := range imageStore(t, d) {
			if !before[path] {
				return errors.New("there is " + path)
			}
		}
		return nil
	})
}

func TestBadPulls(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	if err := registry.WriteCertsDir(suite.certs, "127.0.0.1:1", "unreachable.tare.test"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, ref string
		code      codes.Code
		words     []string
	}{
		{"no reference", "", codes.InvalidArgument, []string{"image"}},
		{"malformed", "registry.tare.test/UPPER:tag", codes.InvalidArgument, []string{"registry.tare.test/UPPER:tag"}},
		{"malformed tag", "registry.tare.test/layers:-", codes.InvalidArgument, []string{"layers:-"}},
		{"malformed digest", "registry.tare.test/layers@sha256:12", codes.InvalidArgument, []string{"sha256:12"}},
		{"no such repository", "registry.tare.test/none:none", codes.NotFound, []string{"registry.tare.test/none:none"}},
		{"no such tag", "registry.tare.test/layers:missing", codes.NotFound, []string{"registry.tare.test/layers:missing"}},
		{"no such digest", "registry.tare.test/layers@sha256:" + strings.Repeat("0", 64), codes.NotFound, []string{"sha256:000"}},
		// The kubelet looks for the prefix with code Unknown only.
		{"unreachable registry", "unreachable.tare.test/x:y", codes.Unknown, []string{"RegistryUnavailable: ", "unreachable.tare.test/x:y"}},
		{"truncated layer", "registry.tare.test/hostile:truncated", codes.Unknown, []string{"registry.tare.test/hostile:truncated"}},
		{"corrupt layer", "registry.tare.test/hostile:corrupt", codes.DataLoss, []string{"registry.tare.test/hostile:corrupt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := imageStore(t, d)
			_, err := d.tryPull(t, tt.ref)
			refused(t, err, tt.code, tt.words...)
			if tt.name == "unreachable registry" && err != nil && !strings.Contains(err.Error(), "desc = RegistryUnavailable: ") {
				t.Errorf("error does not begin with what the kubelet looks for: %v", err)
			}
			sameStore(t, d, before)
		})
	}
	d.pull(t, layers)
}

// TestHostileImages: what an image's archive says ends up in the container, or nowhere.
func TestHostileImages(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	hostname, err := os.ReadFile("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"dotdot", "absolute", "symlink", "hardlink", "device"} {
		t.Run(tag, func(t *testing.T) {
			ref := registry.LocalHost + "/hostile:" + tag
			if _, err := d.tryPull(t, ref); err != nil {
				t.Logf("refused: %v", err)
			} else {
				c := p.start(sleeper, image(ref))
				if got := c.exec("cat /hostile"); got != tag+"\n" {
					t.Errorf("the rest of the image says %q", got)
				}
				if got := c.exec("cat /stolen 2>/dev/null || true"); got != "" && got == string(hostname) {
					t.Errorf("the container reads a file of the host")
				}
			}
			for _, dir := range []string{"/", "/tmp", suite.dir, d.path("root"), d.path("root/images")} {
				if _, err := os.Lstat(filepath.Join(dir, registry.Canary)); err == nil {
					t.Errorf("the archive has written into %s", dir)
				}
			}
		})
	}
}

// TestHostileRoots: links where the runtime mounts and writes do not lead out of the container.
func TestHostileRoots(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	outside := hostileTarget
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outside)
	for tag := range hostileLinks {
		t.Run(tag, func(t *testing.T) {
			ref := registry.LocalHost + "/links:" + tag
			d.pull(t, ref)
			config := p.containerConfig(sleeper, image(ref), func(c *runtime.ContainerConfig) { c.WorkingDir = "/link/work" },
				volume(&runtime.Mount{HostPath: t.TempDir(), ContainerPath: "/link/volume"}))
			id, err := p.tryCreate(config)
			c := &ctr{p, id, config}
			if err == nil {
				err = c.tryStart()
			}
			if err != nil {
				refused(t, err, codes.InvalidArgument)
			} else if got := c.exec("ls /proc/self/status /dev/null"); got != "/dev/null\n/proc/self/status\n" {
				t.Errorf("the container has no /proc or /dev: %q", got)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
				t.Errorf("outside of the container there is %v, %v", entries, err)
			}
		})
	}
}

// TestFullDisk: a pull that does not fit leaves the disk as it was, and says so.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	d := ownDaemon(t, options{root: root})
	free := func() uint64 {
		var st unix.Statfs_t
		if err := unix.Statfs(root, &st); err != nil {
			t.Fatal(err)
		}
		return st.Bfree * uint64(st.Bsize)
	}
	before := free()
	for range 2 {
		_, err := d.tryPull(t, "docker.io/library/nginx:latest")
		refused(t, err, codes.ResourceExhausted, "docker.io/library/nginx:latest", "no space left")
		await(t, "the disk is free again", func() error {
			if now := free(); now+256<<10 < before {
				return errors.New("it is not")
			}
			return nil
		})
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	d.pull(t, busybox)
	if _, out := d.runPod(t).output(script("echo there")); out != "there\n" {
		t.Errorf("container says %q", out)
	}
}
