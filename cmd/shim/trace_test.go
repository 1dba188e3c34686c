package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTraceErrors: who asks the wrong thing, or nobody, is told what to do.
func TestTraceErrors(t *testing.T) {
	state := t.TempDir()
	listen := "unix://" + filepath.Join(state, "tare.sock")
	if err := os.WriteFile(filepath.Join(state, settingsName), []byte(`{"Listen": "`+listen+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no pod", nil, "name one pod by its id"},
		{"an empty id", []string{""}, "name one pod by its id"},
		{"two pods", []string{"a", "b"}, "name one pod by its id"},
		{"no daemon ever", []string{"--state", filepath.Join(state, "none"), "a"}, "no daemon has run with the state directory"},
		{"no daemon now", []string{"--state", state, "a"}, "no daemon runs with the state directory " + state},
	} {
		c := traceCommand()
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(tt.args)
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "rpc error") {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}
