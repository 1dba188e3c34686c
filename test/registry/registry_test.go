package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// built is the catalog the tests share.
var built = sync.OnceValues(Build)

func catalog(t *testing.T) *Catalog {
	t.Helper()
	c, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T) string {
	t.Helper()
	s, err := Serve(catalog(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr() + "/v2/"
}

func get(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestReproducible(t *testing.T) {
	first := catalog(t)
	second, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range first.Entries {
		want, err := e.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := second.Entries[i].Digest(); err != nil || got != want {
			t.Errorf("%s: %s, then %s (%v)", e.Repo, want, got, err)
		}
	}
}

// TestEveryImage pulls each tag the way a client does: manifest by tag, index to
// manifest by platform, config and layers by digest.
func TestEveryImage(t *testing.T) {
	base := serve(t)
	damaged := catalog(t).damage
	for _, e := range catalog(t).Entries {
		for _, tag := range e.Tags {
			_, raw, err := get(t, base+e.Repo+"/manifests/"+tag)
			if err != nil {
				t.Fatal(err)
			}
			if e.Index != nil {
				var idx v1.IndexManifest
				if err := json.Unmarshal(raw, &idx); err != nil || len(idx.Manifests) != 2 {
					t.Fatalf("%s:%s: index %s: %v", e.Repo, tag, raw, err)
				}
				_, raw, _ = get(t, base+e.Repo+"/manifests/"+idx.Manifests[1].Digest.String())
			}
			var m v1.Manifest
			if err := json.Unmarshal(raw, &m); err != nil {
				t.Fatalf("%s:%s: %v", e.Repo, tag, err)
			}
			for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
				resp, blob, err := get(t, base+e.Repo+"/blobs/"+d.Digest.String())
				if damaged[d.Digest] != 0 {
					continue
				}
				if err != nil || resp.StatusCode != http.StatusOK || digestOf(blob) != d.Digest.String() || int64(len(blob)) != d.Size {
					t.Errorf("%s:%s: blob %s: %s, %d bytes, %v", e.Repo, tag, d.Digest, resp.Status, len(blob), err)
				}
			}
		}
	}
}

func TestDamage(t *testing.T) {
	base := serve(t)
	kinds := map[damage]bool{}
	for digest, how := range catalog(t).damage {
		kinds[how] = true
		_, blob, err := get(t, base+"hostile/blobs/"+digest.String())
		switch {
		case how == truncated && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("truncated blob: got %v, want a connection that breaks", err)
		case how == corrupt && (err != nil || digestOf(blob) == digest.String()):
			t.Errorf("corrupt blob: right digest, or %v", err)
		}
	}
	if len(kinds) != 2 {
		t.Errorf("damages served: %v, want both", kinds)
	}
}

func TestRange(t *testing.T) {
	base := serve(t)
	img := catalog(t).Entries[0]
	idx, err := img.Index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	child, err := img.Index.Image(idx.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := child.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	url := base + img.Repo + "/blobs/" + digest.String()
	_, whole, err := get(t, url)
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string][]byte{"bytes=10-19": whole[10:20], "bytes=100-": whole[100:]} {
		resp, part, err := get(t, url, "Range", header)
		if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(part, want) {
			t.Errorf("%s: %s, %d bytes, %v", header, resp.Status, len(part), err)
		}
	}
	resp, _, _ := get(t, base+img.Repo+"/blobs/sha256:"+strings.Repeat("0", 64))
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown blob: %s", resp.Status)
	}
	resp, _, _ = get(t, base+"no/such/manifests/latest")
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown image: %s", resp.Status)
	}
}

func TestWriteCertsDir(t *testing.T) {
	dir := t.TempDir()
	if err := WriteCertsDir(dir, "127.0.0.1:5000", Hosts...); err != nil {
		t.Fatal(err)
	}
	for _, host := range append([]string{"127.0.0.1:5000"}, Hosts...) {
		text, err := os.ReadFile(filepath.Join(dir, host, "hosts.toml"))
		if err != nil || !strings.Contains(string(text), `[host."http://127.0.0.1:5000"]`) {
			t.Errorf("%s: %q, %v", host, text, err)
		}
	}
}
