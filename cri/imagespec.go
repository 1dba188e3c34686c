package cri

import (
	"strconv"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// imageReference takes the reference out of an image spec. Whether it is well formed is the image
// store's affair.
func imageReference(s *runtime.ImageSpec, at field) (string, error) {
	ref := s.GetImage()
	return ref, at.sub("image").required(ref)
}

// image takes the reference out of an image spec for a handler that there is. Images are the same
// for all handlers.
func (s *Server) image(i *runtime.ImageSpec, at field) (string, error) {
	ref, err := imageReference(i, at)
	if err != nil {
		return "", err
	}
	return ref, s.checkHandler(i.RuntimeHandler, at.sub("runtime_handler"))
}

// wireImage tells of an image.
func wireImage(i *spec.Image) *runtime.Image {
	uid, username := imageUser(i.Config.User)
	return &runtime.Image{
		Id: string(i.ID), RepoTags: i.Tags, RepoDigests: i.Digests, Size: uint64(max(i.Size, 1)),
		Uid: uid, Username: username, Pinned: i.Pinned,
		Spec: &runtime.ImageSpec{Image: string(i.ID), Annotations: i.Annotations, RuntimeHandler: i.Handler},
	}
}

// imageUser takes the user out of an image's "user[:group]": a number is a uid, anything else a
// name. No user is root, and the answer is never empty on both sides.
func imageUser(user string) (*runtime.Int64Value, string) {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return &runtime.Int64Value{}, ""
	}
	if uid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return &runtime.Int64Value{Value: int64(uid)}, ""
	}
	return nil, name
}
