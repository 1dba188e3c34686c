package images

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/imageverifier"
	"github.com/containerd/containerd/v2/pkg/imageverifier/bindir"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/spec"
)

// DefaultVerifierDir is containerd's: what a node demands of its images stays in force when its
// runtime is replaced.
const DefaultVerifierDir = "/opt/containerd/image-verifier/bin"

// verifierTimeout is how many nanoseconds a verifier may take (10 s), before it is killed and the
// image refused. A bare number: the type of the setting has no name outside of containerd.
const verifierTimeout = 10e9

// verifier asks every program in a directory, in the order of their names, whether an image may be
// used. Each is given -name, -digest and, on its standard input, the descriptor; what it prints is
// the reason, and any exit code but 0 a refusal (containerd docs/image-verification.md). One that
// cannot be run refuses too.
//
// It is asked when an image is pulled, before anything of it is fetched, and also for a name whose
// image is here already. So every name in the catalog has been verified since there are verifiers,
// and making a container costs nothing.
type verifier struct {
	dir      string
	required bool // the directory was asked for: without it, everything is refused
	programs imageverifier.ImageVerifier
}

// newVerifier returns the verifier for dir, which must exist; empty: for DefaultVerifierDir, which
// need not.
func newVerifier(dir string) (*verifier, error) {
	v := &verifier{dir: dir, required: dir != ""}
	if !v.required {
		v.dir = DefaultVerifierDir
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("images.verifier_dir: %w", err)
	}
	v.programs = bindir.NewImageVerifier(&bindir.Config{BinDir: v.dir, MaxVerifiers: -1, PerVerifierTimeout: verifierTimeout})
	return v, nil
}

// check makes sure that no verifier is passed over because its directory is missing.
func (v *verifier) check() error {
	if !v.required {
		return nil
	}
	_, err := os.ReadDir(v.dir)
	return err
}

// verify returns spec.ErrSignatureValidationFailed unless all verifiers accept what is about to be
// listed as name.
func (v *verifier) verify(ctx context.Context, name string, target ocispec.Descriptor) error {
	judgement, err := v.programs.VerifyImage(ctx, name, target)
	if err := errors.Join(err, v.check()); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", spec.ErrSignatureValidationFailed, err)
	}
	if !judgement.OK {
		return fmt.Errorf("%w: %s", spec.ErrSignatureValidationFailed, judgement.Reason)
	}
	return nil
}
