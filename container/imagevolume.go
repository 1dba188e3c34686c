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
	tree, err := mountLayers(lowers, sb.Namespaces[sandbox.User])
	if err != nil {
		return Source{}, err
	}
	o := parseOptions(m)
	if sub := o.value("subpath"); sub != "" {
		whole := tree
		defer whole.Close()
		if tree, err = subTree(whole, sub); err != nil {
			return Source{}, err
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
// there is a user namespace. One layer is itself: an overlay without a writable layer needs two.
func mountLayers(lowers []string, userns *os.File) (*os.File, error) {
	if len(lowers) > 1 {
		return overlay(lowers, userns, nil)
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

// subTree is a detached mount of what lies at a path of another. The image's links lead nowhere
// but into the image.
func subTree(tree *os.File, path string) (*os.File, error) {
	if nsutil.ProbeCloneDetached() != nil {
		attached, err := nsutil.AttachForNow(tree)
		if err != nil {
			return nil, err
		}
		defer attached.Close()
	}
	f, err := nsutil.OpenInRoot(tree, path, unix.O_PATH)
	if err != nil {
		return nil, fmt.Errorf("image_sub_path: %w", err)
	}
	defer f.Close()
	return nsutil.CloneMountFD(f, false)
}
