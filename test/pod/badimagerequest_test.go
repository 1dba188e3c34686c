package pod

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestBadImageRequests: what no image can be called is refused with its field, by every call that
// names images.
func TestBadImageRequests(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	calls := []struct {
		name, at string
		optional bool // no image means all of them
		do       func(context.Context, *runtime.ImageSpec) error
	}{
		{"PullImage", "image.", false, func(ctx context.Context, s *runtime.ImageSpec) error {
			_, err := d.images.PullImage(ctx, &runtime.PullImageRequest{Image: s})
			return err
		}},
		{"ImageStatus", "image.", false, func(ctx context.Context, s *runtime.ImageSpec) error {
			_, err := d.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: s})
			return err
		}},
		{"RemoveImage", "image.", false, func(ctx context.Context, s *runtime.ImageSpec) error {
			_, err := d.images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: s})
			return err
		}},
		{"ListImages", "filter.image.", true, func(ctx context.Context, s *runtime.ImageSpec) error {
			_, err := d.images.ListImages(ctx, &runtime.ListImagesRequest{Filter: &runtime.ImageFilter{Image: s}})
			return err
		}},
		{"StreamImages", "filter.image.", true, func(ctx context.Context, s *runtime.ImageSpec) error {
			stream, err := d.images.StreamImages(ctx, &runtime.StreamImagesRequest{Filter: &runtime.ImageFilter{Image: s}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}},
	}
	for _, call := range calls {
		for _, tt := range []struct {
			name, field string
			spec        *runtime.ImageSpec
			missing     bool
		}{
			{"no spec", "image", nil, true},
			{"no image", "image", &runtime.ImageSpec{}, true},
			{"NUL", "image", &runtime.ImageSpec{Image: "busy\x00box"}, false},
			{"handler", "runtime_handler", &runtime.ImageSpec{Image: busybox, RuntimeHandler: "kata"}, false},
		} {
			if tt.missing && call.optional {
				continue
			}
			t.Run(call.name+"/"+tt.name, func(t *testing.T) {
				refused(t, call.do(deadline(t), tt.spec), codes.InvalidArgument, call.at+tt.field+": ")
			})
		}
	}
	if d.imageStatus(t, busybox) == nil {
		t.Error("a refused call has removed the image")
	}
}
