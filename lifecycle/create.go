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
	if err := checkSources(c); err != nil {
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

// newContainer resolves the image and the user, assembles the root file system and the
// specification, and returns the record with the live side that holds the root until the start.
func (r *Runtime) newContainer(ctx context.Context, p *store.Pod, c *spec.Container, sb *sandbox.Sandbox) (*store.Container, *process, error) {
	img, err := r.Images.Get(c.Image)
	if err != nil {
		return nil, nil, fmt.Errorf("image %q: %w", c.Image, err)
	}
	rec := &store.Container{
		ID: spec.NewContainerID(), Pod: p.ID, Spec: *c, State: store.ContainerCreated, CreatedAt: time.Now(),
		Image: img.ID, ImageRef: string(img.ID), ImageName: imageName(c, img),
		StopSignal: stopSignal(c, img),
	}
	if p.Spec.LogDirectory != "" && c.LogPath != "" {
		rec.LogPath = filepath.Join(p.Spec.LogDirectory, c.LogPath)
	}
	path, err := r.Cgroups.Path(p.Spec.CgroupParent, rec.ID)
	if err != nil {
		return nil, nil, err
	}
	rec.CgroupPath = string(path)
	live := newProcess(rec.ID)
	if err := r.furnish(ctx, p, rec, live, sb, img); err != nil {
		live.close()
		return nil, nil, r.undo(ctx, err, func(context.Context) error { return r.layer(p, rec.ID, sb).Remove() })
	}
	return rec, live, nil
}

// furnish makes the root file system and what depends on its content: the user and the
// specification.
func (r *Runtime) furnish(ctx context.Context, p *store.Pod, rec *store.Container, live *process, sb *sandbox.Sandbox, img spec.Image) error {
	lowers, err := r.Images.Acquire(ctx, img.ID)
	if err != nil {
		return fmt.Errorf("layers of image %q: %w", rec.Spec.Image, err)
	}
	if err := r.assemble(p, rec, live, sb, img, lowers); err != nil {
		r.Images.Release(img.ID)
		return err
	}
	return nil
}

func (r *Runtime) assemble(p *store.Pod, rec *store.Container, live *process, sb *sandbox.Sandbox, img spec.Image, lowers []string) error {
	layer := r.layer(p, rec.ID, sb)
	if err := layer.Make(); err != nil {
		return err
	}
	var err error
	if live.rootfs, err = layer.Mount(lowers); err != nil {
		return err
	}
	user, err := security.ResolveUser(live.rootfs, &rec.Spec.Security, img.Config.User)
	if err != nil {
		return err
	}
	rec.User = store.User{UID: user.UID, GID: user.GID, Groups: user.Groups}
	rec.OCI, err = container.Assemble(container.Request{
		ID: rec.ID, Spec: &rec.Spec, Pod: &p.Spec, PodDir: sb.Dir, Image: img.Config, User: user,
		CgroupPath: rec.CgroupPath, CgroupV2: r.Cgroups.Mode() == cgroup.Unified,
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
