package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// race is a volume that an attacker's container shares with those of a victim that start. In the volume, a and b change
// places all the time, one of them a link that leads out.
type race struct {
	name   string
	isFile bool // a is a file, not a directory with a directory x in it
	victim func(t *testing.T) []option
}

// races are the places in a volume that the runtime is told to use.
var races = []race{
	{"mount target", false, func(t *testing.T) []option {
		return []option{volume(&runtime.Mount{HostPath: t.TempDir(), ContainerPath: "/vol/a/x/target"})}
	}},
	{"mount target in disguise", false, func(t *testing.T) []option {
		return []option{volume(&runtime.Mount{HostPath: t.TempDir(), ContainerPath: "/vol/a/x/../../a/target"})}
	}},
	{"mount target that is a file", false, func(t *testing.T) []option {
		return []option{volume(&runtime.Mount{HostPath: "/etc/hostname", ContainerPath: "/vol/a/x/file", Readonly: true})}
	}},
	{"termination message", true, func(t *testing.T) []option {
		file := filepath.Join(t.TempDir(), "message")
		writeFile(t, file, "")
		return []option{volume(&runtime.Mount{HostPath: file, ContainerPath: "/vol/a"})}
	}},
	{"masked path", false, func(*testing.T) []option { return []option{paths([]string{"/vol/a", "/vol/a/x"}, nil)} }},
	{"masked file", true, func(*testing.T) []option { return []option{paths([]string{"/vol/a"}, nil)} }},
	{"read-only path", false, func(*testing.T) []option { return []option{paths(nil, []string{"/vol/a/x", "/vol/a"})} }},
	{"working directory", false, func(*testing.T) []option {
		return []option{func(c *runtime.ContainerConfig) { c.WorkingDir = "/vol/a/x/work" }}
	}},
	{"device", false, func(*testing.T) []option { return []option{device("/dev/full", "/vol/a/x/device", "r")} }},
	{"device in the place of a file", true, func(*testing.T) []option { return []option{device("/dev/full", "/vol/a", "r")} }},
	{"image volume", false, func(*testing.T) []option {
		return []option{volume(&runtime.Mount{Image: &runtime.ImageSpec{Image: layers}, Readonly: true, ContainerPath: "/vol/a/x/image"})}
	}},
}

func paths(masked, readonly []string) option {
	return secured(func(s *runtime.LinuxContainerSecurityContext) { s.MaskedPaths, s.ReadonlyPaths = masked, readonly })
}

// leads are where the link leads.
func leads(o *outside) []string {
	return []string{
		o.dir, climb + o.dir[1:], "/proc/1/root" + o.dir, "/proc/self/fd/6" + strings.Repeat("/..", 12) + o.dir,
		"/proc/sys/kernel", "/proc/self", "/proc/self/exe", "/proc/self/attr", "/dev", "/sys/fs/cgroup",
	}
}

// fileLeads are where the link leads that is exchanged with a file.
func fileLeads(o *outside) []string {
	return []string{
		o.canary, climb + o.canary[1:], "/proc/1/root" + o.canary, "/proc/self/exe", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
		"/proc/self/attr/exec", "/proc/self/oom_score_adj", "/dev/null",
	}
}

// TestRacePlaces starts containers while places in their volume change under them: each start works or is refused, and
// nothing outside of the container is mounted on, made, written or changed.
func TestRacePlaces(t *testing.T) {
	suite.shared.pull(t, layers)
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	keeper := fileOf(t, filepath.Join(suite.bin, "keeper"))
	for name, options := range users {
		p := suite.shared.runPod(t, options...)
		for _, r := range races {
			t.Run(strings.TrimSpace(r.name+" "+name), func(t *testing.T) {
				q := *p
				q.t = t
				to := leads(o)
				if r.isFile {
					to = fileLeads(o)
				}
				for _, target := range some(to) {
					r.run(&q, o, target)
				}
				if now := fileOf(t, filepath.Join(suite.bin, "keeper")); now != keeper {
					t.Errorf("the keeper's file was %s, and is %s", keeper, now)
				}
			})
		}
	}
}

// turn is where some goes on.
var turn int

// some are all targets of a link, or in short two, each time others.
func some(targets []string) []string {
	if *full {
		return targets
	}
	turn += 2
	return []string{targets[turn%len(targets)], targets[(turn+1)%len(targets)]}
}

// fileOf is what chmod, chown and writes change of a file.
func fileOf(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%o %d:%d, %d bytes of %d.%d", st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
}

// run races for a place with one target of the link.
func (r race) run(p *pod, o *outside, target string) {
	t := p.t
	vol := raceDir(t, r.isFile, target)
	shared := volume(&runtime.Mount{HostPath: vol, ContainerPath: "/vol"})
	attacker := p.start(command("/attack", "swap", "/vol/a", "/vol/b"), attack(), shared)
	victim := append([]option{command("true"), shared}, r.victim(t)...)
	seen := map[bool]bool{}
	for range rounds(5) {
		c := p.create(victim...)
		info, err := os.Lstat(filepath.Join(vol, "a"))
		if err != nil {
			t.Fatal(err)
		}
		seen[info.Mode()&os.ModeSymlink != 0] = true
		if err := c.tryStart(); err != nil && !raced(err) {
			t.Errorf("link to %s: %v", target, err)
		}
		o.check()
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
	}
	attacker.races(vol, seen)
	attacker.stop(0)
	if err := attacker.tryRemove(); err != nil {
		t.Error(err)
	}
}

