package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"tare/spec"
)

// pushManifest uploads a manifest, whatever it says, and returns its reference.
func (r testRegistry) pushManifest(t *testing.T, media types.MediaType, manifest string) string {
	t.Helper()
	r.put(t, "http://"+r.host+"/v2/odd/manifests/v1", string(media), manifest)
	return r.host + "/odd:v1"
}

// pushBlob uploads a blob and returns the beginning of its descriptor: digest and size.
func (r testRegistry) pushBlob(t *testing.T, blob string) string {
	t.Helper()
	d := digest.FromString(blob)
	resp, err := http.Post("http://"+r.host+"/v2/odd/blobs/uploads/?digest="+d.String(), "", strings.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("push blob: %s", resp.Status)
	}
	return fmt.Sprintf(`"digest": %q, "size": %d`, d, len(blob))
}

func (r testRegistry) put(t *testing.T, url, media, body string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("put %s: %s", url, resp.Status)
	}
}

// manifestOf is an OCI manifest of one layer.
func manifestOf(configType, config, layerType, layer string) string {
	return fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "config": {"mediaType": %q, %s}, "layers": [{"mediaType": %q, %s}]}`,
		types.OCIManifestSchema1, configType, config, layerType, layer)
}

func TestOddManifests(t *testing.T) {
	const (
		configType = string(types.OCIConfigJSON)
		layerType  = string(types.OCILayer)
		absent     = `"digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "size": 3`
	)
	plain := string(tarOf(t, entry{name: "f", body: "x"}))
	config := fmt.Sprintf(`{"os": "linux", "architecture": %q, "rootfs": {"type": "layers", "diff_ids": [%q]}}`, goarch, digest.FromString(plain))
	r := newRegistryServer(t, nil)
	goodConfig, goodLayer := r.pushBlob(t, config), r.pushBlob(t, plain)
	bigConfig := r.pushBlob(t, strings.Replace(config, `"os"`, strings.Repeat(" ", maxDocument)+`"os"`, 1))
	resized := func(descriptor string, size int) string {
		return descriptor[:strings.LastIndex(descriptor, " ")+1] + fmt.Sprint(size)
	}
	for name, c := range map[string]struct {
		media    types.MediaType
		manifest string
		class    error
	}{
		"schema 1":            {types.DockerManifestSchema1Signed, `{"schemaVersion": 1}`, errdefs.ErrInvalidArgument},
		"not JSON":            {types.OCIManifestSchema1, `garbage`, errdefs.ErrDataLoss},
		"null":                {types.OCIManifestSchema1, `null`, errdefs.ErrInvalidArgument},
		"empty":               {types.OCIManifestSchema1, `{}`, errdefs.ErrInvalidArgument},
		"neither kind":        {"text/plain", `hello`, errdefs.ErrInvalidArgument},
		"index without any":   {types.OCIImageIndex, `{"schemaVersion": 2, "manifests": []}`, errdefs.ErrNotFound},
		"absent config":       {types.OCIManifestSchema1, manifestOf(configType, absent, layerType, goodLayer), errdefs.ErrNotFound},
		"absent layer":        {types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, absent), errdefs.ErrNotFound},
		"artifact":            {types.OCIManifestSchema1, manifestOf("application/vnd.cncf.helm.config.v1+json", goodConfig, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", goodLayer), errdefs.ErrInvalidArgument},
		"artifact, no config": {types.OCIManifestSchema1, manifestOf("application/vnd.oci.empty.v1+json", r.pushBlob(t, "{}"), "application/vnd.example", goodLayer), errdefs.ErrInvalidArgument},
		"layer of no type":    {types.OCIManifestSchema1, manifestOf(configType, goodConfig, "application/octet-stream", goodLayer), errdefs.ErrInvalidArgument},
		"config is garbage":   {types.OCIManifestSchema1, manifestOf(configType, r.pushBlob(t, "garbage"), layerType, goodLayer), errdefs.ErrDataLoss},
		"config without root": {types.OCIManifestSchema1, manifestOf(configType, r.pushBlob(t, `{"os": "linux"}`), layerType, goodLayer), errdefs.ErrDataLoss},
		"huge manifest":       {types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, goodLayer) + strings.Repeat(" ", maxDocument), errdefs.ErrNotFound},
		"huge config":         {types.OCIManifestSchema1, manifestOf(configType, bigConfig, layerType, goodLayer), errdefs.ErrInvalidArgument},
		"layer is longer":     {types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, resized(goodLayer, 100)), errdefs.ErrDataLoss},
		"layer is shorter":    {types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, resized(goodLayer, 1<<20)), errdefs.ErrUnavailable},
		"size below zero":     {types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, resized(goodLayer, -5)), errdefs.ErrInvalidArgument},
		"config is longer":    {types.OCIManifestSchema1, manifestOf(configType, resized(goodConfig, 10), layerType, goodLayer), errdefs.ErrDataLoss},
		"digest is no digest": {types.OCIManifestSchema1, manifestOf(configType, `"digest": "sha256:../../x", "size": 3`, layerType, goodLayer), errdefs.ErrInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{})
			wantFailure(t, s, r.pushManifest(t, c.media, c.manifest), c.class)
		})
	}
	t.Run("good", func(t *testing.T) {
		s := openStore(t, Options{})
		mustPull(t, s, r.pushManifest(t, types.OCIManifestSchema1, manifestOf(configType, goodConfig, layerType, goodLayer)))
	})
}

// A layer may come from elsewhere than the registry; the credential does not go there.
func TestForeignLayer(t *testing.T) {
	plain := tarOf(t, entry{name: "f", body: "x"})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("credential %q was sent", got)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(plain))
	}))
	t.Cleanup(elsewhere.Close)
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	config := r.pushBlob(t, fmt.Sprintf(`{"os": "linux", "architecture": %q, "rootfs": {"type": "layers", "diff_ids": [%q]}}`, goarch, digest.FromBytes(plain)))
	urls, err := json.Marshal([]string{elsewhere.URL + "/layer"})
	if err != nil {
		t.Fatal(err)
	}
	ref := r.pushManifest(t, types.OCIManifestSchema1, manifestOf(string(types.OCIConfigJSON), config, string(types.OCIUncompressedRestrictedLayer),
		fmt.Sprintf(`"digest": %q, "size": %d, "urls": %s`, digest.FromBytes(plain), len(plain), urls)))
	img, err := s.Pull(t.Context(), spec.Pull{Image: ref, Auth: &spec.Auth{Username: "u", Password: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, acquire(t, s, img.ID)[0]+"/f"); got != "x" {
		t.Errorf("content %q", got)
	}
}

// One layer may be there several times.
func TestRepeatedLayer(t *testing.T) {
	twice := layerOf(t, entry{name: "f", body: "x"})
	root := rootOf(t, []v1.Layer{twice, layerOf(t, entry{name: ".wh.f"}, entry{name: "g", body: "y"}), twice, twice}...)
	wantContent(t, root, "f", "x")
	wantContent(t, root, "g", "y")
}
