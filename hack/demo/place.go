package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tare/hack/node"
)

const (
	// workName is the demo's own directory below Root. That it is there says that a demo was killed,
	// and that a later one may remove what it left.
	workName = ".demo"
	// ownName is a file in it: the demo has made Root, too.
	ownName = "root-is-mine"
)

// place is where the demo's daemon keeps things.
type place struct {
	node.Options
	ownRoot bool // the demo made Root, and removes it
}

// newPlace finds the paths, makes sure that no other daemon uses them, and removes what a demo
// that was killed has left.
func newPlace(dir string) (*place, error) {
	p := &place{Options: node.Options{
		Socket: "/run/tare/tare.sock", State: "/run/tare", Root: "/var/lib/tare",
		Bridge: "tare0", Subnet: "10.88.0.0/16", Cgroup: "/tare",
	}}
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		p.Options = node.Options{
			Socket: abs + "/tare.sock", State: abs + "/state", Root: abs + "/root",
			Bridge: "taredemo0", Subnet: "10.89.0.0/16", Cgroup: "/tare-demo",
		}
	}
	p.Work = filepath.Join(p.Root, workName)
	if err := p.vacate(); err != nil {
		return nil, err
	}
	return p, p.make()
}

// vacate clears the place.
func (p *place) vacate() error {
	if locked(filepath.Join(p.State, "tare.pid")) {
		return fmt.Errorf("a daemon runs with the state directory %s, and the demo would be in its way: stop it first (bin/tare stop --state %[1]s), or try bin/demo --dir DIR", p.State)
	}
	if _, err := os.Stat(p.Work); err == nil {
		fmt.Println("  removing what an earlier demo left")
		_, err := os.Stat(filepath.Join(p.Work, ownName))
		p.ownRoot = err == nil
		return errors.Join(node.StopAll(p.Options), p.remove())
	}
	if _, err := os.Stat(filepath.Join(p.State, "daemon.json")); err == nil {
		return fmt.Errorf("a daemon that is stopped has left pods in %s: start it again, or end them (bin/tare stop --all --state %[1]s), or try bin/demo --dir DIR", p.State)
	}
	return nil
}

// make makes the directories.
func (p *place) make() error {
	_, err := os.Stat(p.Root)
	p.ownRoot = errors.Is(err, fs.ErrNotExist) // else it holds somebody's images, which stay
	if err := os.MkdirAll(p.Root, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(p.Work, 0o700); err != nil {
		return err
	}
	if !p.ownRoot {
		return nil
	}
	return os.WriteFile(filepath.Join(p.Work, ownName), nil, 0o600)
}

// remove removes the directories that are the demo's.
func (p *place) remove() error {
	errs := []error{os.RemoveAll(p.Work)}
	if p.ownRoot {
		errs = append(errs, os.RemoveAll(p.Root))
	}
	return errors.Join(errs...)
}

// locked tells whether a daemon holds its state directory.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}
