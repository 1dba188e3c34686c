package kubelet

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait for something that is bound to come, on a machine as slow as any. Kubelets
// are slow: what fails is tried again after ten seconds.
const (
	patience = 60 * time.Second
	pollStep = 200 * time.Millisecond
)

// lasting is a time on this machine.
func lasting(d time.Duration) time.Duration { return d * time.Duration(*slower) }

// process is a program that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a program of the main module or the kubelet, with its output in a log.
func (m *machine) start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(filepath.Join(m.bin, name), args...), log: m.path(name + ".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Nowhere near anything of value: a kubelet that removes a container without a log path removes
	// every file in its working directory (pkg/kubelet/logs, Clean: the pattern is the path and "*").
	p.cmd.Dir = m.path("empty")
	if err := os.MkdirAll(p.cmd.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }() // ends with the process
	return p, nil
}

// end has a process end by a signal, and waits for it.
func (p *process) end(sig syscall.Signal) error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(lasting(patience)):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s does not end on %s", p.cmd.Path, sig)
	}
}

func (p *process) tail(lines int) string {
	text, _ := os.ReadFile(p.log) // for people only
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// serveImages starts the registry and returns when it serves.
func (m *machine) serveImages() (err error) {
	m.registry, err = m.start("registry", "-certs-dir", m.path("certs.d"))
	if err != nil {
		return err
	}
	return until("the registry serves", func() error {
		log, err := os.Open(m.registry.log)
		if err != nil {
			return err
		}
		defer log.Close()
		_, err = bufio.NewReader(log).ReadString('\n')
		return err
	})
}

// finalError is one that waiting does not cure.
type finalError struct{ error }

// until tries a condition until it holds.
func until(what string, holds func() error) error { return untilWithin(patience, what, holds) }

// untilWithin is until for what takes its time.
func untilWithin(limit time.Duration, what string, holds func() error) error {
	limit = lasting(limit)
	deadline := time.Now().Add(limit)
	for {
		err := holds()
		if err == nil {
			return nil
		}
		if _, final := errors.AsType[finalError](err); final || time.Now().After(deadline) {
			return fmt.Errorf("%s: not after %s: %w", what, limit, err)
		}
		time.Sleep(pollStep)
	}
}
