// Command leak writes a snapshot of the host to a file, or compares the host with
// one: for scripts and for test programs outside this module.
//
//	leak take FILE [DIR…]
//	leak diff FILE [DIR…]   prints what differs; status 1 if anything does
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"tare/test/leak"
)

// patience is how long diff waits for clean-up to finish.
const patience = 5 * time.Second

func main() {
	lines, err := run(os.Args[1:])
	for _, line := range lines {
		fmt.Println(line)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "leak:", err)
		os.Exit(2)
	case len(lines) > 0:
		os.Exit(1)
	}
}

func run(args []string) ([]string, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("usage: leak take|diff FILE [DIR…]")
	}
	verb, file, dirs := args[0], args[1], args[2:]
	switch verb {
	case "take":
		s, err := leak.Take(dirs...)
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		return nil, os.WriteFile(file, data, 0o644)
	case "diff":
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var before leak.Snapshot
		if err := json.Unmarshal(data, &before); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return leak.Settle(before, patience, dirs...)
	}
	return nil, fmt.Errorf("unknown verb %q", verb)
}
