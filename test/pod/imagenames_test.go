package pod

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// imageStatus is what the store says about an image, nil if it has none.
func (d *daemon) imageStatus(t *testing.T, ref string) *runtime.Image {
	t.Helper()
	resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Image
}

func (d *daemon) listImages(t *testing.T, filter string) []*runtime.Image {
	t.Helper()
	resp, err := d.images.ListImages(deadline(t), &runtime.ListImagesRequest{Filter: &runtime.ImageFilter{Image: &runtime.ImageSpec{Image: filter}}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Images
}

func (d *daemon) removeImage(t *testing.T, ref string) {
	t.Helper()
	if _, err := d.images.RemoveImage(deadline(t), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: ref}}); err != nil {
		t.Errorf("remove image %s: %v", ref, err)
	}
}

// TestImageNames: whatever name an image is pulled by, it has one id everywhere, and every name leads
// to it (api.proto, Image.id).
func TestImageNames(t *testing.T) {
	d := ownDaemon(t, options{})
	const repo = "docker.io/library/busybox"
	d.pull(t, "busybox")
	_, digest, _ := strings.Cut(d.imageStatus(t, "busybox").RepoDigests[0], "@")
	for _, tt := range []struct {
		pull string
		tags []string
	}{
		{"busybox", []string{repo + ":latest"}},
		{"library/busybox:1-musl", []string{repo + ":1-musl"}},
		{"docker.io/busybox:latest", []string{repo + ":latest"}},
		{repo + "@" + digest, nil},
		{repo + ":1-musl@" + digest, nil},
	} {
		t.Run(tt.pull, func(t *testing.T) {
			d.removeImage(t, repo+"@"+digest)
			id, err := d.tryPull(t, tt.pull)
			if err != nil {
				t.Fatal(err)
			}
			i := d.imageStatus(t, tt.pull)
			if i.GetId() != id || !slices.Equal(i.RepoTags, tt.tags) || !slices.Equal(i.RepoDigests, []string{repo + "@" + digest}) {
				t.Errorf("pulled %s, is %v", id, i)
			}
			if i.Size == 0 || i.Uid == nil && i.Username == "" || i.Spec.GetImage() != id {
				t.Errorf("size %d, uid %v, username %q, spec %v", i.Size, i.Uid, i.Username, i.Spec)
			}
			for _, name := range append(tt.tags, id, strings.TrimPrefix(id, "sha256:"), id[:19], repo+"@"+digest, tt.pull) {
				if found := d.listImages(t, name); len(found) != 1 || !proto.Equal(found[0], i) {
					t.Errorf("listed by %s: %v", name, found)
				}
			}
			wantContainerImage(t, d, tt.pull, i)
		})
	}
}

// wantContainerImage makes a container of an image and compares what it says of it.
func wantContainerImage(t *testing.T, d *daemon, name string, i *runtime.Image) {
	t.Helper()
	p := d.runPod(t)
	c := p.create(func(c *runtime.ContainerConfig) {
		c.Image = &runtime.ImageSpec{Image: i.Id, UserSpecifiedImage: name, Annotations: map[string]string{"a": "b"}}
	})
	s := c.status()
	list, err := d.runtime.ListContainers(deadline(t), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{Id: c.id}})
	if err != nil || len(list.Containers) != 1 {
		t.Fatal(list, err)
	}
	l := list.Containers[0]
	want := &runtime.ImageSpec{Image: name, UserSpecifiedImage: name, Annotations: map[string]string{"a": "b"}, RuntimeHandler: i.Spec.RuntimeHandler}
	if s.ImageId != i.Id || l.ImageId != i.Id || s.ImageRef != i.RepoDigests[0] || l.ImageRef != i.RepoDigests[0] ||
		!proto.Equal(s.Image, want) || !proto.Equal(l.Image, want) {
		t.Errorf("image %v\nstatus %v %s %s\nlist %v %s %s", i, s.Image, s.ImageId, s.ImageRef, l.Image, l.ImageId, l.ImageRef)
	}
}

// TestImageSpecs: what a pull says is shown until the next one, and by streams and verbose answers, too.
func TestImageSpecs(t *testing.T) {
	d := ownDaemon(t, options{})
	for _, s := range []*runtime.ImageSpec{
		{Image: layers, Annotations: map[string]string{"k": "v", "long": strings.Repeat("x", 100_000)}, RuntimeHandler: "tare"},
		{Image: layers, Annotations: map[string]string{"k": "w"}},
		{Image: layers},
	} {
		if _, err := d.images.PullImage(deadline(t), &runtime.PullImageRequest{Image: s}); err != nil {
			t.Fatal(err)
		}
		d.signal(9)
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		got := d.imageStatus(t, layers)
		if !maps.Equal(got.Spec.Annotations, s.Annotations) || got.Spec.RuntimeHandler != s.RuntimeHandler {
			t.Errorf("pulled with %.200v, shows %.200v", s, got.Spec)
		}
		stream, err := d.images.StreamImages(deadline(t), &runtime.StreamImagesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := stream.Recv()
		if err != nil || len(batch.Images) != 1 || !proto.Equal(batch.Images[0], got) {
			t.Errorf("streamed: %v, %v", batch, err)
		}
	}
	resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: layers}, Verbose: true})
	if err != nil || !strings.Contains(resp.Info["info"], `"imageSpec"`) {
		t.Errorf("verbose: %v, %v", resp.GetInfo(), err)
	}
}

// TestImageUsers: the user of an image is a number or a name, never neither (api.proto, Image.uid).
func TestImageUsers(t *testing.T) {
	d := ownDaemon(t, options{})
	for name, want := range map[string]struct {
		uid  *runtime.Int64Value
		name string
	}{
		"test-image-user-uid":            {&runtime.Int64Value{Value: 1002}, ""},
		"test-image-user-uid-group":      {&runtime.Int64Value{Value: 1003}, ""},
		"test-image-user-username":       {nil, "www-data"},
		"test-image-user-username-group": {nil, "www-data"},
		"test-image-1":                   {&runtime.Int64Value{}, ""},
	} {
		ref := registry.LocalHost + "/k8s-staging-cri-tools/" + name
		d.pull(t, ref)
		if i := d.imageStatus(t, ref); !proto.Equal(i.Uid, want.uid) || i.Username != want.name {
			t.Errorf("%s: uid %v, username %q", name, i.Uid, i.Username)
		}
	}
}
