package kubelet

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// counter prints numbers, for ever, as fast as the pause after each hundred lets it.
func counter(pause string) string {
	return `[sh, -c, "i=0; while :; do seq $i $((i+99)); i=$((i+100)); sleep ` + pause + `; done"]`
}

// follow reads a container's log as it is written, through the kubelet, until enough says so.
func (p *pod) follow(container string, enough func(line string) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), lasting(patience))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, kubeletURL("/containerLogs/default/"+p.name+"/"+container+"?follow=true"), nil)
	if err != nil {
		return err
	}
	resp, err := node.kubeletAPI.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if enough(lines.Text()) {
			return nil
		}
	}
	return errors.Join(errors.New("the log ends"), lines.Err())
}

// inOrder tells of the first number that does not follow the one before it.
type inOrder struct {
	next  int
	fault error
}

func (o *inOrder) check(line string) {
	n, err := strconv.Atoi(line)
	if o.fault == nil && (err != nil || n != o.next) {
		o.fault = fmt.Errorf("line %q after %d", line, o.next-1)
	}
	o.next++
}

// TestLogRotation follows a log through rotations, of which the earlier are compressed. The files have all of it; a kubelet's follower
// may lose what is written between its last read and the rename (pkg/kubelet's tail of a log
// goes on with the new file at once).
func TestLogRotation(t *testing.T) {
	t.Parallel()
	p := runPod(t, "rotation", "containers: [{name: c, command: "+counter("0.01")+"}]")
	p.ready()
	last, lines := -1, 0
	err := p.follow("c", func(line string) bool {
		n, err := strconv.Atoi(line)
		if err != nil || n <= last {
			t.Errorf("line %q follows %d", line, last)
		}
		last, lines = n, lines+1
		files := p.logFiles("c")
		return t.Failed() || len(files) > 3 && slices.ContainsFunc(files, compressed)
	})
	if err != nil {
		t.Error(err)
	}
	var seen inOrder
	for _, line := range p.written("c") {
		seen.check(line)
	}
	if seen.fault != nil {
		t.Error(seen.fault)
	}
	t.Logf("%d lines followed, %d in %d files", lines, seen.next, len(p.logFiles("c")))
}

// logFiles are the files of a container's log, the current one last.
func (p *pod) logFiles(container string) []string {
	rotated, _ := filepath.Glob(node.path("logs/default_" + p.name + "_*/" + container + "/0.log.*"))
	rotated = slices.DeleteFunc(rotated, func(name string) bool { return strings.HasSuffix(name, ".tmp") }) // being compressed
	current, _ := filepath.Glob(node.path("logs/default_" + p.name + "_*/" + container + "/0.log"))
	return append(rotated, current...)
}

// written is all that a container has written to stdout, from the files of its log. Those may be
// renamed meanwhile: it is tried again until none was.
func (p *pod) written(container string) (lines []string) {
	p.t.Helper()
	err := until("the log is read", func() error {
		lines = nil
		files := p.logFiles(container)
		for _, file := range files {
			text, err := readLog(file)
			if err != nil {
				return err
			}
			for line := range strings.Lines(text) {
				if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4); len(parts) == 4 && parts[1] == "stdout" && strings.HasSuffix(line, "\n") {
					lines = append(lines, parts[3])
				}
			}
		}
		if !slices.Equal(files, p.logFiles(container)) {
			return errors.New("the files have changed")
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return lines
}

func compressed(path string) bool { return strings.HasSuffix(path, ".gz") }

// readLog reads a file of a log, which the kubelet compresses when there are more.
func readLog(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var text io.Reader = file
	if compressed(path) {
		if text, err = gzip.NewReader(file); err != nil {
			return "", err
		}
	}
	all, err := io.ReadAll(text)
	return string(all), err
}
