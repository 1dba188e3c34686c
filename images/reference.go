package images

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// parse reads a reference as people write it and returns it in full: registry, repository, and
// tag or digest. With both, the digest decides and the tag is dropped, as everywhere in CRI.
func parse(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w: %w", ref, err, errdefs.ErrInvalidArgument)
	}
	return named, nil
}

// recorded returns the references under which a pull of named that led to target is listed: the
// digest always, the tag if it was pulled by one.
func recorded(named reference.Named, target digest.Digest) []string {
	byDigest := named.Name() + "@" + target.String()
	if _, tagged := named.(reference.Tagged); tagged {
		return []string{named.String(), byDigest}
	}
	return []string{byDigest}
}

// isTag tells the two kinds of recorded reference apart.
func isTag(ref string) bool {
	named, err := reference.ParseNamed(ref)
	if err != nil {
		return false
	}
	_, tagged := named.(reference.Tagged)
	return tagged
}
