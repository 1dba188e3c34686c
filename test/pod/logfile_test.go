package pod

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// entry is one line of a log (KEP-1447: time, stream, tag, content).
type entry struct {
	at      time.Time
	stream  string
	partial bool
	content string
}

// text is the content with the line break that it ended with.
func (e entry) text() string {
	if e.partial {
		return e.content
	}
	return e.content + "\n"
}

var logLine = regexp.MustCompile(`(?s)^(\S+) (stdout|stderr) ([PF]) (.*)\n$`)

// readLog reads a whole log; a line that is not as it has to be is an error. A last line without
// its end is being written.
func readLog(t *testing.T, path string) []entry {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []entry
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		m := logLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("log %s: malformed line %q", path, line)
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			t.Fatalf("log %s: %v", path, err)
		}
		out = append(out, entry{at, m[2], m[3] == "P", m[4]})
	}
	return out
}
