package images

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
)

// patience is a transport that gives up on a body of which nothing more comes.
type patience struct {
	next  *http.Transport
	stall time.Duration
}

// unreachable hides from the resolver that an error was a timeout. It would try the same host
// five times over (docker.isTransientTransportErr), and the caller would wait as many deadlines
// to hear the same; the kubelet has its own back-off.
type unreachable struct{ err error }

func (u unreachable) Error() string { return u.err.Error() }
func (u unreachable) Unwrap() error { return u.err }

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	resp, err := p.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, unreachable{err}
	}
	resp.Body = &patientBody{
		ReadCloser: resp.Body,
		cancel:     cancel,
		ended:      func() error { return context.Cause(ctx) },
		stall:      p.stall,
	}
	return resp, nil
}

// patientBody cancels its request when one Read takes longer than stall. Time the reader spends
// elsewhere, on a slow disk for one, does not count.
type patientBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	ended  func() error // why the request was cancelled, or nil
	stall  time.Duration
}

func (b *patientBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.stall, func() {
		b.cancel(fmt.Errorf("registry sent nothing for %s: %w", b.stall, errdefs.ErrUnavailable))
	})
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err != nil && err != io.EOF && b.ended() != nil {
		err = b.ended()
	}
	return n, err
}

func (b *patientBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
