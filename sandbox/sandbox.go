package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/crash"
	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
	"tare/trace"
)

// Sandbox holds the live handles of one pod.
type Sandbox struct {
	ID    spec.PodID
	Dir   string // of the pod's files
	NetNS string // bound path, or empty with the host's network

	// Namespaces are the pod's own, by kind; a kind that is missing is the host's.
	Namespaces map[Kind]*os.File
	// Shm is the pod's detached /dev/shm, or nil: the host's.
	Shm *os.File
}

// Custody is what a sandbox needs of the keeper.
type Custody interface {
	Run(ctx context.Context, r keeper.Run) (keeper.Ran, error)
	Put(ctx context.Context, key string, files ...*os.File) error
	Get(ctx context.Context, key string) ([]*os.File, error)
	Drop(ctx context.Context, key string) error
}

// CustodyKey is the name under which the keeper keeps a pod's descriptors.
func CustodyKey(id spec.PodID) string { return "pod/" + string(id) }

// CustodyOf says whose descriptors the keeper keeps under a key.
func CustodyOf(key string) (spec.PodID, bool) {
	id, ok := strings.CutPrefix(key, "pod/")
	return spec.PodID(id), ok
}

// shmDir is where a pod's /dev/shm is attached on kernels that cannot clone a detached mount.
const shmDir = "shm"

// shmSize is the size of /dev/shm, the 64 MiB every runtime gives.
const shmSize = "65536k"

