package pod

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logRow is a log directory as it may be found, and a path for a log in it.
type logRow struct {
	name string
	make func() error // what is there before the start; relative to the directory
	path string
	file string // where the log then is; empty: the start is refused
	word string // what the refusal says
}

// check runs a container that logs one line in a pod of its own. Nothing may be in outside.
func (r logRow) check(t *testing.T, outside string) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if r.make != nil {
		if err := r.make(); err != nil {
			t.Fatal(err)
		}
	}
	p := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.LogDirectory = dir })
	c := p.create(script("echo text"), func(c *runtime.ContainerConfig) { c.LogPath = r.path })
	err := c.tryStart()
	if r.file == "" {
		refused(t, err, codes.InvalidArgument, r.word)
		if s := c.status(); s.Reason != "StartError" || s.ExitCode != 128 {
			t.Errorf("reason %q, exit code %d", s.Reason, s.ExitCode)
		}
		for _, elsewhere := range []string{outside, filepath.Dir(dir)} {
			if _, err := os.Stat(filepath.Join(elsewhere, "log")); err == nil {
				t.Errorf("there is a log in %s", elsewhere)
			}
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	c.finish()
	if data, err := os.ReadFile(filepath.Join(dir, r.file)); err != nil || !strings.HasSuffix(string(data), " stdout F text\n") {
		t.Errorf("the log is %q, %v", data, err)
	}
}

func TestLogPathRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	outside := t.TempDir()
	link := func(target, name string) func() error {
		return func() error { return os.Symlink(target, name) }
	}
	for _, tt := range []logRow{
		{name: "a file", path: "log", file: "log"},
		{name: "directories that are not there", path: "a/b/log", file: "a/b/log"},
		{name: "dots", path: "./a/../b//log", file: "b/log"},
		{name: "a link within", path: "a/log", file: "b/log", make: func() error {
			return errors.Join(os.Mkdir("b", 0o755), os.Symlink("b", "a"))
		}},
		{name: "no log directory", path: "log", file: "log", make: func() error { return os.Remove("../logs") }},
		{name: "a link to a file elsewhere", path: "log", word: "log_path", make: link(filepath.Join(outside, "log"), "log")},
		{name: "a link to a directory elsewhere", path: "a/log", word: "log_path", make: link(outside, "a")},
		{name: "a link that goes up", path: "a/log", word: "log_path", make: link("..", "a")},
		{name: "a link to itself", path: "log", word: "log_path", make: link("log", "log")},
		{name: "a directory", path: "log", word: "log_path", make: func() error { return os.Mkdir("log", 0o755) }},
		{name: "below a file", path: "a/log", word: "log_path", make: func() error { return os.WriteFile("a", nil, 0o644) }},
		{name: "a name too long", path: strings.Repeat("l", 256), word: "log_path"},
		{name: "a FIFO", path: "log", word: "log_path", make: func() error { return syscall.Mkfifo("log", 0o666) }},
		{name: "a device", path: "log", word: "regular file", make: func() error { return syscall.Mknod("log", syscall.S_IFCHR|0o666, 1<<8|3) }}, // null(4)
		{name: "a log directory that is a file", path: "log", word: "log_directory", make: func() error {
			return errors.Join(os.Remove("../logs"), os.WriteFile("../logs", nil, 0o644))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.check(t, outside) })
	}
}

// TestLogReopenRefused: what is no log does not become one; the container goes on with the one it has.
func TestLogReopenRefused(t *testing.T) {
	leavesNothing(t, suite.shared)
	outside := filepath.Join(t.TempDir(), "outside")
	c := suite.shared.runPod(t).start(interactive(true), script("while read x; do echo $x; done"))
	s := c.attach(asked{stdin: true})
	rotated := c.logFile() + ".1"
	for name, replace := range map[string]func() error{
		"link": func() error { return os.Symlink(outside, c.logFile()) },
		"FIFO": func() error { return syscall.Mkfifo(c.logFile(), 0o666) },
	} {
		if err := errors.Join(os.Rename(c.logFile(), rotated), replace()); err != nil {
			t.Fatal(err)
		}
		refused(t, c.reopenLog(), codes.InvalidArgument, "log_path")
		if err := os.Rename(rotated, c.logFile()); err != nil {
			t.Fatal(err)
		}
		s.types(name + "\n")
		c.says(name)
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a link was followed")
	}
	s.stdin.Close()
	c.finish()
}
