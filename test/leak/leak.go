// Package leak finds what a test left behind on the host: mounts, named network
// namespaces, links, nftables chains, cgroups, processes and files.
//
// A Snapshot is the set of such things at one moment, Diff what two of them do
// not share. Identity is by name, so a thing removed and made again is the same.
// Things other programs make meanwhile are found as well: tests that use this
// package want the host to themselves, or TARE_LEAK_IGNORE set to a regular
// expression of what to overlook, and TARE_LEAK_CGROUPS to the one cgroup below which
// to look.
//
// Not here: descriptors and threads of the test's own process, other than FDs.
package leak

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// Snapshot holds one line per thing found: its kind, name and what tells it from
// its like, such as "mount /run/netns/a nsfs".
type Snapshot map[string]bool

// dirs are listed in every snapshot, entry by entry, where they exist.
var dirs = []string{"/run/tare", "/var/lib/tare", "/run/netns", "/var/lib/cni", "/run/cni"}

// Take looks at the host. Files are those below more and below the directories
// the runtime and CNI plugins use by default.
func Take(more ...string) (Snapshot, error) {
	s := Snapshot{}
	for _, look := range []struct {
		kind string
		into func(Snapshot) error
	}{
		{"mounts", mounts},
		{"links", links},
		{"nftables", chains},
		{"cgroups", cgroups},
		{"processes", processes},
		{"files", func(s Snapshot) error { return files(s, append(slices.Clone(dirs), more...)) }},
	} {
		if err := look.into(s); err != nil {
			return nil, fmt.Errorf("list %s: %w", look.kind, err)
		}
	}
	return s.without(os.Getenv("TARE_LEAK_IGNORE"))
}

func (s Snapshot) without(pattern string) (Snapshot, error) {
	if pattern == "" {
		return s, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("TARE_LEAK_IGNORE: %w", err)
	}
	for line := range s {
		if re.MatchString(line) {
			delete(s, line)
		}
	}
	return s, nil
}

// add records line; the second thing of the same line gets " #2", and so on.
func (s Snapshot) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	for n, key := 2, line; ; n++ {
		if !s[key] {
			s[key] = true
			return
		}
		key = fmt.Sprintf("%s #%d", line, n)
	}
}

// Diff returns, sorted, a line "left: …" for each thing that is only in after and
// "gone: …" for each that is only in before.
func Diff(before, after Snapshot) []string {
	var lines []string
	for line := range after {
		if !before[line] {
			lines = append(lines, "left: "+line)
		}
	}
	for line := range before {
		if !after[line] {
			lines = append(lines, "gone: "+line)
		}
	}
	slices.Sort(lines)
	return lines
}

// Settle takes snapshots until one equals before or patience is over, and returns
// what still differs: clean-up may go on for a moment after a call returns.
func Settle(before Snapshot, patience time.Duration, more ...string) ([]string, error) {
	deadline := time.Now().Add(patience)
	for {
		after, err := Take(more...)
		if err != nil {
			return nil, err
		}
		lines := Diff(before, after)
		if len(lines) == 0 || time.Now().After(deadline) {
			return lines, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Check fails t if, once t and its other clean-ups that were registered later are
// over, the host is not as it is now. Call it first in a test.
func Check(t testing.TB, more ...string) {
	t.Helper()
	before, err := Take(more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lines, err := Settle(before, 5*time.Second, more...)
		if err != nil {
			t.Error(err)
		}
		for _, line := range lines {
			t.Error(line)
		}
	})
}
