package cri

import (
	"slices"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

var propagations = map[runtime.MountPropagation]spec.Propagation{
	runtime.MountPropagation_PROPAGATION_PRIVATE:           spec.PropagatePrivate,
	runtime.MountPropagation_PROPAGATION_HOST_TO_CONTAINER: spec.PropagateHostToContain,
	runtime.MountPropagation_PROPAGATION_BIDIRECTIONAL:     spec.PropagateBidirectional,
}

func mounts(wire []*runtime.Mount, at field) ([]spec.Mount, error) {
	var out []spec.Mount
	for i, w := range wire {
		m, err := mount(w, at.at(i))
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// mount converts one volume. Its paths are kept as they are written: the kubelet finds the
// termination message's mount in a status by its container path.
func mount(w *runtime.Mount, at field) (spec.Mount, error) {
	if w == nil {
		return spec.Mount{}, at.errorf("must not be empty")
	}
	m := spec.Mount{
		ContainerPath: w.ContainerPath, HostPath: w.HostPath, Readonly: w.Readonly,
		RecursiveReadonly: w.RecursiveReadOnly, SELinuxRelabel: w.SelinuxRelabel,
	}
	if err := at.sub("container_path").absolute(w.ContainerPath); err != nil {
		return m, err
	}
	for _, convert := range []func(*runtime.Mount, field, *spec.Mount) error{
		mountSource, mountPropagation, mountIDs, mountOptions,
	} {
		if err := convert(w, at, &m); err != nil {
			return m, err
		}
	}
	return m, nil
}

// mountSource converts what is mounted: a path of the host, or an image, which is read-only by
// definition (KEP-4639) and has no mounts to exchange with anybody.
func mountSource(w *runtime.Mount, at field, m *spec.Mount) error {
	// Without an image it means nothing, but a kubelet sends the sub-path of any volume here, once a
	// pod has an image volume (makeMounts in pkg/kubelet/kubelet_pods.go).
	m.ImageSubPath = w.ImageSubPath
	if err := at.sub("image_sub_path").within(w.ImageSubPath); err != nil {
		return err
	}
	image := w.GetImage().GetImage()
	if image == "" {
		return at.sub("host_path").absolute(w.HostPath)
	}
	switch {
	case w.HostPath != "":
		return at.sub("host_path").errorf("cannot go with image")
	case !w.Readonly:
		return at.sub("readonly").errorf("must be true: an image is mounted read-only")
	case w.Propagation != runtime.MountPropagation_PROPAGATION_PRIVATE:
		return at.sub("propagation").errorf("cannot go with image")
	}
	if err := at.sub("image").sub("image").text(image); err != nil {
		return err
	}
	m.Image, m.UserImage = image, w.Image.UserSpecifiedImage
	return nil
}

// mountPropagation converts propagation and what it excludes (api.proto, Mount.recursive_read_only).
func mountPropagation(w *runtime.Mount, at field, m *spec.Mount) error {
	var ok bool
	if m.Propagation, ok = propagations[w.Propagation]; !ok {
		return at.sub("propagation").errorf("%d is not known", w.Propagation)
	}
	if !w.RecursiveReadOnly {
		return nil
	}
	rro := at.sub("recursive_read_only")
	if !m.Readonly {
		return rro.errorf("needs readonly")
	}
	if m.Propagation != spec.PropagatePrivate {
		return rro.errorf("needs propagation PROPAGATION_PRIVATE")
	}
	return nil
}

func mountIDs(w *runtime.Mount, at field, m *spec.Mount) (err error) {
	if (len(w.UidMappings) == 0) != (len(w.GidMappings) == 0) {
		return at.errorf("uidMappings and gidMappings go together")
	}
	if m.UID, err = idMaps(w.UidMappings, at.sub("uidMappings")); err != nil {
		return err
	}
	m.GID, err = idMaps(w.GidMappings, at.sub("gidMappings"))
	return err
}

func mountOptions(w *runtime.Mount, at field, m *spec.Mount) error {
	for i, option := range w.MountOptions {
		if slices.Contains(w.MountOptions[:i], option) {
			return at.sub("mount_options").at(i).errorf("%q is given twice", option)
		}
		switch option {
		case "noexec":
			m.NoExec = true
		case "nodev":
			m.NoDev = true
		case "nosuid":
			m.NoSUID = true
		default:
			return at.sub("mount_options").at(i).errorf("%q is not supported", option)
		}
	}
	return nil
}

// wireMounts is mounts backwards. Images are those that the mounts name, in their order: what
// was resolved at create is what is mounted, whatever the name means by now (KEP-5365).
func wireMounts(mounts []spec.Mount, images []spec.ImageID) []*runtime.Mount {
	var out []*runtime.Mount
	for i := range mounts {
		w := wireMount(&mounts[i])
		if w.Image != nil && len(images) > 0 {
			w.Image.ImageRef = string(images[0])
			images = images[1:]
		}
		out = append(out, w)
	}
	return out
}

func wireMount(m *spec.Mount) *runtime.Mount {
	w := &runtime.Mount{
		ContainerPath: m.ContainerPath, HostPath: m.HostPath, Readonly: m.Readonly,
		RecursiveReadOnly: m.RecursiveReadonly, SelinuxRelabel: m.SELinuxRelabel,
		UidMappings: wireIDMaps(m.UID), GidMappings: wireIDMaps(m.GID), ImageSubPath: m.ImageSubPath,
	}
	for wire, p := range propagations {
		if p == m.Propagation {
			w.Propagation = wire
		}
	}
	if m.Image != "" {
		w.Image = &runtime.ImageSpec{Image: m.Image, UserSpecifiedImage: m.UserImage}
	}
	for _, o := range []struct {
		set  bool
		name string
	}{{m.NoExec, "noexec"}, {m.NoDev, "nodev"}, {m.NoSUID, "nosuid"}} {
		if o.set {
			w.MountOptions = append(w.MountOptions, o.name)
		}
	}
	return w
}

func wireIDMaps(maps []spec.IDMap) []*runtime.IDMapping {
	var out []*runtime.IDMapping
	for _, m := range maps {
		out = append(out, &runtime.IDMapping{ContainerId: m.Container, HostId: m.Host, Length: m.Length})
	}
	return out
}
