package pod

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// frontedRegistry is the suite's registry under a host of its own, behind what handle makes of each
// request.
func frontedRegistry(t *testing.T, host string, handle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	t.Helper()
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: suite.addr})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, pass) }))
	t.Cleanup(s.Close)
	if err := registry.WriteCertsDir(suite.certs, s.Listener.Addr().String(), host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range []string{host, s.Listener.Addr().String()} {
			if err := os.RemoveAll(filepath.Join(suite.certs, name)); err != nil {
				t.Error(err)
			}
		}
	})
}

func (d *daemon) pullWith(t *testing.T, ref string, auth *runtime.AuthConfig) error {
	_, err := d.images.PullImage(deadline(t), &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}, Auth: auth})
	return err
}

// TestRegistryCredentials: every form of a credential opens the registry it is for, and none is ever seen in
// the log or in an error.
func TestRegistryCredentials(t *testing.T) {
	const host, secret, token = "private.tare.test", "hunter2-password", "hunter2-token"
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	frontedRegistry(t, host, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		switch r.Header.Get("Authorization") {
		case "Basic " + encoded, "Bearer " + token:
			pass.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="tare"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {"%s/layers": {"auth": %q}}}`, hostOf(t, host), encoded), 0o600); err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{config: fmt.Sprintf("registry.auth_file = %q", file)})
	image, other := host+"/layers:gzip", host+"/library/busybox:latest"
	for _, tt := range []struct {
		name string
		ref  string
		auth *runtime.AuthConfig
		code codes.Code
		word string
	}{
		{"user and password", other, &runtime.AuthConfig{Username: "user", Password: secret}, codes.OK, ""},
		{"encoded", other, &runtime.AuthConfig{Auth: encoded}, codes.OK, ""},
		{"registry token", other, &runtime.AuthConfig{RegistryToken: token}, codes.OK, ""},
		{"the node's own", image, nil, codes.OK, ""},
		{"empty is none", image, &runtime.AuthConfig{}, codes.OK, ""},
		{"the node's own is for others", other, nil, codes.Unauthenticated, other},
		{"wrong", image, &runtime.AuthConfig{Username: "user", Password: secret + "x"}, codes.Unauthenticated, image},
		{"wrong token", image, &runtime.AuthConfig{RegistryToken: token + "x"}, codes.Unauthenticated, image},
		{"for elsewhere", image, &runtime.AuthConfig{Username: "user", Password: secret, ServerAddress: "elsewhere.test"}, codes.Unauthenticated, image},
		{"no user", image, &runtime.AuthConfig{Password: secret}, codes.InvalidArgument, "auth.username"},
		{"not encoded", image, &runtime.AuthConfig{Auth: "user:" + secret}, codes.InvalidArgument, "auth.auth"},
		{"line feed", image, &runtime.AuthConfig{RegistryToken: token + "\nx: y"}, codes.InvalidArgument, "auth.registry_token"},
		{"no host", image, &runtime.AuthConfig{RegistryToken: token, ServerAddress: "a b"}, codes.InvalidArgument, "auth.server_address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.removeImage(t, tt.ref)
			err := d.pullWith(t, tt.ref, tt.auth)
			if tt.code != codes.OK {
				refused(t, err, tt.code, tt.word)
			} else if err != nil {
				t.Error(err)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), encoded)) {
				t.Errorf("error %v shows a secret", err)
			}
		})
	}
	if resp, err := d.runtime.Status(deadline(t), &runtime.StatusRequest{Verbose: true}); err != nil || strings.Contains(resp.String(), encoded) {
		t.Errorf("verbose status: %v, %v", resp, err)
	}
	for _, s := range []string{"hunter2", encoded} {
		if strings.Contains(d.logFile(), s) {
			t.Errorf("the daemon's log shows %s", s)
		}
	}
}

// hostOf is where the hosts.toml of a registry leads: credentials of the node are for the host that is
// asked.
func hostOf(t *testing.T, host string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(suite.certs, host, "hosts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `server = "http://`)
	addr, _, _ := strings.Cut(rest, `"`)
	return addr
}

// TestVerifiers: a refused image is not there, and the kubelet sees why.
func TestVerifiers(t *testing.T) {
	dir := t.TempDir()
	program := "#!/bin/sh\ncase $2 in */layers:gzip) echo no signature; exit 1; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "policy"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{config: fmt.Sprintf("images.verifier_dir = %q", dir)})
	before := imageStore(t, d)
	_, err := d.tryPull(t, layers)
	refused(t, err, codes.Unknown, layers, "no signature")
	if err != nil && !strings.Contains(err.Error(), "desc = SignatureValidationFailed: ") {
		t.Errorf("error does not begin with what the kubelet looks for: %v", err)
	}
	sameStore(t, d, before)
	d.pull(t, registry.LocalHost+"/layers:zstd")
}

// TestFailingRegistry: whatever a registry does wrong, the kubelet sees that it was the registry.
func TestFailingRegistry(t *testing.T) {
	const host = "failing.tare.test"
	blob := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
	d := ownDaemon(t, options{config: `registry.stall_timeout = "200ms"`})
	for name, handle := range map[string]func(w http.ResponseWriter, r *http.Request, pass http.Handler){
		"server error": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusInternalServerError)
		},
		"overloaded": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"breaks off": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"stalls": func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if !blob(r) {
				pass.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Length", "1000000")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			frontedRegistry(t, host, handle)
			before := imageStore(t, d)
			_, err := d.tryPull(t, host+"/layers:gzip")
			refused(t, err, codes.Unknown, host+"/layers:gzip")
			if err != nil && !strings.Contains(err.Error(), "desc = RegistryUnavailable: ") {
				t.Errorf("error does not begin with what the kubelet looks for: %v", err)
			}
			for path := range imageStore(t, d) {
				if !before[path] && strings.Contains(path, "/sha256/") {
					t.Errorf("left behind: %s", path)
				}
			}
		})
	}
}

// TestSharedPulls: those who ask at once get one download, also of layers that images share.
func TestSharedPulls(t *testing.T) {
	const host = "counted.tare.test"
	refs := []string{host + "/library/nginx:latest", host + "/library/busybox:latest", host + "/e2e-test-images/httpd:2.4.39-4"}
	var mu sync.Mutex
	fetched := map[string]int{}
	gate := make(chan struct{}) // until something of each image was asked for
	open := sync.OnceFunc(func() { close(gate) })
	frontedRegistry(t, host, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			mu.Lock()
			if fetched[filepath.Base(r.URL.Path)]++; len(fetched) == len(refs) {
				open()
			}
			mu.Unlock()
			<-gate
		}
		pass.ServeHTTP(w, r)
	})
	d := ownDaemon(t, options{})
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if _, err := d.tryPull(t, refs[i%len(refs)]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for digest, n := range fetched {
		if n > 1 {
			t.Errorf("%s was fetched %d times", digest, n)
		}
	}
}
