package main

import (
	"strings"
	"testing"
)

// TestMistyped: a command line that is not understood is refused with a word on where to look.
func TestMistyped(t *testing.T) {
	for line, want := range map[string]string{
		"serve --lisen x": "unknown flag: --lisen (see tare serve --help)",
		"check --root":    "flag needs an argument: --root (see tare check --help)",
		"stop now":        `unknown command "now" for "tare stop" (see tare stop --help)`,
		"config check x":  `unknown command "x" for "tare config check" (see tare config check --help)`,
		"config chek":     `unknown command "chek" for "tare config" (see tare config --help)`,
		"version --json":  "unknown flag: --json (see tare version --help)",
		"serv":            "Did you mean this?",
	} {
		c := command()
		c.SetArgs(strings.Fields(line))
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tare %s: %v, want %s", line, err, want)
		}
	}
}
