package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"tare/nsutil"
	"tare/spec"

	"github.com/containernetworking/cni/libcni"
)

// record is what is kept of an attachment from before its ADD until after its DEL: everything
// that DEL and CHECK have to be given the same as ADD was (CNI SPEC.md, "DEL").
type record struct {
	Pod    spec.PodID
	NetNS  string
	Config json.RawMessage // the configuration list as used
	Args   [][2]string     // CNI_ARGS
	// Capabilities are the capability arguments by name.
	Capabilities map[string]any
}

// runtimeConf is the record in libcni's words.
func (r *record) runtimeConf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID:    string(r.Pod),
		NetNS:          r.NetNS,
		IfName:         interfaceName,
		Args:           r.Args,
		CapabilityArgs: r.Capabilities,
	}
}

// records is a directory with one file per attachment, written once. One cut short by a crash
// stands for an ADD that never began, so no rename is needed. Not synced to the disk: after a
// power loss no pod is alive, and what is left of one on the disk (leases) is found by the GC
// verb.
type records struct{ dir string }

const recordSuffix = ".json"

func openRecords(dir string) (records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return records{}, fmt.Errorf("open attachments: %w", err)
	}
	return records{dir}, nil
}

func (d records) path(id spec.PodID) string { return filepath.Join(d.dir, string(id)+recordSuffix) }

// write makes the record of an attachment.
func (d records) write(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record attachment: %w", err)
	}
	if err := os.WriteFile(d.path(r.Pod), data, 0o600); err != nil {
		return fmt.Errorf("record attachment: %w", errors.Join(err, d.remove(r.Pod)))
	}
	return nil
}

// read returns nil for an attachment that is not there.
func (d records) read(id spec.PodID) (*record, error) {
	data, err := os.ReadFile(d.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read attachment: %w", err)
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read attachment %s: %w", d.path(id), err)
	}
	return r, nil
}

func (d records) remove(id spec.PodID) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget attachment: %w", err)
	}
	return nil
}

// list reads every record. One that cannot be read is of no use to any DEL: it is removed and
// what it stood for is left to the GC verb.
func (d records) list(log *slog.Logger) ([]*record, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	var list []*record
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), recordSuffix)
		if !ok {
			continue // not ours
		}
		r, err := d.read(spec.PodID(id))
		switch {
		case nsutil.Scarce(err): // says nothing about the record, whose pod may run
			return nil, err
		case err != nil:
			log.Error("network attachment unreadable, dropped", "pod", id, "err", err)
			if err := d.remove(spec.PodID(id)); err != nil {
				return nil, err
			}
		case r != nil:
			list = append(list, r)
		}
	}
	return list, nil
}
