package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tare/spec"
)

func TestWireError(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("start container 12ab: %w", err) }
	tests := []struct {
		name string
		err  error
		code codes.Code
		text string
	}{
		{"invalid", field("a.b").errorf("no"), codes.InvalidArgument, "a.b: no"},
		{"not found", wrap(errdefs.ErrNotFound), codes.NotFound, "start container 12ab: not found"},
		{"exists", wrap(errdefs.ErrAlreadyExists), codes.AlreadyExists, ""},
		{"precondition", wrap(errdefs.ErrFailedPrecondition), codes.FailedPrecondition, ""},
		{"denied", wrap(errdefs.ErrPermissionDenied), codes.PermissionDenied, ""},
		{"unauthenticated", wrap(errdefs.ErrUnauthenticated), codes.Unauthenticated, ""},
		{"exhausted", wrap(errdefs.ErrResourceExhausted), codes.ResourceExhausted, ""},
		{"range", wrap(errdefs.ErrOutOfRange), codes.OutOfRange, ""},
		{"unimplemented", wrap(errdefs.ErrNotImplemented), codes.Unimplemented, ""},
		{"conflict", wrap(errdefs.ErrConflict), codes.Aborted, ""},
		{"aborted", wrap(errdefs.ErrAborted), codes.Aborted, ""},
		{"data loss", wrap(errdefs.ErrDataLoss), codes.DataLoss, ""},
		{"unavailable", wrap(errdefs.ErrUnavailable), codes.Unavailable, ""},
		{"internal", wrap(errdefs.ErrInternal), codes.Internal, ""},
		{"deadline", wrap(context.DeadlineExceeded), codes.DeadlineExceeded, ""},
		{"deadline with a class", fmt.Errorf("%w: %w", errdefs.ErrUnavailable, context.DeadlineExceeded), codes.DeadlineExceeded, ""},
		{"canceled", wrap(context.Canceled), codes.Canceled, ""},
		{"full disk", wrap(&os.PathError{Op: "write", Path: "/run/a", Err: syscall.ENOSPC}), codes.ResourceExhausted, "start container 12ab: write /run/a: no space left on device"},
		{"no more processes", wrap(os.NewSyscallError("fork", syscall.EAGAIN)), codes.ResourceExhausted, ""},
		{"class before errno", wrap(fmt.Errorf("%w: %w", syscall.ENOSPC, errdefs.ErrNotFound)), codes.NotFound, ""},
		{"no class", wrap(io.ErrUnexpectedEOF), codes.Unknown, "start container 12ab: unexpected EOF"},
		{"status", status.Error(codes.Aborted, "x"), codes.Aborted, "x"},
		{
			"image volume", wrap(fmt.Errorf("%w: sub path: %w", spec.ErrImageVolumeMountFailed, errdefs.ErrNotFound)), codes.Unknown,
			"ImageVolumeMountFailed: start container 12ab: sub path: not found",
		},
		{"image volume first", fmt.Errorf("%w: x", spec.ErrImageVolumeMountFailed), codes.Unknown, "ImageVolumeMountFailed: x"},
		{"rro", fmt.Errorf("%w: x", spec.ErrRROUnsupported), codes.FailedPrecondition, "RROUnsupported: x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := status.Convert(wireError(tt.err))
			if got.Code() != tt.code || (tt.text != "" && got.Message() != tt.text) {
				t.Errorf("%s %q, want %s %q", got.Code(), got.Message(), tt.code, tt.text)
			}
		})
	}
	if wireError(nil) != nil {
		t.Error("no error became one")
	}
}

func TestPullError(t *testing.T) {
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	refused := fmt.Errorf("pull %q: connection refused: %w", "a/b:c", errdefs.ErrUnavailable)
	stalled := fmt.Errorf("%w: %w", context.DeadlineExceeded, errdefs.ErrUnavailable)
	unsigned := fmt.Errorf("pull %q: %w: no key", "a/b:c", spec.ErrSignatureValidationFailed)
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		code codes.Code
		text string
	}{
		{"registry refuses", t.Context(), refused, codes.Unknown, `RegistryUnavailable: pull "a/b:c": connection refused: unavailable`},
		{"registry stalls", t.Context(), stalled, codes.Unknown, "RegistryUnavailable: context deadline exceeded: unavailable"},
		{"caller's deadline", late, stalled, codes.DeadlineExceeded, ""},
		{"unsigned", t.Context(), unsigned, codes.Unknown, `SignatureValidationFailed: pull "a/b:c": no key`},
		{"no such image", t.Context(), errdefs.ErrNotFound, codes.NotFound, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := status.Convert(wireError(pullError(tt.ctx, tt.err)))
			if got.Code() != tt.code || (tt.text != "" && got.Message() != tt.text) {
				t.Errorf("%s %q, want %s %q", got.Code(), got.Message(), tt.code, tt.text)
			}
		})
	}
}

func TestGoneIsDone(t *testing.T) {
	other := errors.New("disk on fire")
	if goneIsDone(nil) != nil || goneIsDone(errdefs.ErrNotFound) != nil || goneIsDone(other) != other {
		t.Error("only what is not found is done")
	}
}
