package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/spec"
)

func writeAuthFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAuthFileFind(t *testing.T) {
	a, err := readAuthFile(writeAuthFile(t, `{"auths": {
		"https://index.docker.io/v1/": {"auth": "aHViOnB3", "email": "a@b"},
		"quay.io":                     {"username": "host", "password": "p"},
		"quay.io/team":                {"username": "team", "password": "p"},
		"quay.io/team/app":            {"identitytoken": "t"},
		"localhost:5000/":             {"registrytoken": "r"}
	}, "HttpHeaders": {"User-Agent": "x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, repository string
		want             spec.Auth
	}{
		{"registry-1.docker.io", "library/busybox", spec.Auth{Auth: "aHViOnB3"}},
		{"quay.io", "other/app", spec.Auth{Username: "host", Password: "p"}},
		{"quay.io", "teamwork/app", spec.Auth{Username: "host", Password: "p"}},
		{"quay.io", "team/other", spec.Auth{Username: "team", Password: "p"}},
		{"quay.io", "team", spec.Auth{Username: "team", Password: "p"}},
		{"quay.io", "team/app", spec.Auth{IdentityToken: "t"}},
		{"localhost:5000", "a", spec.Auth{RegistryToken: "r"}},
		{"localhost", "a", spec.Auth{}},
		{"mirror.example", "library/busybox", spec.Auth{}},
	} {
		if got := a.find(tt.host, tt.repository); got != tt.want {
			t.Errorf("%s/%s: %+v, want %+v", tt.host, tt.repository, got, tt.want)
		}
	}
}

func TestBadAuthFiles(t *testing.T) {
	const secret = "hunter2"
	file := func(text string) func(*testing.T, string) error {
		return func(_ *testing.T, path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, c := range map[string]struct {
		make func(*testing.T, string) error
		word string
	}{
		"absent":            {func(*testing.T, string) error { return nil }, "no such file"},
		"directory":         {func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "no regular file"},
		"pipe":              {func(_ *testing.T, path string) error { return unix.Mkfifo(path, 0o600) }, "no regular file"},
		"others may read":   {func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("{}"), 0o644) }, "mode 0644"},
		"of somebody else":  {func(_ *testing.T, path string) error { return errors.Join(file("{}")(nil, path), os.Chown(path, 1, 0)) }, "user 1"},
		"not JSON":          {file("hunter2"), "invalid character"},
		"empty":             {file(""), "unexpected end"},
		"other shape":       {file(`{"auths": ["hunter2"]}`), "array"},
		"not encoded":       {file(`{"auths": {"quay.io": {"auth": "hunter2"}}}`), `auths["quay.io"]`},
		"credential store":  {file(`{"credsStore": "pass"}`), "credsStore"},
		"credential helper": {file(`{"credHelpers": {"quay.io": "ecr-login"}}`), "credHelpers"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "auth.json")
			if err := c.make(t, path); err != nil {
				t.Fatal(err)
			}
			_, err := Open(context.Background(), Options{Root: t.TempDir(), AuthFile: path}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), "registry.auth_file") {
				t.Fatalf("%v, want %s", err, c.word)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}

func TestPullWithAuthFile(t *testing.T) {
	var status atomic.Int32
	encoded := base64.StdEncoding.EncodeToString([]byte("u:p"))
	r := newRegistryServer(t, demand("Basic "+encoded, `Basic realm="r"`, &status))
	ref := r.push(t, "team/app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	status.Store(http.StatusUnauthorized)
	path := writeAuthFile(t, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.host+"/team", encoded))
	s := openStore(t, Options{AuthFile: path})
	mustPull(t, s, ref)
	_, err := s.Pull(context.Background(), spec.Pull{Image: ref, Auth: &spec.Auth{Username: "other", Password: "p"}})
	if !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("the request's own credential: %v, want it tried alone", err)
	}
	remove(t, s, ref)
	if err := os.WriteFile(path, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, s, ref, errdefs.ErrUnauthenticated) // a change needs no restart
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, s, ref, errdefs.ErrPermissionDenied)
}

// An identity token is exchanged for an access token where the registry says (Docker Registry v2
// authentication, OAuth2); the registry itself sees the latter only.
func TestIdentityToken(t *testing.T) {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != "long-lived" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"access_token": "short-lived", "expires_in": 300})
	}))
	t.Cleanup(issuer.Close)
	var status atomic.Int32
	r := newRegistryServer(t, demand("Bearer short-lived", `Bearer realm="`+issuer.URL+`/token",service="s"`, &status))
	ref := r.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	status.Store(http.StatusUnauthorized)
	s := openStore(t, Options{})
	for token, class := range map[string]error{"long-lived": nil, "expired": errdefs.ErrUnauthenticated} {
		if _, err := s.Pull(context.Background(), spec.Pull{Image: ref, Auth: &spec.Auth{IdentityToken: token}}); !errors.Is(err, class) {
			t.Errorf("token %s: %v, want class %v", token, err, class)
		}
	}
}

// A credential with an address is shown to that registry only, however the image is reached.
func TestCredentialStaysWithItsRegistry(t *testing.T) {
	var seen atomic.Int32
	mirror := newRegistryServer(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				seen.Add(1)
			}
			if r.Method == http.MethodHead && r.Header.Get("Authorization") == "" && strings.Contains(r.URL.Path, "/manifests/") && r.URL.Query().Has("ns") {
				w.Header().Set("WWW-Authenticate", `Basic realm="r"`) // asks, and would take any
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	mirror.push(t, "app:v1", imageOf(t, layerOf(t, entry{name: "f", body: "x"})))
	certs := t.TempDir()
	if err := os.Mkdir(filepath.Join(certs, "registry.invalid"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := "server = \"http://" + mirror.host + "\"\n[host.\"http://" + mirror.host + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	if err := os.WriteFile(filepath.Join(certs, "registry.invalid", "hosts.toml"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	file := writeAuthFile(t, `{"auths": {"registry.invalid": {"username": "u", "password": "p"}}}`)
	s := openStore(t, Options{RegistryConfig: certs, AuthFile: file})
	for name, auth := range map[string]*spec.Auth{
		"user":  {Username: "u", Password: "p", ServerAddress: "https://registry.invalid"},
		"token": {RegistryToken: "t", ServerAddress: "registry.invalid"},
		"file":  nil,
	} {
		_, err := s.Pull(context.Background(), spec.Pull{Image: "registry.invalid/app:v1", Auth: auth})
		if !errors.Is(err, errdefs.ErrUnauthenticated) || seen.Load() != 0 {
			t.Errorf("%s: %v, and the mirror has seen %d credentials", name, err, seen.Load())
		}
	}
}
