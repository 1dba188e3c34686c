package lifecycle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"tare/cgroup"
	"tare/container"
	"tare/crash"
	"tare/nri"
	"tare/sandbox"
	"tare/security"
	"tare/spec"
	"tare/store"
	"tare/trace"
)

// CreateContainer makes a container in a pod that is ready, without a process yet, and returns its
// id. A repeated call with the same name and attempt joins the one under way, or returns what it
// made.
func (r *Runtime) CreateContainer(ctx context.Context, pod spec.PodID, c *spec.Container) (spec.ContainerID, error) {
	key := fmt.Sprintf("%s/%s/%d", pod, c.Name, c.Attempt)
	return r.ctrs.do(ctx, key, func(ctx context.Context) (spec.ContainerID, error) {
		d := draft{Runtime: r}
		if err := d.check(pod, c); err != nil {
			return "", err
		}
		id, err := d.create(ctx, pod, c)
		if err != nil {
			return "", err
		}
		if err := r.Plugins.Apply(ctx, d.answer, id); err != nil {
			return "", undo(ctx, err, func(ctx context.Context) error { return r.RemoveContainer(ctx, id) })
		}
		return id, nil
	})
}

// draft is a container being made: the record to be, with the live side that holds its root until
// the start.
type draft struct {
	*Runtime
	pod     *store.Pod
	sb      *sandbox.Sandbox
	profile string      // of AppArmor
	labels  spec.Labels // of SELinux
	img     spec.Image
	edits   *container.DeviceEdits // of CDI; nil: none
	hooks   []container.HookFile   // of the host
	rec     *store.Container
	live    *process
	answer  nri.Answer // of plugins, about other containers
}

func (d *draft) create(ctx context.Context, pod spec.PodID, c *spec.Container) (spec.ContainerID, error) {
	defer d.locks.Lock(pod)()
	p, err := d.Store.Pod(pod)
	if err != nil {
		return "", err
	}
	if _, made, err := d.Store.ContainerByKey(spec.ContainerKey{Pod: pod, Name: c.Name, Attempt: c.Attempt}); err == nil {
		return made.ID, nil
	}
	if p.State != store.PodReady {
		return "", fmt.Errorf("pod %s is %s: %w", pod.Short(), p.State, errNotReady)
	}
	if err := d.Cgroups.Check(container.Limits(c.Resources)); err != nil {
		return "", fmt.Errorf("linux.resources: %w", err)
	}
	d.pod = p
	if err := d.confine(ctx, c); err != nil {
		return "", err
	}
	if d.sb, err = d.sandboxOf(pod); err != nil {
		return "", err
	}
	defer d.Plugins.Hold()()
	if err := d.make(ctx, c); err != nil {
		return "", err
	}
	_, step := trace.Start(ctx, "record")
	defer step.End(&err)
	_, err = d.Store.Update(pod, func(p *store.Pod) error {
		p.Containers[d.rec.ID] = d.rec
		return nil
	})
	if err != nil {
		d.live.close()
		ctx := context.WithoutCancel(ctx)
		return "", undo(ctx, err, func(context.Context) error {
			return d.leftovers.remove(string(d.rec.ID), func() error { return d.removeContainer(ctx, d.pod, d.rec) })
		})
	}
	crash.Point("container-create.stored")
	d.keepProcess(d.live)
	told(d.Log, d.Plugins.Created(ctx, d.pod, d.rec))
	return d.rec.ID, nil
}

// check looks at the volumes of a container that may be made. This comes before the pod's lock is taken: they may
// be on file systems that do not answer, and the pod can be stopped all the same.
func (d *draft) check(pod spec.PodID, c *spec.Container) error {
	_, _, err := d.Store.ContainerByKey(spec.ContainerKey{Pod: pod, Name: c.Name, Attempt: c.Attempt})
	p, perr := d.Store.Pod(pod)
	if perr == nil && p.State == store.PodCreating { // known to plugins only, which may be what it waits for
		return fmt.Errorf("pod %s is %s: %w", pod.Short(), p.State, errNotReady)
	}
	if err == nil || perr != nil || p.State != store.PodReady {
		return nil // create says so
	}
	return checkSources(c)
}

