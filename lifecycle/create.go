package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"tare/cgroup"
	"tare/container"
	"tare/sandbox"
	"tare/security"
	"tare/spec"
	"tare/store"
)

// CreateContainer makes a container in a pod that is ready, without a process yet, and returns its
// id. A repeated call with the same name and attempt joins the one under way, or returns what it
// made.
func (r *Runtime) CreateContainer(ctx context.Context, pod spec.PodID, c *spec.Container) (spec.ContainerID, error) {
	key := fmt.Sprintf("%s/%s/%d", pod, c.Name, c.Attempt)
	return r.ctrs.do(ctx, key, func(ctx context.Context) (spec.ContainerID, error) {
		defer r.locks.lock(pod)()
		return r.createContainer(ctx, pod, c)
	})
}

func (r *Runtime) createContainer(ctx context.Context, pod spec.PodID, c *spec.Container) (spec.ContainerID, error) {
	p, err := r.Store.Pod(pod)
	if err != nil {
		return "", err
	}
	if _, made, err := r.Store.ContainerByKey(spec.ContainerKey{Pod: pod, Name: c.Name, Attempt: c.Attempt}); err == nil {
		return made.ID, nil
	}
	if p.State != store.PodReady {
		return "", fmt.Errorf("pod %s is %s: %w", pod.Short(), p.State, errNotReady)
	}
	if c.Security.Privileged && !p.Spec.Privileged {
		return "", fmt.Errorf("linux.security_context.privileged: the pod sandbox is not privileged: %w", errdefs.ErrInvalidArgument)
	}
	if err := errors.Join(checkSources(c), checkProfile(c)); err != nil {
		return "", err
	}
	sb, err := r.sandboxOf(pod)
	if err != nil {
		return "", err
	}
	rec, live, err := r.newContainer(ctx, p, c, sb)
	if err != nil {
		return "", err
	}
	_, err = r.Store.Update(pod, func(p *store.Pod) error {
		p.Containers[rec.ID] = rec
		return nil
	})
	if err != nil {
		live.close()
		return "", r.undo(ctx, err, func(ctx context.Context) error { return r.removeContainer(ctx, rec) })
	}
	r.keepProcess(live)
	return rec.ID, nil
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

// draft is a container being made: the record to be, with the live side that holds its root until
// the start.
type draft struct {
	pod  *store.Pod
	sb   *sandbox.Sandbox
	img  spec.Image
	rec  *store.Container
	live *process
}

// checkProfile refuses an AppArmor profile by name, which is not applied yet: a container without the
// confinement that was asked for must not run.
func checkProfile(c *spec.Container) error {
	if p := c.Security.AppArmor; p.Kind == spec.ProfileLocalhost {
		return fmt.Errorf("linux.security_context.apparmor: profile %q cannot be applied: %w", p.Name, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// newContainer resolves the images and the user, assembles the root file system and the
// specification, and returns what is to be stored and kept.
func (r *Runtime) newContainer(ctx context.Context, p *store.Pod, c *spec.Container, sb *sandbox.Sandbox) (*store.Container, *process, error) {
	d := draft{pod: p, sb: sb}
	if err := r.newRecord(&d, c); err != nil {
		return nil, nil, err
	}
	lowers, err := r.holdImages(ctx, d.rec)
	if err != nil {
		return nil, nil, err
	}
	d.live = newProcess(d.rec.ID)
	if err := r.assemble(&d, lowers); err != nil {
		d.live.close()
		r.releaseImages(d.rec)
		return nil, nil, r.undo(ctx, err, func(context.Context) error { return r.layer(p, d.rec.ID, sb).Remove() })
	}
	return d.rec, d.live, nil
}

// newRecord fills in what needs nothing made.
func (r *Runtime) newRecord(d *draft, c *spec.Container) (err error) {
	if d.img, err = r.Images.Get(c.Image); err != nil {
		return fmt.Errorf("image %q: %w", c.Image, err)
	}
	d.rec = &store.Container{
		ID: spec.NewContainerID(), Pod: d.pod.ID, Spec: *c, State: store.ContainerCreated, CreatedAt: time.Now(),
		Image: d.img.ID, ImageRef: string(d.img.ID), ImageName: imageName(c, d.img),
		StopSignal: stopSignal(c, d.img),
	}
	for _, m := range c.Mounts {
		if m.Image == "" {
			continue
		}
		img, err := r.Images.Get(m.Image)
		if err != nil {
			return fmt.Errorf("%w: image %q: %w", spec.ErrImageVolumeMountFailed, m.Image, err)
		}
		d.rec.Volumes = append(d.rec.Volumes, img.ID)
	}
	if d.pod.Spec.LogDirectory != "" && c.LogPath != "" {
		d.rec.LogPath = filepath.Join(d.pod.Spec.LogDirectory, c.LogPath)
	}
	path, err := r.Cgroups.Path(d.pod.Spec.CgroupParent, d.rec.ID)
	d.rec.CgroupPath = string(path)
	return err
}

// assemble makes the root file system, and with what it holds the user and the specification.
func (r *Runtime) assemble(d *draft, lowers []string) error {
	layer := r.layer(d.pod, d.rec.ID, d.sb)
	if err := layer.Make(); err != nil {
		return err
	}
	var err error
	if d.live.rootfs, err = layer.Mount(lowers); err != nil {
		return err
	}
	user, err := security.ResolveUser(d.live.rootfs, &d.rec.Spec.Security, d.img.Config.User)
	if err != nil {
		return err
	}
	d.rec.User = store.User{UID: user.UID, GID: user.GID, Groups: user.Groups}
	d.rec.OCI, err = container.Assemble(container.Request{
		ID: d.rec.ID, Spec: &d.rec.Spec, Pod: &d.pod.Spec, PodDir: d.sb.Dir, Image: d.img.Config, User: user,
		Volumes: d.rec.Volumes, CgroupPath: d.rec.CgroupPath, CgroupV2: r.Cgroups.Mode() == cgroup.Unified,
		OpenFiles: r.openFiles,
	})
	return err
}

func (r *Runtime) layerDir(id spec.ContainerID) string {
	return filepath.Join(r.containers, string(id))
}

// layer is the writable layer of a container of the pod.
func (r *Runtime) layer(p *store.Pod, id spec.ContainerID, sb *sandbox.Sandbox) container.Layer {
	uid, gid := container.RootOwner(&p.Spec)
	return container.Layer{Dir: r.layerDir(id), UserNS: sb.Namespaces[sandbox.User], UID: uid, GID: gid}
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
