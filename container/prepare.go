package container

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
)

// Source is a prepared mount: a detached copy of what will be mounted, or nothing, where the
// program mounts a file system of its own.
type Source struct {
	File  *os.File // nil: mounted by the program
	IsDir bool     // what kind of place it needs
}

// Prepared holds what the host contributes to one start. Close it after the launch.
type Prepared struct {
	Rootfs  *os.File            // detached root file system
	Sources []Source            // one for each of the specification's mounts
	Nodes   map[string]*os.File // device nodes by path in the container, for pods in a user namespace
}

// Close drops what is prepared; what a program attached stays attached.
func (p *Prepared) Close() {
	if p.Rootfs != nil {
		p.Rootfs.Close()
	}
	for _, s := range p.Sources {
		if s.File != nil {
			s.File.Close()
		}
	}
	for _, f := range p.Nodes {
		f.Close()
	}
}

// Prepare makes detached copies of everything the specification binds into the container; layers
// returns the layer directories of an image, top first. ErrInvalidArgument names a host path that is
// not there, or whose propagation is not what was asked for.
func Prepare(oci *specs.Spec, sb *sandbox.Sandbox, layers func(spec.ImageID) ([]string, error)) (*Prepared, error) {
	p := &Prepared{Sources: make([]Source, len(oci.Mounts))}
	for i, m := range oci.Mounts {
		var err error
		switch m.Type {
		case "bind":
			p.Sources[i], err = bindSource(m, sb)
		case shmType:
			p.Sources[i], err = shmSource(sb)
		case imageType:
			p.Sources[i], err = imageSource(m, sb, layers)
		case hostType:
			p.Sources[i], err = hostSource(m)
		default:
			p.Sources[i] = Source{IsDir: true}
		}
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	if err := p.prepareNodes(oci, sb); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func shmSource(sb *sandbox.Sandbox) (Source, error) {
	if sb.Shm == nil {
		return Source{}, errors.New("the sandbox has no shared memory")
	}
	f, err := nsutil.CloneMountFD(sb.Shm, false)
	return Source{f, true}, err
}

// hostSource mounts a file system of the kernel for the namespaces that the daemon is in, the host's.
func hostSource(m specs.Mount) (Source, error) {
	fs, err := nsutil.FSOpen(m.Source)
	if err != nil {
		return Source{}, err
	}
	defer fs.Close()
	if err := fs.SetString("source", m.Source); err != nil {
		return Source{}, err
	}
	f, err := fs.Mount(int(parseOptions(m).attr.Set))
	return Source{f, true}, err
}

func bindSource(m specs.Mount, sb *sandbox.Sandbox) (Source, error) {
	o := parseOptions(m)
	if err := o.noData(); err != nil {
		return Source{}, err
	}
	if err := checkPropagation(m.Source, o.recursive.Propagation); err != nil {
		return Source{}, err
	}
	f, err := nsutil.CloneMount(m.Source, o.bindAll)
	if errors.Is(err, os.ErrNotExist) {
		return Source{}, fmt.Errorf("host_path: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return Source{}, err
	}
	s := Source{File: f}
	if err := s.setUp(o, len(m.UIDMappings) > 0, sb); err != nil {
		f.Close()
		return Source{}, err
	}
	return s, nil
}

// checkPropagation refuses a volume whose mounts could not travel as asked: across the border of a
// private mount none do (mount_namespaces(7); api.proto, MountPropagation).
func checkPropagation(source string, asked uint64) error {
	if asked != unix.MS_SHARED && asked != unix.MS_SLAVE {
		return nil
	}
	shared, slave, err := nsutil.Propagation(source)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("host_path: %w: %w", err, errdefs.ErrInvalidArgument)
	case err != nil:
		return err
	case asked == unix.MS_SHARED && !shared:
		return fmt.Errorf("propagation: %s is not on a shared mount: %w", source, errdefs.ErrInvalidArgument)
	case asked == unix.MS_SLAVE && !shared && !slave:
		return fmt.Errorf("propagation: %s is not on a shared or slave mount: %w", source, errdefs.ErrInvalidArgument)
	}
	return nil
}

// setUp gives the detached mount its attributes, before anybody can see it.
func (s *Source) setUp(o mountOptions, idmap bool, sb *sandbox.Sandbox) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.File.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	s.IsDir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if user := sb.Namespaces[sandbox.User]; idmap && user != nil {
		err := nsutil.IDMapMount(s.File, user, o.bindAll)
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("uidMappings: its file system, or one mounted below it, cannot show other owners: %w: %w", err, errdefs.ErrFailedPrecondition)
		}
		if err != nil {
			return fmt.Errorf("uidMappings: %w", err)
		}
	}
	if o.recursive != (nsutil.MountAttr{}) {
		if err := nsutil.SetMountAttr(s.File, o.recursive); err != nil {
			return err
		}
	}
	if o.attr != (nsutil.MountAttr{}) {
		return nsutil.SetMountAttr(s.File, o.attr)
	}
	return nil
}
