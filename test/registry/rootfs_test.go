package registry

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// unpack extracts repo:tag below a temporary directory.
func unpack(t *testing.T, repo, tag string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	cmd := exec.Command("tar", "-xp", "--same-owner", "-C", dir)
	rootfs := mutate.Extract(find(t, repo, tag))
	defer rootfs.Close()
	cmd.Stdin = rootfs
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s:%s: %v\n%s", repo, tag, err, out)
	}
	return dir
}

func find(t *testing.T, repo, tag string) v1.Image {
	t.Helper()
	for _, e := range catalog(t).Entries {
		if e.Repo != repo || !strings.Contains(" "+strings.Join(e.Tags, " ")+" ", " "+tag+" ") {
			continue
		}
		if e.Image != nil {
			return e.Image
		}
		idx, err := e.Index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		img, err := e.Index.Image(idx.Manifests[1].Digest)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	t.Fatalf("no image %s:%s", repo, tag)
	return nil
}

// inside runs a shell command in new namespaces with dir as root, the way
// critest's containers do.
func inside(t *testing.T, dir, script string, wrap ...string) string {
	t.Helper()
	const setup = `ip link set lo up; mkdir -p "$0/dev" "$0/proc"
mount -t tmpfs dev "$0/dev"; touch "$0/dev/null"; mount --bind /dev/null "$0/dev/null"
mount -t proc proc "$0/proc"
ln -s /proc/self/fd/1 "$0/dev/stdout"; ln -s /proc/self/fd/2 "$0/dev/stderr"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=$0; script=$1; shift; exec "$@" chroot $USERSPEC "$root" sh -c "$script"`
	args := append([]string{"-m", "-n", "-i", "-u", "-p", "-f", "--kill-child", "sh", "-c", setup, dir, script}, wrap...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), "USERSPEC=")
	if len(wrap) > 0 {
		cmd.Env = append(os.Environ(), "USERSPEC=--userspec=1000:1000")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func TestPrograms(t *testing.T) {
	plain := []string{"env"}
	noNewPrivs := []string{"setpriv", "--no-new-privs"}
	nonewprivs := find(t, e2e+"nonewprivs", "1.3")
	config, err := nonewprivs.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	effective := config.Config.Cmd[2]
	const fetch = "; i=0; until wget -qO- http://127.0.0.1:%; do i=$((i+1)); [ $i -lt 50 ] || exit 1; usleep 100000; done"
	for _, c := range []struct {
		name, repo, tag, script string
		wrap                    []string
		want                    string
	}{
		{"applets", e2e + "busybox", "1.29-2", "echo $(id -u):$(hostname >/dev/null && ls -A /sbin | wc -l)", nil, "0:0\n"},
		{"shared memory", e2e + "busybox", "1.29-2", "ipcmk -M 1024 && ipcs -m", nil, "1024"},
		{"pgrep", e2e + "busybox", "1.29-2", "sleep 60 & pgrep sleep && kill %1", nil, "\n"},
		{"group of the image", staging + "test-image-predefined-group", "latest", "id default-user", nil, "50000(group-defined-in-image)"},
		{"set-user-id", e2e + "nonewprivs", "1.3", effective, plain, "Effective uid: 0\n"},
		{"set-user-id, no new privileges", e2e + "nonewprivs", "1.3", effective, noNewPrivs, "Effective uid: 1000\n"},
		{"nginx", e2e + "nginx", "1.14-2", "nginx" + strings.ReplaceAll(fetch, "%", "80") + "; cat /proc/$(cat /var/run/nginx.pid)/cmdline", nil, "nginx: master process"},
		{"nginx on 12003", staging + "hostnet-nginx", "latest", "nginx" + strings.ReplaceAll(fetch, "%", "12003"), nil, "Welcome to nginx"},
		{"httpd", e2e + "httpd", "2.4.39-4", "sh -c 'echo httpd: ready; exec httpd -f -p 80 -h /var/www' &" + strings.ReplaceAll(fetch, "%", "80")[1:], nil, "httpd: ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out := inside(t, unpack(t, c.repo, c.tag), c.script, c.wrap...); !strings.Contains(out, c.want) {
				t.Errorf("got %q, want %q in it", out, c.want)
			}
		})
	}
}

// TestLayersWant holds the table other packages test their unpacking with against
// go-containerregistry's.
func TestLayersWant(t *testing.T) {
	for _, tag := range []string{"gzip", "zstd", "none"} {
		dir := unpack(t, "layers", tag)
		for path, want := range LayersWant {
			got, err := os.ReadFile(filepath.Join(dir, path))
			if want == "" {
				if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
					t.Errorf("%s: %s exists", tag, path)
				}
				continue
			}
			if err != nil || string(got) != want {
				t.Errorf("%s: %s: %q, %v; want %q", tag, path, got, err, want)
			}
		}
	}
}

func TestMissingProgram(t *testing.T) {
	tr := newTree()
	tr.program("x", "/nonexistent/nginx", 0o755)
	if _, err := tr.archive(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "Debian package nginx") {
		t.Errorf("got %v, want the Debian package named", err)
	}
}

func TestWrap(t *testing.T) {
	var asked int
	s, err := Serve(catalog(t), Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			next.ServeHTTP(w, r)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + s.Addr() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("%d requests seen, want 1", asked)
	}
}
