package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// failure is an error of a pull, its text made fit to be shown: one line, no URL queries.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// query is the part of a URL that may hold a signature or a token.
var query = regexp.MustCompile(`\?[^\s"]+`)

// pullError names the reference and the class of err.
func pullError(ref string, err error) error {
	err = fmt.Errorf("pull image %s: %w", ref, classified(err))
	text := query.ReplaceAllString(err.Error(), "")
	return &failure{text: strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "), err: err}
}

// classified returns err with the errdefs class that says what the caller can do about it.
// containerd's own classes of conflict and precondition speak of its stores, not of the pull.
func classified(err error) error {
	class := classOf(err)
	if class == nil || errors.Is(err, class) {
		return err
	}
	return fmt.Errorf("%w: %w", err, class)
}

// contentError is for what package unpack complains about without a class: layers, manifests and
// configurations that contradict each other.
func contentError(err error) error {
	var errno syscall.Errno
	if classOf(err) != nil || errdefs.Resolve(err) != errdefs.ErrUnknown || errors.As(err, &errno) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
}

func classOf(err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	var request *url.Error
	switch {
	case errors.Is(err, context.Canceled), err == context.DeadlineExceeded:
		return nil // the caller's own; a deadline within the pull is the network's
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errdefs.ErrResourceExhausted
	case errdefs.IsDataLoss(err):
		return errdefs.ErrDataLoss
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return errdefs.ErrUnauthenticated
	case errors.As(err, &status):
		return classOfStatus(status.StatusCode)
	case errors.As(err, &request), errors.Is(err, io.ErrUnexpectedEOF), errdefs.IsUnavailable(err):
		return errdefs.ErrUnavailable
	case errdefs.IsFailedPrecondition(err): // what was fetched has another size or digest
		return errdefs.ErrDataLoss
	}
	return nil
}

// classOfStatus is for replies of a registry that are no success.
func classOfStatus(code int) error {
	switch {
	case code == http.StatusNotFound:
		return errdefs.ErrNotFound
	case code == http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case code == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case code == http.StatusTooManyRequests, code >= 500:
		return errdefs.ErrUnavailable
	}
	return nil
}
