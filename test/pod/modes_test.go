package pod

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// modes are the loosest modes that what the runtime makes may have, by patterns of paths below the daemon's directory; ID is
// any identifier. A path that is not here is new, and has to be thought about. What is in a writable layer and in a layer is
// the image's and the container's.
var modes = []struct {
	path string
	mode fs.FileMode
}{
	{"tare.sock", fs.ModeSocket | 0o660},  // root:root; an administrator may give it to a group
	{"nri.sock", fs.ModeSocket | 0o755},   // the library's; to connect takes the right to write, unix(7)
	{"state", fs.ModeDir | 0o711},         // where the socket is by default
	{"state/bundles", fs.ModeDir | 0o711}, // hooks in user namespaces go through to the one they are told of
	{"state/keeper.sock", fs.ModeSocket | 0o600},
	{"state/(tare.pid|keeper.pid|keeper.guard|keeper.log|daemon.json)", 0o600},
	{"state/(pods|rootfs|cni|cni/results)", fs.ModeDir | 0o700},
	{"state/pods/ID.json", 0o600},
	{"state/cni/(results/tare-ID-eth0|NAME.sysctls.json)", 0o600},
	{"root", fs.ModeDir | 0o700},
	{"root/(sandboxes|sandboxes/ID)", fs.ModeDir | 0o700},
	{"root/sandboxes/ID/(hosts|hostname|resolv.conf)", 0o644}, // read by containers' users, in a directory that is closed
	{"root/(cni|cni/leases|cni/leases/NAME|cni/attachments|containers|images|images/content|images/overlay|images/overlay/snapshots|images/overlay/snapshots/NAME)", fs.ModeDir | 0o700},
	{"root/cni/(attachments/ID.json|leases/NAME/NAME)", 0o600},
	{"root/images/(meta.db|overlay/metadata.db)", 0o600},
	{"root/images/content/(blobs|blobs/sha256|ingest)", fs.ModeDir | 0o755},
	{"root/images/content/blobs/sha256/ID", 0o444},
	{"root/images/overlay/snapshots/NAME/(fs|work)", fs.ModeDir | 0o755},
	{"root/containers/ID", fs.ModeDir | 0o755},
	{"root/containers/ID/(upper|work|work/NAME)", fs.ModeDir | 0o755}, // the container's /
	{"root/containers/ID/config.json", 0o600},
	{"netns", fs.ModeDir | 0o755}, // shared with ip netns(8)
	{"netns/tare-ID", 0o444},      // nsfs; taking it takes CAP_SYS_ADMIN
	{"(config.toml|daemon.log|net.d|bin)", fs.ModeDir | 0o755},
}

// TestModes walks all that a daemon with pods of every kind has made, and what it holds in the kernel.
func TestModes(t *testing.T) {
	before := unix.Umask(0) // what a daemon inherits must not matter
	d, err := newDaemon("modes", options{})
	unix.Umask(before)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stopAll(); err != nil {
			t.Error(err)
		}
	})
	d.pull(t, busybox)
	d.pull(t, layers)
	for _, options := range [][]podOption{nil, {onePIDs}, {inUserNS}} {
		p := d.runPod(t, options...)
		p.start(interactive(true))
		p.start(sleeper, func(c *runtime.ContainerConfig) { c.Tty = true }).run("true")
		p.create(sleeper)
	}
	err = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == d.dir {
			return err
		}
		name, err := filepath.Rel(d.dir, path)
		if err != nil {
			return err
		}
		if complaint := modeOf(name, path); complaint != "" {
			t.Error(complaint)
		}
		if regexp.MustCompile(`/(fs|upper)$`).MatchString(name) {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	d.processModes(t)
}

// modeOf says what is wrong with the mode or owner of a path.
func modeOf(name, path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return "" // has none of its own
	}
	i := slices.IndexFunc(modes, func(m struct {
		path string
		mode fs.FileMode
	}) bool {
		pattern := strings.NewReplacer(".", `\.`, "ID", "[0-9a-f]+", "NAME", `[^/]+`).Replace(m.path)
		return regexp.MustCompile("^(" + pattern + ")$").MatchString(name)
	})
	if i < 0 {
		return fmt.Sprintf("%s, %s, is in no row of the table of modes", name, info.Mode())
	}
	want := modes[i].mode
	if info.Mode().Perm()&^want.Perm() != 0 || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		return fmt.Sprintf("%s is %s, want %s at most", name, info.Mode(), want)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	if st.Uid != 0 && !strings.HasPrefix(name, "root/containers/") {
		return fmt.Sprintf("%s belongs to %d", name, st.Uid)
	}
	return ""
}

// processModes looks at the two processes: nobody but root reads their memory or takes their descriptors, and their
// cgroups' directories are root's.
func (d *daemon) processModes(t *testing.T) {
	t.Helper()
	nobody := func(args ...string) string {
		out, _ := run("setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups"}, args...)...) // the output tells
		return out
	}
	for name, pid := range map[string]int{"daemon": d.pid(), "keeper": d.keeperPID()} {
		for _, file := range []string{"mem", "environ"} {
			if out := nobody("sh", "-c", fmt.Sprintf("exec 3< /proc/%d/%s && echo opened", pid, file)); strings.Contains(out, "opened") {
				t.Errorf("%s: anybody opens %s", name, file)
			}
		}
		if out := nobody("ls", procPath(pid, "fd")+"/"); !strings.Contains(out, "denied") && out != "" {
			t.Errorf("%s: anybody lists its descriptors: %s", name, out)
		}
	}
	if owner := owner(t, procPath(d.keeperPID(), "mem")); owner != "0:0" {
		t.Errorf("the keeper's memory belongs to %s", owner)
	}
	if out := nobody("cat", d.path("state/daemon.json"), d.path("state/keeper.log")); strings.Contains(out, "{") {
		t.Errorf("anybody reads the state: %s", out)
	}
	for _, socket := range []string{"tare.sock", "nri.sock", "state/keeper.sock"} {
		if out := nobody("sh", "-c", "test -w "+d.path(socket)+" && echo opened"); strings.Contains(out, "opened") {
			t.Errorf("anybody connects to %s", socket)
		}
	}
	var dirs []string
	for _, hierarchy := range []string{"", "/*"} { // v2, v1
		found, err := filepath.Glob("/sys/fs/cgroup" + hierarchy + suite.cgroup + "/modes")
		if err != nil {
			t.Error(err)
		}
		dirs = append(dirs, found...)
	}
	if len(dirs) == 0 && *driver == "cgroupfs" {
		t.Error("there are no cgroups of the daemon")
	}
	for _, dir := range dirs {
		if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Lstat(path)
			if err == nil && (info.Mode().Perm()&0o022 != 0 || owner(t, path) != "0:0") {
				t.Errorf("%s is %s of %s", path, info.Mode(), owner(t, path))
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}
