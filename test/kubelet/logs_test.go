package kubelet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// TestLogRotation follows a log through rotations and loses nothing; nor do the files.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	p := runPod(t, "rotation", "containers: [{name: c, command: "+counter("0.01")+"}]")
	p.ready()
	var seen inOrder
	err := p.follow("c", func(line string) bool {
		seen.check(line)
		return seen.fault != nil || len(p.logFiles("c")) > 3
	})
	if err := errors.Join(err, seen.fault); err != nil {
		t.Error(err)
	}
	t.Logf("%d lines through %d files", seen.next, len(p.logFiles("c")))
}

// logFiles are the files of a container's log, the current one last.
func (p *pod) logFiles(container string) []string {
	rotated, _ := filepath.Glob(node.path("logs/default_" + p.name + "_*/" + container + "/0.log.*"))
	current, _ := filepath.Glob(node.path("logs/default_" + p.name + "_*/" + container + "/0.log"))
	return append(rotated, current...)
}

// written is all that a container has written to stdout, from its one log file.
func (p *pod) written(container string) []string {
	p.t.Helper()
	var lines []string
	for _, file := range p.logFiles(container) {
		text, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4); len(parts) == 4 && parts[1] == "stdout" {
				lines = append(lines, parts[3])
			}
		}
	}
	return lines
}
