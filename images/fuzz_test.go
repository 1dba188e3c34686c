package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"tare/spec"
)

// maxFuzzed keeps what a few bytes unpack to within bounds: gzip makes a thousand of one.
const maxFuzzed = 16 << 10

// Whatever a manifest and a configuration say, the image is read or refused.
func FuzzImage(f *testing.F) {
	config := `{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":["sh"],"User":"1:2","WorkingDir":"/a"},` +
		`"rootfs":{"type":"layers","diff_ids":["sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"]}}`
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":1,"digest":"CONFIG"},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":-1,"digest":"sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"}]}`
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"CONFIG","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`
	f.Add([]byte(manifest), []byte(config))
	f.Add([]byte(index), []byte(manifest))
	f.Add([]byte(manifest), []byte(`{"created":"x","rootfs":{"diff_ids":["",":"]}}`))
	store, err := local.NewStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	e := engine{content: store}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		if len(manifest) > maxFuzzed || len(config) > maxFuzzed {
			return
		}
		c := blob(t, store, ocispec.MediaTypeImageConfig, config)
		manifest = bytes.ReplaceAll(manifest, []byte("CONFIG"), []byte(c.Digest))
		for _, kind := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex} {
			m := blob(t, store, kind, manifest)
			if _, _, err := e.inspect(ctx, m); err == nil && len(config) == 0 {
				t.Error("an image without a configuration is one")
			}
			_ = store.Delete(ctx, m.Digest) // it may be the configuration, too
		}
		_ = store.Delete(ctx, c.Digest)
	})
}

func blob(t *testing.T, store content.Store, kind string, data []byte) ocispec.Descriptor {
	t.Helper()
	d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(context.Background(), store, d.Digest.String(), bytes.NewReader(data), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Whatever a layer holds, it is unpacked below its directory or refused.
func FuzzLayer(f *testing.F) {
	for _, entries := range [][]entry{
		{{name: "a/b", body: "x"}, {name: "a/.wh.b"}, {name: ".wh..wh..opq"}},
		{{name: "../up", body: "x"}, {name: "/abs", body: "y"}},
	} {
		f.Add(tarOf(f, entries...), true)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(tarOf(f, entry{name: "a", body: "x"})); err != nil || z.Close() != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes(), false)
	f.Add(append(bytes.Clone(zstdMagic), 0, 1, 2), false)
	f.Fuzz(func(t *testing.T, data []byte, stacked bool) {
		if len(data) > maxFuzzed {
			return
		}
		top := t.TempDir()
		dir := filepath.Join(top, "layer")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mounts := []mount.Mount{{Source: dir}}
		if stacked {
			mounts = []mount.Mount{{Options: []string{"upperdir=" + dir}}}
		}
		w := newLayerWriter(nil, bytesProvider(data), keyring{})
		_, _ = w.Apply(context.Background(), ocispec.Descriptor{Size: int64(len(data))}, mounts)
		if list, err := os.ReadDir(top); err != nil || len(list) != 1 {
			t.Errorf("beside the layer there is %v, %v", list, err)
		}
	})
}

// bytesProvider has one blob.
type bytesProvider []byte

func (b bytesProvider) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return sizedReader{bytes.NewReader(b)}, nil
}

type sizedReader struct{ *bytes.Reader }

func (sizedReader) Close() error { return nil }

var _ io.ReaderAt = sizedReader{}

// Whatever credentials are accepted, each is found for its own registry, and can be read.
func FuzzAuthFile(f *testing.F) {
	f.Add([]byte(`{"auths":{"a":{"auth":"dTpw"},"b":{"username":"u","password":"p"}},"credsStore":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a authFile
		if a.decode(bytes.NewReader(data)) != nil {
			return
		}
		for address, e := range a.Auths {
			host, path := splitAddress(address)
			found := a.find(host, path)
			if _, _, err := only(found).login(host); err != nil {
				t.Errorf("%q: %v", address, err)
			}
			if len(a.Auths) == 1 && found.Password != e.Password {
				t.Errorf("%q: its own credential is not found", address)
			}
		}
	})
}

// Whatever a hosts.toml says, the hosts of its registry can be asked by an address that is one, with the deadlines of all others, or the
// registry is refused.
func FuzzHosts(f *testing.F) {
	f.Add([]byte("server = \"https://registry.invalid\"\n[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"))
	f.Add([]byte("[host.\"https://mirror.invalid/prefix\"]\n  override_path = true\n  skip_verify = true\n  dial_timeout = \"3s\"\n  ca = \"hosts.toml\"\n" +
		"  client = [[\"a.crt\", \"a.key\"]]\n  [host.\"https://mirror.invalid/prefix\".header]\n    x-a = [\"b\", \"c\"]\n"))
	f.Add([]byte("[host.\"mirror.invalid\"]\n  skip_verify = true\n[host.\"\"]\n[host.\"ftp://x\"]\n"))
	f.Add([]byte("capabilities = [\"push\"]\nserver = \"http://127.0.0.1:5000/v2?x=y#z\"\nskip_verify = false\n"))
	const name = "registry.invalid"
	certs := f.TempDir()
	if err := os.Mkdir(filepath.Join(certs, name), 0o755); err != nil {
		f.Fatal(err)
	}
	log.L.Logger.SetOutput(io.Discard)
	r, err := newRegistries(Options{RegistryConfig: certs})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(certs, name, "hosts.toml"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		s := &source{}
		hosts, err := s.hosts(context.Background(), r, only(spec.Auth{}))(name)
		defer s.close()
		if err != nil {
			return
		}
		for _, h := range hosts {
			// The library's own that tries HTTPS first has the one it was made from inside.
			if kind := fmt.Sprintf("%T", h.Client.Transport); kind != "*images.patience" && kind != "*docker.httpFallback" {
				t.Errorf("host %s is asked without a deadline: %s", h.Host, kind)
			}
			if h.Scheme != "http" && h.Scheme != "https" || h.Host == "" {
				t.Errorf("host %q, scheme %q", h.Host, h.Scheme)
			}
			if _, err := http.NewRequest(http.MethodGet, h.Scheme+"://"+h.Host+h.Path, nil); err != nil {
				t.Errorf("host %q cannot be asked: %v", h.Host, err)
			}
		}
	})
}
