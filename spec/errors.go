package spec

import "errors"

// The failures that the kubelet tells apart by the beginning of a message (cri-api pkg/errors).
// A package that meets one wraps it; package cri puts its text where the kubelet looks for it.
var (
	ErrImageVolumeMountFailed    = errors.New("ImageVolumeMountFailed")
	ErrRROUnsupported            = errors.New("RROUnsupported")
	ErrSignatureValidationFailed = errors.New("SignatureValidationFailed")
)
