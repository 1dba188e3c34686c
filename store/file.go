package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tare/crash"
	"tare/nsutil"
	"tare/spec"
)

const (
	recordSuffix = ".json"
	tempSuffix   = ".tmp"

	// formatVersion is raised when an older daemon could not read what a newer one writes.
	formatVersion = 1
)

// file is the content of a pod's file.
type file struct {
	Version int
	Pod     *Pod
	Environ map[spec.ContainerID]environ `json:",omitempty"`
}

// Broken is a record that cannot be used. Its pod exists all the same: recovery removes
// what can be found by its id, then calls Delete.
type Broken struct {
	ID  spec.PodID // from the file's name
	Err error
}

func (s *Store) path(id spec.PodID) string {
	return filepath.Join(s.dir, string(id)+recordSuffix)
}

// write makes p the content of its file. A reader of the directory sees the old file or the new
// one, whenever the daemon dies. Precondition: no other write of the same pod is under way.
func (s *Store) write(p *Pod) error {
	data, err := json.Marshal(file{formatVersion, p, saveEnviron(p)})
	if err != nil {
		return fmt.Errorf("encode record of pod %s: %w", p.ID, err)
	}
	temp := s.path(p.ID) + tempSuffix
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		os.Remove(temp) // a full tmpfs: give back what the torn write took
		return fmt.Errorf("write record of pod %s: %w", p.ID, err)
	}
	crash.Point("store.written")
	if err := os.Rename(temp, s.path(p.ID)); err != nil {
		return fmt.Errorf("commit record of pod %s: %w", p.ID, err)
	}
	return nil
}

// remove deletes the file of a pod. One that is not there is as good as removed.
func (s *Store) remove(id spec.PodID) error {
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete record of pod %s: %w", id, err)
	}
	return nil
}

// load reads every record into the index and returns those it cannot use. Temporary files are
// commits that never happened: they are removed.
func (s *Store) load() ([]Broken, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	var broken []Broken
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tempSuffix) {
			os.Remove(filepath.Join(s.dir, name))
			continue
		}
		base, ok := strings.CutSuffix(name, recordSuffix)
		if !ok {
			continue // not a record, and not ours
		}
		id := spec.PodID(base)
		err := s.loadOne(id)
		if nsutil.Scarce(err) { // says nothing about the record, whose pod may run
			return nil, fmt.Errorf("pod %s: %w", id, err)
		}
		if err != nil {
			broken = append(broken, Broken{id, err})
		}
	}
	return broken, nil
}

func (s *Store) loadOne(id spec.PodID) error {
	data, err := os.ReadFile(s.path(id))
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	p, err := decode(data)
	if err != nil {
		return err
	}
	if p.ID != id {
		return fmt.Errorf("record names pod %s", p.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(p); err != nil {
		return err
	}
	s.insert(p)
	return nil
}

func decode(data []byte) (*Pod, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	if f.Version != formatVersion {
		return nil, fmt.Errorf("decode record: version %d, this daemon reads %d", f.Version, formatVersion)
	}
	if f.Pod == nil {
		return nil, errors.New("decode record: no pod in it")
	}
	if err := f.Pod.check(); err != nil {
		return nil, err
	}
	restoreEnviron(f.Pod, f.Environ)
	return f.Pod, nil
}
