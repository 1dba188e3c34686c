package images

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"

	"tare/spec"
)

// registries is how registries are reached: configuration and deadlines.
type registries struct {
	configDir          string // certs.d, or empty
	dial, reply, stall time.Duration
}

func newRegistries(o Options) registries {
	return registries{
		configDir: o.RegistryConfig,
		dial:      cmp.Or(o.DialTimeout, DefaultDialTimeout),
		reply:     cmp.Or(o.ReplyTimeout, DefaultReplyTimeout),
		stall:     cmp.Or(o.StallTimeout, DefaultStallTimeout),
	}
}

// source is a resolver with the connections of one pull.
type source struct {
	remotes.Resolver
	mu         sync.Mutex // guards transports
	transports []*http.Transport
}

// source returns where one pull gets its image from. hosts.toml is read anew for every pull, so a
// changed mirror needs no restart. The caller closes it.
func (r registries) source(ctx context.Context, asked *spec.Auth) *source {
	s, auth := &source{}, spec.Auth{}
	if asked != nil {
		auth = *asked
	}
	o := config.HostOptions{
		Credentials:  func(host string) (string, string, error) { return credential(auth, host) },
		UpdateClient: func(c *http.Client) error { s.adopt(r, c); return nil },
	}
	if r.configDir != "" {
		o.HostDir = config.HostDirFromRoot(r.configDir)
	}
	hosts := config.ConfigureHosts(ctx, o)
	if auth.RegistryToken != "" {
		hosts = withToken(hosts, auth)
	}
	s.Resolver = docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
	return s
}

// adopt gives a client of containerd's making our deadlines. It is called again for a host with
// a client of its own, made from the first one: what hosts.toml set there must stay.
func (s *source) adopt(r registries, c *http.Client) {
	t, ok := c.Transport.(*http.Transport)
	if !ok {
		return // has them already
	}
	s.mu.Lock()
	first := len(s.transports) == 0
	s.transports = append(s.transports, t)
	s.mu.Unlock()
	if first {
		t.DialContext = (&net.Dialer{Timeout: r.dial}).DialContext
		t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = r.reply, r.reply
	}
	c.Transport = &patience{next: t, stall: r.stall}
}

// close closes idle connections; none is left busy after a pull.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
}

// credential returns user and password for host, or "" and a refresh token, or nothing.
func credential(auth spec.Auth, host string) (user, secret string, err error) {
	if !meantFor(auth.ServerAddress, host) {
		return "", "", nil
	}
	switch {
	case auth.Username != "":
		return auth.Username, auth.Password, nil
	case auth.IdentityToken != "":
		return "", auth.IdentityToken, nil
	case auth.Auth != "":
		b, err := base64.StdEncoding.DecodeString(auth.Auth)
		user, secret, ok := strings.Cut(string(b), ":")
		if err != nil || !ok {
			return "", "", fmt.Errorf("auth is not base64 of user:password: %w", errdefs.ErrInvalidArgument)
		}
		return user, strings.TrimRight(secret, "\x00"), nil
	}
	return "", "", nil
}

// meantFor reports whether a credential for address (a host, or a URL as `docker login` stores
// it; empty: any) may be shown to host.
func meantFor(address, host string) bool {
	if address == "" {
		return true
	}
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	address, _, _ = strings.Cut(address, "/")
	return canonicalHost(address) == canonicalHost(host)
}

// canonicalHost knows the names of the one registry that has several.
func canonicalHost(host string) string {
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}

// withToken makes requests carry the bearer token the caller already has.
func withToken(hosts docker.RegistryHosts, auth spec.Auth) docker.RegistryHosts {
	return func(name string) ([]docker.RegistryHost, error) {
		all, err := hosts(name)
		for i := range all {
			if meantFor(auth.ServerAddress, all[i].Host) {
				all[i].Authorizer = bearer(auth.RegistryToken)
			}
		}
		return all, err
	}
}

// bearer authorises with a fixed token. The header is dropped by net/http when a redirect leads
// to another domain.
type bearer string

func (b bearer) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

// AddResponses is called with a refusal: there is no other token to try.
func (bearer) AddResponses(context.Context, []*http.Response) error {
	return fmt.Errorf("registry refused the token: %w", docker.ErrInvalidAuthorization)
}
