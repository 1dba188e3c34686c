package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// ImageFsInfo tells what images take of the filesystem they are on.
func (s *Server) ImageFsInfo(ctx context.Context, _ *runtime.ImageFsInfoRequest) (*runtime.ImageFsInfoResponse, error) {
	usage, err := s.deps.ImageUsage.Usage(ctx)
	if err != nil {
		return nil, err
	}
	return &runtime.ImageFsInfoResponse{ImageFilesystems: []*runtime.FilesystemUsage{wireUsage(usage)}}, nil
}

func wireUsage(u spec.FilesystemUsage) *runtime.FilesystemUsage {
	return &runtime.FilesystemUsage{
		Timestamp:  u.Time.UnixNano(),
		FsId:       &runtime.FilesystemIdentifier{Mountpoint: u.Mountpoint},
		UsedBytes:  &runtime.UInt64Value{Value: u.Bytes},
		InodesUsed: &runtime.UInt64Value{Value: u.Inodes},
	}
}
