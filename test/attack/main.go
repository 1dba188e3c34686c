package main

import (
	"fmt"
	"os"
)

// moves are the subcommands; each returns an error that says what kept it.
var moves = map[string]func(args []string) error{
	"swap": swap, "stop": stop, "trace": trace, "hunt": hunt,
	"overwrite": overwrite, "handle": handle, "abstract": abstract, "keyring": keyring,
	"breed": breed, "calls": calls, "pass": pass, "release": release, "push": push, "possess": possess,
}

func main() {
	if len(os.Args) < 2 || moves[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: attack MOVE [ARGUMENT...]")
		os.Exit(2)
	}
	if err := moves[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println("held:", err)
		os.Exit(1)
	}
}

// escaped tells of a success, which is a failure of the runtime.
func escaped(format string, args ...any) { fmt.Printf("escaped: "+format+"\n", args...) }
