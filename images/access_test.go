package images

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"tare/spec"
)

func TestIndexPlatform(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	here := v1.Platform{OS: "linux", Architecture: goarch}
	there := v1.Platform{OS: "linux", Architecture: "s390x"}
	own := imageFor(t, here, v1.Config{}, layerOf(t, entry{name: "own", body: "x"}))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{
			Add:        imageFor(t, there, v1.Config{}, layerOf(t, entry{name: "foreign", body: "x"})),
			Descriptor: v1.Descriptor{Platform: &there},
		},
		mutate.IndexAddendum{Add: own, Descriptor: v1.Descriptor{Platform: &here}})
	ref := r.push(t, "multi:v1", index)
	got := mustPull(t, s, ref)
	if got.ID != idOf(t, own) {
		t.Errorf("id %s, want that of this platform's image", got.ID)
	}
	if want := r.host + "/multi@" + digestOf(t, index); !slices.Equal(got.Digests, []string{want}) {
		t.Errorf("digests %v, want the index's %s", got.Digests, want)
	}
}

func TestImageWithoutPlatform(t *testing.T) {
	r, s := newRegistryServer(t, nil), openStore(t, Options{})
	mustPull(t, s, r.push(t, "any:v1", imageFor(t, v1.Platform{}, v1.Config{}, layerOf(t, entry{name: "f", body: "x"}))))
}

func TestMirror(t *testing.T) {
	certs := t.TempDir()
	mirror := newRegistryServer(t, nil)
	mirror.push(t, "library/app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	host := filepath.Join(certs, "registry.invalid") // resolves nowhere: only the mirror can serve it
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	toml := "server = \"https://registry.invalid\"\n[host.\"http://" + mirror.host + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	if err := os.WriteFile(filepath.Join(host, "hosts.toml"), []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, Options{RegistryConfig: certs})
	img := mustPull(t, s, "registry.invalid/library/app:v1")
	if !slices.Equal(img.Tags, []string{"registry.invalid/library/app:v1"}) {
		t.Errorf("tags %v: want the registry's name, not the mirror's", img.Tags)
	}
	absent := openStore(t, Options{RegistryConfig: filepath.Join(certs, "absent")})
	r := newRegistryServer(t, nil)
	mustPull(t, absent, r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"}))))
}

// demand lets only requests with this Authorization header read; writing is free.
func demand(header, challenge string, status *atomic.Int32) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reading := r.Method == http.MethodGet || r.Method == http.MethodHead
			if code := status.Load(); reading && code != 0 && r.Header.Get("Authorization") != header {
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(int(code))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestCredentials(t *testing.T) {
	userPassword := base64.StdEncoding.EncodeToString([]byte("u:p:w"))
	basic := []string{"Basic " + userPassword, `Basic realm="r"`}
	token := []string{"Bearer secret-token", `Bearer realm="http://127.0.0.1:1/token"`}
	cases := map[string]struct {
		demanded []string // header and challenge
		auth     *spec.Auth
		class    error
	}{
		"user and password":      {basic, &spec.Auth{Username: "u", Password: "p:w"}, nil},
		"encoded":                {basic, &spec.Auth{Auth: userPassword}, nil},
		"none":                   {basic, nil, errdefs.ErrUnauthenticated},
		"wrong password":         {basic, &spec.Auth{Username: "u", Password: "secret"}, errdefs.ErrUnauthenticated},
		"for another registry":   {basic, &spec.Auth{Username: "u", Password: "p:w", ServerAddress: "https://example.com/v1/"}, errdefs.ErrUnauthenticated},
		"not encoded":            {basic, &spec.Auth{Auth: "u:p"}, errdefs.ErrInvalidArgument},
		"registry token":         {token, &spec.Auth{RegistryToken: "secret-token"}, nil},
		"refused registry token": {token, &spec.Auth{RegistryToken: "secret"}, errdefs.ErrUnauthenticated},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var status atomic.Int32
			r, s := newRegistryServer(t, demand(c.demanded[0], c.demanded[1], &status)), openStore(t, Options{})
			ref := r.push(t, "private:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
			status.Store(http.StatusUnauthorized)
			_, err := s.Pull(context.Background(), spec.Pull{Image: ref, Auth: c.auth})
			if !errors.Is(err, c.class) {
				t.Fatalf("%v, want class %v", err, c.class)
			}
			if c.class != nil {
				wantNothingLeft(t, s)
				return
			}
			auth := *c.auth
			auth.ServerAddress = r.host
			if err := s.Remove(context.Background(), ref); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Pull(context.Background(), spec.Pull{Image: ref, Auth: &auth}); err != nil {
				t.Errorf("with its server address: %v", err)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	var status atomic.Int32
	r, s := newRegistryServer(t, demand("none", "", &status)), openStore(t, Options{})
	ref := r.push(t, "private:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	status.Store(http.StatusForbidden)
	wantFailure(t, s, ref, errdefs.ErrPermissionDenied)
	status.Store(http.StatusTooManyRequests)
	wantFailure(t, s, ref, errdefs.ErrUnavailable)
}

func TestErrorTextHidesQueries(t *testing.T) {
	err := pullError("a:v1", errors.New("Get \"https://cdn/blob?X-Signature=secret&u=1\": refused\nagain"))
	if got, want := err.Error(), `pull image a:v1: Get "https://cdn/blob": refused; again`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}
