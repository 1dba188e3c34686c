package container

import (
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/nsutil"
	"tare/sandbox"
	"tare/spec"
)

// CheckImages finds image volumes whose path is not in the image, before anything is started: a broken
// pod is better told at create. Only volumes with a path cost anything.
func CheckImages(oci *specs.Spec, sb *sandbox.Sandbox, layers func(spec.ImageID) ([]string, error)) error {
	for _, m := range oci.Mounts {
		if m.Type != imageType || parseOptions(m).value("subpath") == "" {
			continue
		}
		s, err := imageSource(m, sb, layers)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		s.File.Close()
	}
	return nil
}

// imageSource is an image as a volume (KEP-4639): its layers, or a path in them, read-only. Whatever
// fails carries ErrImageVolumeMountFailed, which the kubelet looks for.
func imageSource(m specs.Mount, sb *sandbox.Sandbox, layers func(spec.ImageID) ([]string, error)) (Source, error) {
	s, err := imageVolume(m, sb, layers)
	if err != nil {
		return Source{}, fmt.Errorf("%w: %w", spec.ErrImageVolumeMountFailed, err)
	}
	return s, nil
}

func imageVolume(m specs.Mount, sb *sandbox.Sandbox, layers func(spec.ImageID) ([]string, error)) (Source, error) {
	lowers, err := layers(spec.ImageID(m.Source))
	if err != nil {
		return Source{}, err
	}
	o := parseOptions(m)
	tree, err := mountLayers(lowers, sb.Namespaces[sandbox.User], o.value(contextOption))
	if err != nil {
		return Source{}, err
	}
	if sub := o.value("subpath"); sub != "" {
		whole := tree
		defer whole.Close()
		if tree, err = subTree(whole, sub); err != nil {
			return Source{}, fmt.Errorf("image_sub_path: %w", err)
		}
	}
	s := Source{File: tree}
	o.attr.Set |= unix.MOUNT_ATTR_RDONLY
	if err := s.setUp(o, false, sb); err != nil {
		tree.Close()
		return Source{}, err
	}
	return s, nil
}

// mountLayers shows an image's layers, top first, as one detached mount; through idmapped mounts if
// there is a user namespace. One layer is itself, with the labels its files have: an overlay without a
// writable layer needs two.
func mountLayers(lowers []string, userns *os.File, label string) (*os.File, error) {
	if len(lowers) > 1 {
		return overlay(lowers, userns, func(fs *nsutil.FSContext) error { return setLabel(fs, label) })
	}
	tree, err := nsutil.CloneMount(lowers[0], false)
	if err != nil || userns == nil {
		return tree, err
	}
	if err := nsutil.IDMapMount(tree, userns, false); err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}

// subTree is a detached mount of what lies at a path of another. Links in it lead nowhere but into it.
func subTree(tree *os.File, path string) (*os.File, error) {
	attached, err := inSight(tree)
	if err != nil {
		return nil, err
	}
	defer attached.Close()
	return cloneAt(tree, path)
}

// inSight attaches a detached mount for now, where the kernel clones only what is attached; else it is nil.
func inSight(tree *os.File) (*nsutil.Attachment, error) {
	if nsutil.ProbeCloneDetached() == nil {
		return nil, nil
	}
	return nsutil.AttachForNow(tree)
}

func cloneAt(tree *os.File, path string) (*os.File, error) {
	f, err := nsutil.OpenInRoot(tree, path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return nsutil.CloneMountFD(f, false)
}
