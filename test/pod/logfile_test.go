package pod

import (
	"os"
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

// logLine takes a line apart, without a regular expression: some logs are long.
func logLine(line string) (e entry, ok bool) {
	at, rest, _ := strings.Cut(line, " ")
	e.stream, rest, _ = strings.Cut(rest, " ")
	tag, rest, ok := strings.Cut(rest, " ")
	e.content, e.partial = strings.TrimSuffix(rest, "\n"), tag == "P"
	var err error
	e.at, err = time.Parse(time.RFC3339Nano, at)
	return e, ok && err == nil && (tag == "P" || tag == "F") && (e.stream == "stdout" || e.stream == "stderr")
}

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
		e, ok := logLine(line)
		if !ok {
			t.Fatalf("log %s: malformed line %q", path, line)
		}
		out = append(out, e)
	}
	return out
}
