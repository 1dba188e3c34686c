package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxPiece is the most one line of a log carries.
const maxPiece = 16 << 10

func TestLogs(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	long := strings.Repeat("0123456789abcdef", 3000) // 48000 bytes: two whole pieces and a part
	tests := []struct {
		name, script   string
		tty            bool
		stdout, stderr string
	}{
		{name: "both streams", script: "echo one; echo two >&2; echo three", stdout: "one\nthree\n", stderr: "two\n"},
		{name: "empty lines", script: "echo; echo; echo x", stdout: "\n\nx\n"},
		{name: "nothing", script: "true"},
		{name: "no line break at the end", script: "printf 'one\ntwo'", stdout: "one\ntwo"},
		{name: "long line", script: "for i in $(seq 3000); do printf 0123456789abcdef; done; echo", stdout: long + "\n"},
		{name: "piece by piece", script: "printf a; usleep 20000; printf b; usleep 20000; echo c", stdout: "abc\n"},
		{name: "binary", script: `printf '\000\001\377\r\t\033[1m\n'`, stdout: "\x00\x01\xff\r\t\x1b[1m\n"},
		{name: "looks like a log", script: "echo '2026-01-01T00:00:00Z stderr F x'", stdout: "2026-01-01T00:00:00Z stderr F x\n"},
		{name: "terminal", script: "tty; echo err >&2", tty: true, stdout: "/dev/pts/0\nerr\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := p.start(script(tt.script), func(c *runtime.ContainerConfig) { c.Tty = tt.tty })
			c.finish()
			got := map[string]string{}
			var last entry
			for _, e := range readLog(t, c.logFile()) {
				if len(e.content) > maxPiece || e.partial && len(e.content) == 0 {
					t.Errorf("a piece has %d bytes", len(e.content))
				}
				if e.at.Before(last.at) {
					t.Errorf("times go back from %s to %s", last.at, e.at)
				}
				got[e.stream] += e.text()
				last = e
			}
			// The last line counts as one whether or not it ended with a line break; whether F or
			// P says that it did not, is the runtime's choice.
			if want := tt.stdout; strings.TrimSuffix(got["stdout"], "\n") != strings.TrimSuffix(want, "\n") {
				t.Errorf("stdout %q, want %q", shorten(got["stdout"]), shorten(want))
			}
			if got["stderr"] != tt.stderr {
				t.Errorf("stderr %q, want %q", got["stderr"], tt.stderr)
			}
		})
	}
}

func shorten(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s… (%d bytes)", s[:200], len(s))
	}
	return s
}

func TestLogPieces(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(script("head -c 40000 /dev/zero | tr '\\0' x; echo; echo end"))
	c.finish()
	var tags []string
	for _, e := range readLog(t, c.logFile()) {
		tags = append(tags, fmt.Sprintf("%v %d", e.partial, len(e.content)))
	}
	want := []string{"true 16384", "true 16384", "false 7232", "false 3"}
	if !slices.Equal(tags, want) {
		t.Errorf("pieces %v, want %v", tags, want)
	}
}

// TestLogReopen rotates the log of a container that writes as fast as it can.
func TestLogReopen(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(script("exec seq 300000"), func(c *runtime.ContainerConfig) { c.LogPath = "a/b/log" })
	var files []string
	for i := range 5 {
		old := fmt.Sprintf("%s.%d", c.logFile(), i)
		if err := os.Rename(c.logFile(), old); err != nil {
			t.Fatal(err)
		}
		files = append(files, old)
		if err := c.reopenLog(); err != nil {
			if c.status().State == runtime.ContainerState_CONTAINER_EXITED {
				break
			}
			t.Fatal(err)
		}
	}
	c.finish()
	n := 0
	for _, path := range append(files, c.logFile()) {
		if _, err := os.Stat(path); os.IsNotExist(err) {
			continue
		}
		for _, e := range readLog(t, path) {
			if n++; e.content != fmtInt(n) {
				t.Fatalf("%s has %q where %d should be", filepath.Base(path), e.content, n)
			}
		}
	}
	if n != 300000 {
		t.Errorf("%d lines, want 300000", n)
	}
	before := len(mustReadDir(t, filepath.Dir(c.logFile())))
	if err := c.reopenLog(); err == nil {
		t.Error("the log of a container that has exited is reopened")
	}
	if now := len(mustReadDir(t, filepath.Dir(c.logFile()))); now != before {
		t.Errorf("%d files in the log's directory, were %d", now, before)
	}
}

func mustReadDir(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestNoLog: containers without a log path, or in pods without a log directory, have none, and are
// not held up.
func TestNoLog(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	c := p.start(script("seq 100000; echo >&2 done; exit 5"), func(c *runtime.ContainerConfig) { c.LogPath = "" })
	if s := c.finish(); s.ExitCode != 5 || s.LogPath != "" {
		t.Errorf("exit code %d, log path %q", s.ExitCode, s.LogPath)
	}
	if entries := mustReadDir(t, p.config.LogDirectory); len(entries) != 0 {
		t.Errorf("files in the log directory: %v", entries)
	}
	bare := podConfig("bare")
	resp, err := p.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: bare})
	if err != nil {
		t.Fatal(err)
	}
	q := &pod{p.daemon, t, resp.PodSandboxId, bare}
	defer q.remove()
	if s := q.start(script("seq 100000; exit 5")).finish(); s.ExitCode != 5 || s.LogPath != "" {
		t.Errorf("exit code %d, log path %q", s.ExitCode, s.LogPath)
	}
}
