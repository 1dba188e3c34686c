package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/utils"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultDecryptionKeysDir is containerd's: a node that changes its runtime keeps its keys.
const DefaultDecryptionKeysDir = "/etc/containerd/ocicrypt/keys"

// keyring opens encrypted layers with the private keys of a directory, of which each is a file (PEM or DER, for
// keys wrapped by JWE). It is read when an encrypted layer comes. What is unpacked is in the clear, as any layer
// is, and open to all the node's pods: the keys are the node's.
//
// The library runs in this process: what containerd does with a stream processor for each layer
// would be a program to install, and a second copy of every layer through a pipe.
type keyring struct{ dir string }

// encrypted goes by the media type, ocicrypt's docs/spec: application/vnd.oci.image.layer.v1.tar+gzip+encrypted.
func encrypted(d ocispec.Descriptor) bool { return strings.HasSuffix(d.MediaType, "+encrypted") }

// refuseLocked refuses an encrypted layer that no key opens before it is fetched: how its content is
// encrypted is in the manifest.
func (k keyring) refuseLocked(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !encrypted(d) {
		return nil, nil
	}
	_, err := k.open(nil, d)
	return nil, err
}

// open returns what an encrypted layer was before; whether it is that shows at its end. Without a layer, it looks for
// a key that fits.
func (k keyring) open(layer io.Reader, d ocispec.Descriptor) (io.Reader, error) {
	keys, err := k.read()
	if err != nil {
		return nil, fmt.Errorf("images.decryption_keys_dir: %w", err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("layer %s is encrypted, and there is no key in %s: %w", d.Digest, k.dir, errdefs.ErrPermissionDenied)
	}
	c := &config.DecryptConfig{Parameters: map[string][][]byte{"privkeys": keys, "privkeys-passwords": make([][]byte, len(keys))}}
	plain, _, err := ocicrypt.DecryptLayer(c, layer, d, layer == nil)
	if err != nil {
		return nil, fmt.Errorf("layer %s is encrypted, and no key in %s opens it: %w: %w", d.Digest, k.dir, err, errdefs.ErrPermissionDenied)
	}
	return plain, nil
}

// read reads the keys. Each is a file that nobody but this process's user may read.
func (k keyring) read() (keys [][]byte, err error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		key, err := readKey(filepath.Join(k.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// maxKey bounds what is read, far above any key.
const maxKey = 1 << 20

func readKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := privateFile(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	if _, err := utils.ParsePrivateKey(key, nil, "private key"); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, err, errdefs.ErrPermissionDenied)
	}
	return key, nil
}