// raceDir is a volume that anybody may write to.
func raceDir(t *testing.T, isFile bool, target string) string {
	t.Helper()
	vol := t.TempDir()
	if isFile {
		writeFile(t, filepath.Join(vol, "a"), "")
	} else if err := os.MkdirAll(filepath.Join(vol, "a/x"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(vol, "b")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a", "a/x"} {
		_ = os.Chmod(filepath.Join(vol, name), 0o777) // not all are there
	}
	return vol
}

// raced says whether an error is one that a change of places explains: the request is then at fault.
func raced(err error) bool {
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.FailedPrecondition || code == codes.Unknown
}

// races makes sure that the attacker was at work: a is now this, now that.
func (c *ctr) races(vol string, seen map[bool]bool) {
	c.t.Helper()
	await(c.t, "places are exchanged", func() error {
		info, err := os.Lstat(filepath.Join(vol, "a"))
		if err != nil {
			return finalError{err}
		}
		if seen[info.Mode()&os.ModeSymlink != 0] = true; len(seen) < 2 {
			return errors.New("they are not: " + c.logged("stdout"))
		}
		return nil
	})
}

// TestRaceDevices gives a container a /dev in which an attacker exchanges what the runtime puts there: null, console, and
// where terminals are.
func TestRaceDevices(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	for name, options := range users {
		p := suite.shared.runPod(t, options...)
		for _, file := range []string{"null", "console", "ptmx", "fd", "tty", "pts", "shm"} {
			t.Run(strings.TrimSpace(file+" "+name), func(t *testing.T) {
				q := *p
				q.t = t
				for _, target := range some(fileLeads(o)) {
					q.raceDev(o, file, target)
				}
			})
		}
	}
}

func (p *pod) raceDev(o *outside, file, target string) {
	t := p.t
	vol := raceDir(t, true, target)
	attacker := p.start(attack(), volume(&runtime.Mount{HostPath: vol, ContainerPath: "/vol"}), script("touch /vol/"+file+"; exec /attack swap /vol/"+file+" /vol/b"))
	await(t, "the attacker has begun", func() error { _, err := os.Lstat(filepath.Join(vol, file)); return err })
	for i := range rounds(2) {
		c := p.create(command("true"), volume(&runtime.Mount{HostPath: vol, ContainerPath: "/dev"}), func(c *runtime.ContainerConfig) { c.Tty = i%2 == 0 },
			paths([]string{"/proc/kcore", "/proc/timer_list"}, []string{"/proc/sys", "/proc/sysrq-trigger"}))
		if err := c.tryStart(); err != nil && !raced(err) {
			t.Errorf("link to %s: %v", target, err)
		}
		o.check()
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
	}
	attacker.stop(0)
	if err := attacker.tryRemove(); err != nil {
		t.Error(err)
	}
}

// TestRaceLogs has an attacker who may write to the pod's log directory exchange it under the runtime, at starts and when
// logs are opened again.
func TestRaceLogs(t *testing.T) {
	leavesNothing(t, suite.shared)
	o := unharmed(t)
	for _, target := range []string{o.dir, climb + o.dir[1:], "/proc/self/fd", "/dev"} {
		t.Run(target, func(t *testing.T) {
			vol := raceDir(t, false, target)
			p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.LogDirectory = vol })
			attacker := p.start(command("/attack", "swap", "/vol/a", "/vol/b"), attack(), volume(&runtime.Mount{HostPath: vol, ContainerPath: "/vol"}))
			at := func(c *runtime.ContainerConfig) { c.LogPath = "a/x/log" }
			for range rounds(15) {
				c := p.create(script("echo line; sleep 1000000"), at)
				err := c.tryStart()
				if err != nil && !raced(err) {
					t.Error(err)
				}
				if err == nil {
					if err := c.reopenLog(); err != nil && !raced(err) {
						t.Error(err)
					}
				}
				o.check()
				if err := c.tryRemove(); err != nil {
					t.Error(err)
				}
			}
			attacker.races(vol, map[bool]bool{})
			attacker.stop(0)
		})
	}
}

// TestRaceIsOne: what looks before it makes a directory by a path, is led out by the same attacker.
func TestRaceIsOne(t *testing.T) {
	leavesNothing(t, suite.shared)
	elsewhere := t.TempDir()
	vol := raceDir(t, false, elsewhere)
	attacker := suite.shared.runPod(t).start(command("/attack", "swap", "/vol/a", "/vol/b"), attack(), volume(&runtime.Mount{HostPath: vol, ContainerPath: "/vol"}))
	await(t, "a directory is made elsewhere", func() error {
		path := filepath.Join(vol, "a")
		for range 1000 {
			if info, err := os.Lstat(path); err != nil || !info.IsDir() {
				continue
			}
			_ = os.Mkdir(filepath.Join(path, "made"), 0o755) // may be there
			if len(mustReadDir(t, elsewhere)) > 0 {
				return nil
			}
		}
		return errors.New("none yet: " + attacker.logged("stdout"))
	})
}
