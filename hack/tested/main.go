// Command tested makes of what "go test -json" prints, on its standard input, what people read: as go test
// prints it by itself, or all with -v. With -skips it adds a line to a file for each test that was skipped,
// which go test alone does not tell.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is a line of test2json's, "go doc test2json".
type event struct {
	Action, Package, Test, Output string
}

// reader is who reads the events.
type reader struct {
	verbose bool
	out     io.Writer
	skips   io.Writer
	held    map[string][]string // what tests that run have printed
}

func main() {
	verbose := flag.Bool("v", false, "print what passing tests print, too")
	file := flag.String("skips", os.DevNull, "file that a line for each skipped test is added to")
	flag.Parse()
	skips, err := os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		r := reader{*verbose, os.Stdout, skips, map[string][]string{}}
		err = errors.Join(r.read(os.Stdin), skips.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tested:", err)
		os.Exit(1)
	}
}

// read takes all events. What is none is printed as it is.
func (r reader) read(events io.Reader) error {
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadString('\n')
		if e := (event{}); json.Unmarshal([]byte(line), &e) == nil {
			r.take(e)
		} else {
			fmt.Fprint(r.out, line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r reader) take(e event) {
	name := e.Package + "." + e.Test
	switch {
	case strings.HasPrefix(e.Output, "=== "): // which test runs
	case e.Action == "output" && e.Test != "":
		r.held[name] = append(r.held[name], e.Output)
		if r.verbose {
			fmt.Fprint(r.out, e.Output)
		}
	case e.Output != "" && e.Output != "PASS\n":
		fmt.Fprint(r.out, e.Output)
	case e.Action == "skip" && e.Test != "":
		fmt.Fprintf(r.skips, "%s: %s\n", name, reason(r.held[name]))
		delete(r.held, name)
	case e.Action == "fail":
		r.fail(e, name)
	case e.Action == "pass":
		delete(r.held, name)
	}
}

// fail prints what a test that failed has printed; of a package, what tests had that it ended in.
func (r reader) fail(e event, name string) {
	for held, lines := range r.held {
		if held != name && (e.Test != "" || !strings.HasPrefix(held, name)) {
			continue
		}
		if !r.verbose {
			fmt.Fprint(r.out, strings.Join(lines, ""))
		}
		delete(r.held, held)
	}
}

// reason is the last that a skipped test said, without its place.
func reason(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if _, text, found := strings.Cut(lines[i], "_test.go:"); found {
			_, text, _ = strings.Cut(text, ": ")
			return strings.TrimSpace(text)
		}
	}
	return "no reason given"
}
