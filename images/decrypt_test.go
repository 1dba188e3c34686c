package images

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/spec"
)

// keyPair is a private key, which it writes into dir, and the public one.
func keyPair(t *testing.T, dir, name string, private any, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func rsaKey(t *testing.T, dir, name string) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair(t, dir, name, key, &key.PublicKey)
}

func ecKey(t *testing.T, dir, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair(t, dir, name, key, &key.PublicKey)
}

// encryptedLayer is a layer in the form in which a registry has it.
type encryptedLayer struct {
	v1.Layer
	blob       []byte
	descriptor v1.Descriptor
}

func (l encryptedLayer) Digest() (v1.Hash, error)            { return l.descriptor.Digest, nil }
func (l encryptedLayer) Size() (int64, error)                { return l.descriptor.Size, nil }
func (l encryptedLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
func (l encryptedLayer) Descriptor() (*v1.Descriptor, error) { return &l.descriptor, nil }
func (l encryptedLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.blob)), nil
}

// encrypt encrypts a layer for those who have the private keys.
func encrypt(t *testing.T, plain v1.Layer, public ...[]byte) v1.Layer {
	t.Helper()
	recipients, err := config.EncryptWithJwe(public)
	if err != nil {
		t.Fatal(err)
	}
	content, err := plain.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	r, finish, err := ocicrypt.EncryptLayer(recipients.EncryptConfig, content, ocispec.Descriptor{Digest: digest.Digest(digestOf(t, plain))})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	annotations, err := finish()
	if err != nil {
		t.Fatal(err)
	}
	sum, size, err := v1.SHA256(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	return encryptedLayer{plain, blob, v1.Descriptor{
		MediaType: types.OCILayer + "+encrypted", Digest: sum, Size: size, Annotations: annotations,
	}}
}

func TestEncryptedLayers(t *testing.T) {
	keys, others := t.TempDir(), t.TempDir()
	mine, elliptic, foreign := rsaKey(t, keys, "rsa.pem"), ecKey(t, keys, "ec.pem"), rsaKey(t, others, "rsa.pem")
	base := layerOf(t, entry{name: "open", body: "for all"})
	secret := func(public ...[]byte) v1.Image {
		return imageOf(t, base, encrypt(t, layerOf(t, entry{name: "secret", body: "for some"}), public...))
	}
	reg := newRegistryServer(t, nil)
	for name, public := range map[string][][]byte{"rsa": {mine}, "ec": {elliptic}, "several": {foreign, mine}} {
		t.Run(name, func(t *testing.T) {
			img := secret(public...)
			s := openStore(t, Options{KeysDir: keys})
			got := mustPull(t, s, reg.push(t, name+":x", img))
			if got.ID != idOf(t, img) {
				t.Errorf("image %s, want %s", got.ID, idOf(t, img))
			}
			root := mountLayers(t, acquire(t, s, got.ID))
			wantContent(t, root, "secret", "for some")
			wantContent(t, root, "open", "for all")
		})
	}
	bad, loose, none := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(filepath.Join(bad, "x.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	rsaKey(t, loose, "x.pem")
	if err := os.Chmod(filepath.Join(loose, "x.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	ref := reg.push(t, "locked:x", secret(mine))
	for name, tt := range map[string]struct{ dir, says string }{
		"another's key": {others, "no key in " + others + " opens it"},
		"no directory":  {none, "there is no key in " + none},
		"no key":        {bad, filepath.Join(bad, "x.pem")},
		"loose mode":    {loose, filepath.Join(loose, "x.pem") + ": mode 0644"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{KeysDir: tt.dir})
			wantFailure(t, s, ref, errdefs.ErrPermissionDenied)
			if _, err := s.Pull(context.Background(), spec.Pull{Image: ref}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %s", err, tt.says)
			}
		})
	}
}