// checkSources finds volumes whose host path is not there, before anything is made.
func checkSources(c *spec.Container) error {
	for i, m := range c.Mounts {
		if m.Image != "" {
			continue
		}
		if _, err := os.Stat(m.HostPath); err != nil {
			return fmt.Errorf("mounts[%d].host_path: %w: %w", i, err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// confine finds what the kernel's security modules know the container by, and labels its volumes.
func (d *draft) confine(ctx context.Context, c *spec.Container) (err error) {
	ctx, step := trace.Start(ctx, "security modules")
	defer step.End(&err)
	if d.profile, err = d.profiles.Of(ctx, &c.Security); err != nil {
		return fmt.Errorf("linux.security_context.apparmor: %w", err)
	}
	if d.labels, err = d.selinux.Container(d.pod.SELinux, &c.Security); err != nil {
		return fmt.Errorf("linux.security_context.selinux_options: %w", err)
	}
	for i, m := range c.Mounts {
		if !m.SELinuxRelabel || m.Image != "" {
			continue
		}
		if err := d.selinux.Relabel(m.HostPath, d.labels); err != nil {
			return fmt.Errorf("mounts[%d].selinux_relabel: %w", i, err)
		}
	}
	return nil
}

// make resolves the images and the user, and assembles the root file system and the specification.
func (d *draft) make(ctx context.Context, c *spec.Container) (err error) {
	ctx, step := trace.Start(ctx, "root file system, specification")
	defer step.End(&err)
	if err := d.newRecord(c); err != nil {
		return err
	}
	lowers, err := holdImages(ctx, d.Images, d.rec)
	if err != nil {
		return err
	}
	crash.Point("container-create.images-held")
	d.live = newProcess(d.rec.ID, drivenBy(d.Runtime, d.pod, d.rec.ID))
	if err := d.assemble(ctx, lowers); err != nil {
		if d.rec.OCI != nil {
			told(d.Log, d.Plugins.RemoveContainer(ctx, d.pod, d.rec))
		}
		d.live.close()
		releaseImages(d.Images, d.rec)
		layer := d.layers.of(d.pod, d.rec.ID, d.sb)
		return undo(ctx, err, func(context.Context) error { return d.leftovers.remove(layer.Dir, layer.Remove) })
	}
	return nil
}

// newRecord fills in what needs nothing made.
func (d *draft) newRecord(c *spec.Container) (err error) {
	if d.img, err = d.Images.Get(c.Image); err != nil {
		return fmt.Errorf("image %q: %w", c.Image, err)
	}
	d.rec = &store.Container{
		ID: spec.NewContainerID(), Pod: d.pod.ID, Spec: *c, State: store.ContainerCreated, CreatedAt: time.Now(),
		Image: d.img.ID, ImageRef: imageRef(d.img), ImageName: imageName(c, d.img), ImageHandler: d.img.Handler,
		StopSignal: stopSignal(c, d.img),
	}
	for _, m := range c.Mounts {
		if m.Image == "" {
			continue
		}
		img, err := d.Images.Get(m.Image)
		if err != nil {
			return fmt.Errorf("%w: image %q: %w", spec.ErrImageVolumeMountFailed, m.Image, err)
		}
		d.rec.Volumes = append(d.rec.Volumes, img.ID)
	}
	if len(c.CDIDevices) > 0 {
		if d.edits, err = d.cdi.Edits(c.CDIDevices); err != nil {
			return err
		}
	}
	if d.hooks, err = d.hookDirs.Read(); err != nil {
		return err
	}
	if d.pod.Spec.LogDirectory != "" && c.LogPath != "" {
		d.rec.LogPath = filepath.Join(d.pod.Spec.LogDirectory, c.LogPath)
	}
	path, err := d.Cgroups.Path(d.pod.Spec.CgroupParent, d.pod.ID, d.rec.ID)
	d.rec.CgroupPath = string(path)
	return err
}

// assemble makes the root file system, and with what it holds the user and the specification.
func (d *draft) assemble(ctx context.Context, lowers []string) error {
	layer := d.layers.of(d.pod, d.rec.ID, d.sb)
	layer.Label = d.labels.Mount
	if err := layer.Make(); err != nil {
		return err
	}
	crash.Point("container-create.layer-made")
	var err error
	if d.live.rootfs, err = layer.Mount(lowers); err != nil {
		return err
	}
	crash.Point("container-create.root-assembled")
	user, err := security.ResolveUser(d.live.rootfs, &d.rec.Spec.Security, d.img.Config.User)
	if err != nil {
		return err
	}
	request := container.Request{
		ID: d.rec.ID, Spec: &d.rec.Spec, Pod: &d.pod.Spec, PodDir: d.sb.Dir, Image: d.img.Config, User: user,
		Volumes: d.rec.Volumes, Edits: d.edits, HookFiles: d.hooks, CgroupPath: d.rec.CgroupPath, CgroupV2: d.Cgroups.Mode() == cgroup.Unified,
		OpenFiles: d.openFiles, AppArmor: d.profile, SELinux: d.labels, OwnDevices: d.ownDevices,
	}
	if d.rec.OCI, err = container.Assemble(request); err != nil {
		return err
	}
	if err := d.adjust(ctx, request); err != nil {
		return err
	}
	if err := container.CheckNamespaces(d.rec.OCI, &d.pod.Spec); err != nil {
		return fmt.Errorf("devices and plugins: %w", err)
	}
	u := d.rec.OCI.Process.User
	d.rec.User = store.User{UID: u.UID, GID: u.GID, Groups: u.AdditionalGids}
	if len(d.rec.Volumes) > 0 {
		return container.CheckImages(d.rec.OCI, d.sb, layersOf(ctx, d.Images))
	}
	return nil
}

// imageRef is what pods show as imageID: a digest reference, else the image's id.
func imageRef(img spec.Image) string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return string(img.ID)
}

// imageName is what people call the image: what the user wrote, else a tag.
func imageName(c *spec.Container, img spec.Image) string {
	switch {
	case c.UserImage != "":
		return c.UserImage
	case len(img.Tags) > 0:
		return img.Tags[0]
	}
	return c.Image
}
