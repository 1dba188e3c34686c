package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCarry has a file without a name replaced by what is at its path.
func TestCarry(t *testing.T) {
	stamped := func(second, text string) string { return "2026-01-01T00:00:" + second + "Z stdout F " + text + "\n" }
	older, other := stamped("01", "one")+stamped("02.5", "two"), stamped("07", "other")
	lost := strings.Repeat(stamped("02.51", "three"), 3) + stamped("03", "four")
	long := stamped("02", strings.Repeat("x", maxContent))
	for _, c := range []struct {
		name, path string
		named      bool
		want       string
	}{
		{name: "put back", path: older, want: older + lost},
		{name: "put back, after a long record", path: long, want: long + lost},
		{name: "some of it was carried", path: older + lost[:50], want: older + lost},
		{name: "lines were carried", path: older + lost[:2*len(stamped("02.51", "three"))], want: older + lost},
		{name: "all of it was carried", path: older + lost, want: older + lost},
		{name: "new file", path: "", want: ""},
		{name: "a copy", path: lost, want: lost},
		{name: "an edited copy", path: strings.ReplaceAll(lost, "four", "***"), want: strings.ReplaceAll(lost, "four", "***")},
		{name: "an edited end", path: older + stamped("02.51", "***"), want: older + stamped("02.51", "***")},
		{name: "later lines", path: other, want: other},
		{name: "no log", path: "text", want: "text"},
		{name: "it has a name", path: older, named: true, want: older},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path, new := filepath.Join(dir, "log"), filepath.Join(dir, "new")
			from, err := os.OpenFile(new, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := from.WriteString(lost); err != nil {
				t.Fatal(err)
			}
			if !c.named {
				if err := os.Remove(new); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(path, []byte(c.path), 0o600); err != nil {
				t.Fatal(err)
			}
			to, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			l := New(from, Host{Spool: spool(t), Failed: func(err error) { t.Error(err) }})
			if err := l.Reopen(to); err != nil {
				t.Fatal(err)
			}
			l.Close()
			if got, err := os.ReadFile(path); err != nil || string(got) != c.want || l.Dropped() != 0 {
				t.Errorf("%q, %v, %d bytes dropped; want %q", got, err, l.Dropped(), c.want)
			}
		})
	}
}
