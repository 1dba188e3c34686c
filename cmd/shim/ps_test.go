package main

import (
	"strings"
	"testing"
)

func TestWriteRows(t *testing.T) {
	host := namespacesOf("self")
	rows := []podRow{
		{
			id: "bbbbbbbbbbbbbbbb", name: "default/web", state: "ready", ip: "10.88.0.2",
			namespaces: map[string]uint64{"net": 1, "ipc": 2, "uts": 3},
			containers: []containerRow{
				{id: "cccccccccccccccc", name: "app", state: "running", pid: 7,
					namespaces: map[string]uint64{"user": host["user"], "net": 1, "ipc": 2, "uts": 3, "pid": 4, "mnt": 5, "cgroup": 6}},
				{id: "dddddddddddddddd", name: "done", state: "exited"},
			},
		},
		{id: "aaaaaaaaaaaaaaaa", name: "default/old", state: "notready"},
	}
	var out strings.Builder
	if err := writeRows(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ID NAME STATE PID IP user net ipc uts pid mnt cgroup",
		"aaaaaaaaaaaa default/old notready - - - -",
		"bbbbbbbbbbbb default/web ready 10.88.0.2 host 1 2 3",
		"cccccccccccc app running 7 host pod pod pod 4 5 6",
		"dddddddddddd done exited - - - - - - - -",
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i := range max(len(lines), len(want)) {
		var got, expected string
		if i < len(lines) {
			got = strings.Join(strings.Fields(lines[i]), " ")
		}
		if i < len(want) {
			expected = want[i]
		}
		if got != expected {
			t.Errorf("line %d: %q, want %q", i, got, expected)
		}
	}
}
