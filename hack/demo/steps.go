package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// step does something, shows that it is under way, and then how long it took, with what came out.
func step(what string, do func() (outcome string, err error)) error {
	if terminal() {
		fmt.Printf("  … %s", what)
	}
	start := time.Now()
	outcome, err := do()
	took := time.Since(start)
	if terminal() {
		fmt.Print("\r\x1b[K")
	}
	if err != nil {
		fmt.Printf("  ✗ %s\n", what)
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("  ✓ %-42s %8.1f ms  %s\n", what, float64(took.Microseconds())/1000, outcome)
	return nil
}

func terminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	return err == nil
}

func heading(text string) { fmt.Printf("\n%s\n", text) }

// quote shows text of a program, indented.
func quote(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		fmt.Println("    │", strings.TrimRight(line, "\n"))
	}
}

// short is the beginning of an id.
func short(id string) string { return id[:min(len(id), 12)] }
