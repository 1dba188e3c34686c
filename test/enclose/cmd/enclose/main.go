// Command enclose executes a program in an enclosure: for test programs outside this module.
//
//	enclose PROGRAM [ARGUMENT…]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"tare/test/enclose"
)

func main() {
	code, err := enclose.Main(execute)
	if err != nil {
		fmt.Fprintln(os.Stderr, "enclose:", err)
		code = 1
	}
	os.Exit(code)
}

func execute() (int, error) {
	if len(os.Args) < 2 {
		return 2, fmt.Errorf("usage: enclose PROGRAM [ARGUMENT…]")
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		return 1, err
	}
	return 1, fmt.Errorf("execute %s: %w", path, syscall.Exec(path, os.Args[1:], os.Environ()))
}