// Up makes the planned sandbox and gives the keeper duplicates of its descriptors, so that
// neither process's death takes it away. connect, which puts it on its network, is called as soon as there are
// namespaces: the kernel takes longer for it than the rest does, which is done meanwhile. spares may be nil. On error
// nothing is left but what Down removes, and what connect has made.
func (p *Plan) Up(ctx context.Context, k Custody, spares *Spares, connect func(context.Context) error) (*Sandbox, error) {
	s := &Sandbox{ID: p.ID, Dir: p.Dir, NetNS: p.NetNS, Namespaces: map[Kind]*os.File{}}
	if err := p.makeNamespaces(ctx, k, spares, s); err != nil {
		return nil, err
	}
	furnished := make(chan error, 1)
	go func() { furnished <- p.furnish(ctx, k, s) }() // ends with its answer, which is waited for
	err := connect(ctx)
	if ferr := <-furnished; err == nil {
		err = ferr
	} else if ferr != nil { // a full disk fails both
		err = fmt.Errorf("%w; %w", err, ferr)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// furnish makes what is in the sandbox beside its namespaces, and gives all into custody.
func (p *Plan) furnish(ctx context.Context, k Custody, s *Sandbox) error {
	if err := p.write(ctx); err != nil {
		return err
	}
	crash.Point("pod-up.files-written")
	if err := p.makeShm(s); err != nil {
		return err
	}
	crash.Point("pod-up.shm-made")
	if err := p.Entrust(ctx, s, k); err != nil {
		return err
	}
	crash.Point("pod-up.sandbox-entrusted")
	return nil
}

// Entrust gives the keeper duplicates of the sandbox's descriptors.
func (p *Plan) Entrust(ctx context.Context, s *Sandbox, k Custody) (err error) {
	ctx, step := trace.Start(ctx, "custody")
	defer step.End(&err)
	files := s.files(p.Kinds)
	if len(files) == 0 {
		return nil
	}
	if err := k.Put(ctx, CustodyKey(p.ID), files...); err != nil {
		return fmt.Errorf("give the sandbox into custody: %w", err)
	}
	return nil
}

func (p *Plan) makeNamespaces(ctx context.Context, k Custody, spares *Spares, s *Sandbox) (err error) {
	ctx, step := trace.Start(ctx, "namespaces")
	defer step.End(&err)
	if p.Program == nil {
		return nil
	}
	files, err := p.namespaces(ctx, k, spares)
	if err != nil {
		return err
	}
	for i, kind := range p.Kinds {
		s.Namespaces[kind] = files[i]
	}
	crash.Point("pod-up.namespaces-made")
	if p.NetNS == "" {
		return nil
	}
	if err := pin(s.Namespaces[Net], p.NetNS); err != nil {
		s.Close()
		return err
	}
	crash.Point("pod-up.netns-bound")
	return nil
}

// namespaces are spare ones, if they do and there are some, or else new ones, in the order of Kinds.
func (p *Plan) namespaces(ctx context.Context, k Custody, spares *Spares) ([]*os.File, error) {
	if p.Usual && spares != nil {
		if set := spares.take(ctx); set != nil {
			if err := p.settle(set); err != nil {
				nsutil.CloseAll(set)
				return nil, err
			}
			return set, nil
		}
	}
	return runProgram(ctx, k, keeper.Run{Key: "sandbox/" + string(p.ID), Program: p.Program, Tether: true}, len(p.Kinds))
}

// runProgram runs a program that makes n namespaces and returns them.
func runProgram(ctx context.Context, k Custody, r keeper.Run, n int) ([]*os.File, error) {
	ran, err := k.Run(ctx, r)
	if err != nil {
		return nil, explain(err)
	}
	ran.PidFD.Close()
	if len(ran.Given) != n {
		nsutil.CloseAll(ran.Given)
		return nil, fmt.Errorf("make namespaces: got %d of %d descriptors", len(ran.Given), n)
	}
	return ran.Given, nil
}

// explain names what the request is to blame for and only the kernel knows: a sysctl that it does not have, or
// whose value it does not take; a clock that would have to show a time before its start or too far ahead.
func explain(err error) error {
	oe, ok := errors.AsType[*nsutil.OpError](err)
	switch {
	case ok && oe.Name == nsutil.OpSysctl:
		return fmt.Errorf("linux.sysctls: %w: %w", err, errdefs.ErrInvalidArgument)
	case ok && strings.Contains(oe.Detail, offsetsFile) && oe.Errno == unix.ERANGE:
		return fmt.Errorf("annotations[%q], annotations[%q]: a clock would be below zero or go beyond 146 years: %w: %w",
			spec.MonotonicOffsetAnnotation, spec.BoottimeOffsetAnnotation, err, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("make namespaces: %w", err)
}

// pin binds a namespace to a path, which keeps it reachable by name.
func pin(ns *os.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("pin network namespace: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("pin network namespace: %w", err)
	}
	f.Close()
	crash.Point("pod-up.netns-file-made")
	if err := nsutil.BindFile(ns, path); err != nil {
		return fmt.Errorf("pin network namespace: %w", err)
	}
	return nil
}

func (p *Plan) makeShm(s *Sandbox) error {
	if !p.Shm {
		return nil
	}
	fs, err := nsutil.FSOpen("tmpfs")
	if err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	defer fs.Close()
	for _, o := range [][2]string{{"size", shmSize}, {"mode", "1777"}, {"uid", fmt.Sprint(p.ShmUID)}, {"gid", fmt.Sprint(p.ShmGID)}, {"source", "shm"}} {
		if err := fs.SetString(o[0], o[1]); err != nil {
			return fmt.Errorf("make /dev/shm: %w", err)
		}
	}
	if p.Label != "" {
		if err := fs.SetString("context", p.Label); err != nil {
			return fmt.Errorf("make /dev/shm: %w", err)
		}
	}
	s.Shm, err = fs.Mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	if nsutil.ProbeCloneDetached() == nil {
		return nil
	}
	return p.attachShm(s.Shm)
}

// attachShm puts the /dev/shm into the host's mount table, where an older kernel clones it from.
func (p *Plan) attachShm(shm *os.File) error {
	dir := filepath.Join(p.Dir, shmDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("attach /dev/shm: %w", err)
	}
	return nsutil.AttachMount(shm, dir)
}

// files lists the descriptors in the order in which Adopt finds them again.
func (s *Sandbox) files(kinds []Kind) []*os.File {
	var out []*os.File
	for _, k := range kinds {
		out = append(out, s.Namespaces[k])
	}
	if s.Shm != nil {
		out = append(out, s.Shm)
	}
	return out
}

// Adopt finds the sandbox that an earlier daemon made and the keeper still holds.
func (p *Plan) Adopt(ctx context.Context, k Custody) (*Sandbox, error) {
	s := &Sandbox{ID: p.ID, Dir: p.Dir, NetNS: p.NetNS, Namespaces: map[Kind]*os.File{}}
	want := len(p.Kinds)
	if p.Shm {
		want++
	}
	if want == 0 {
		return s, nil
	}
	files, err := k.Get(ctx, CustodyKey(p.ID))
	if err != nil {
		return nil, fmt.Errorf("adopt sandbox: %w", err)
	}
	if len(files) != want {
		nsutil.CloseAll(files)
		return nil, fmt.Errorf("adopt sandbox: keeper holds %d of %d descriptors", len(files), want)
	}
	for i, kind := range p.Kinds {
		s.Namespaces[kind] = files[i]
	}
	if p.Shm {
		s.Shm = files[len(p.Kinds)]
	}
	return s, nil
}

// Inodes are the numbers by which the kernel tells namespaces apart (namespaces(7)).
func (s *Sandbox) Inodes() (map[string]uint64, error) {
	out := map[string]uint64{}
	for kind, f := range s.Namespaces {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return nil, &os.PathError{Op: "stat namespace", Path: string(kind), Err: err}
		}
		out[string(kind)] = st.Ino
	}
	return out, nil
}

// Close lets go of the handles; the sandbox itself stays while the keeper holds its own.
func (s *Sandbox) Close() {
	for _, f := range s.Namespaces {
		f.Close()
	}
	if s.Shm != nil {
		s.Shm.Close()
	}
}

// Release gives up the namespaces and the path they are bound at. Idempotent; what a process
// still uses stays in the kernel until that process ends.
func Release(ctx context.Context, id spec.PodID, l Layout, k Custody) error {
	dropped := k.Drop(ctx, CustodyKey(id))
	crash.Point("pod-down.custody-dropped")
	return errors.Join(dropped, unpin(l.NetNSPath(id)))
}

// Remove deletes the pod's files. Idempotent.
func Remove(id spec.PodID, l Layout) error {
	if err := nsutil.Unmount(filepath.Join(l.PodDir(id), shmDir)); err != nil {
		return err
	}
	if err := os.RemoveAll(l.PodDir(id)); err != nil {
		return fmt.Errorf("remove sandbox directory: %w", err)
	}
	return nil
}

func unpin(path string) error {
	if err := nsutil.Unmount(path); err != nil {
		return err
	}
	crash.Point("pod-down.netns-unmounted")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("unpin network namespace: %w", err)
	}
	return nil
}
