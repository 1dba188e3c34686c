package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tare/spec"
)

// classes maps an error's class to its code; the first that fits decides. Contexts come first: an
// error that also has a class got it on the way.
var classes = []struct {
	is   func(error) bool
	code codes.Code
}{
	{is(context.DeadlineExceeded), codes.DeadlineExceeded},
	{is(context.Canceled), codes.Canceled},
	// What the content of an image is not, showed as another class's failure.
	{errdefs.IsDataLoss, codes.DataLoss},
	{errdefs.IsInvalidArgument, codes.InvalidArgument},
	{errdefs.IsNotFound, codes.NotFound},
	{errdefs.IsAlreadyExists, codes.AlreadyExists},
	{errdefs.IsFailedPrecondition, codes.FailedPrecondition},
	{errdefs.IsPermissionDenied, codes.PermissionDenied},
	{errdefs.IsUnauthorized, codes.Unauthenticated},
	{errdefs.IsResourceExhausted, codes.ResourceExhausted},
	{errdefs.IsOutOfRange, codes.OutOfRange},
	{errdefs.IsNotImplemented, codes.Unimplemented},
	{errdefs.IsConflict, codes.Aborted},
	{errdefs.IsAborted, codes.Aborted},
	{errdefs.IsUnavailable, codes.Unavailable},
	{errdefs.IsInternal, codes.Internal},
	{isExhausted, codes.ResourceExhausted},
}

// isExhausted says whether the host had no more of something: space or inodes, quota, descriptors, memory,
// processes (which fork(2) tells by EAGAIN).
func isExhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// prefixed are the errors whose text the kubelet looks for at the beginning of the message
// (cri-api pkg/errors). On pulls it does so for code Unknown only (cri-client, PullImage).
var prefixed = []struct {
	err  error
	code codes.Code
}{
	{errRegistryUnavailable, codes.Unknown},
	{spec.ErrSignatureValidationFailed, codes.Unknown},
	{spec.ErrImageVolumeMountFailed, codes.Unknown},
	{spec.ErrRROUnsupported, codes.FailedPrecondition},
}

// errRegistryUnavailable marks a pull that failed for the registry's sake.
var errRegistryUnavailable = errors.New("RegistryUnavailable")

// wireError turns the error of an RPC into what goes over the wire. What has no class is Unknown.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if already, ok := status.FromError(err); ok {
		return already.Err()
	}
	for _, p := range prefixed {
		if errors.Is(err, p.err) {
			return status.Error(p.code, atBeginning(p.err.Error(), err.Error()))
		}
	}
	for _, c := range classes {
		if c.is(err) {
			return status.Error(c.code, err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// atBeginning puts prefix before text, where wrapping may have hidden it within.
func atBeginning(prefix, text string) string {
	prefix += ": "
	if strings.HasPrefix(text, prefix) {
		return text
	}
	return prefix + strings.Replace(text, prefix, "", 1)
}

// pullError marks the failures of a pull that the kubelet wants to know: the caller's own deadline,
// and a registry that could not serve.
func pullError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if errdefs.IsUnavailable(err) {
		return fmt.Errorf("%w: %w", errRegistryUnavailable, err)
	}
	return err
}

// goneIsDone makes success of what the API calls idempotent: to stop or remove what is not there.
func goneIsDone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
