package cri

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	runtimeName = "tare"

	// kubeletAPIVersion is the only value the kubelet accepts (ErrVersionNotSupported).
	kubeletAPIVersion = "0.1.0"
	criVersion        = "v1"
)

// Version tells what this runtime is.
func (s *Server) Version(context.Context, *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	return &runtime.VersionResponse{
		Version: kubeletAPIVersion, RuntimeName: runtimeName,
		RuntimeVersion: s.deps.Version, RuntimeApiVersion: criVersion,
	}, nil
}
