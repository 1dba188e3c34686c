package spec

import (
	"encoding/base64"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image in the store. Immutable: a pull that moves a tag makes a new value.
type Image struct {
	ID      ImageID
	Tags    []string // repository:tag, fully qualified, sorted
	Digests []string // repository@sha256:…, sorted
	Size    int64    // bytes of its blobs as transferred
	Config  ocispec.ImageConfig
	Created time.Time
	Pinned  bool // never to be garbage collected by the kubelet

	// What the last pull said, of whichever name. The layers are there for all handlers alike.
	Handler     string
	Annotations map[string]string
}

// Pull is what PullImage asks for.
type Pull struct {
	Image       string            // reference as people write it
	Handler     string            // runtime handler; empty: the default one
	Annotations map[string]string // arbitrary, shown in Image
	Auth        *Auth             // nil: the node's own credential, if there is one
}

// Auth is a registry credential of one pull (CRI AuthConfig). Never logged.
type Auth struct {
	Username      string
	Password      string
	Auth          string // base64 of user:password
	ServerAddress string
	IdentityToken string
	RegistryToken string
}

// FilesystemUsage is what one filesystem's share of the store takes.
type FilesystemUsage struct {
	Time       time.Time
	Mountpoint string // host path
	Bytes      uint64
	Inodes     uint64
}

// DecodeLogin reads name and password from base64 of "user:password", the form in which `docker login`
// stores them, padded with zero bytes by some.
func DecodeLogin(auth string) (user, password string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(b), ":")
	return user, strings.TrimRight(password, "\x00"), ok
}
