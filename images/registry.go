package images

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"tare/spec"
)

// registries is how registries are reached: configuration and deadlines.
type registries struct {
	configDir          string // certs.d, or empty
	authFile           string // the node's credentials, or empty
	dial, reply, stall time.Duration
}

// newRegistries reads the credentials once, to say at the start what is wrong with them.
func newRegistries(o Options) (r registries, err error) {
	if o.AuthFile != "" {
		_, err = readAuthFile(o.AuthFile)
	}
	return registries{
		configDir: o.RegistryConfig,
		authFile:  o.AuthFile,
		dial:      cmp.Or(o.DialTimeout, DefaultDialTimeout),
		reply:     cmp.Or(o.ReplyTimeout, DefaultReplyTimeout),
		stall:     cmp.Or(o.StallTimeout, DefaultStallTimeout),
	}, err
}

// source is a resolver with the connections of one pull.
type source struct {
	remotes.Resolver
	mu         sync.Mutex // guards transports
	transports []*http.Transport
}

// source returns where one pull gets its image from. hosts.toml and the node's credentials are read
// anew for every pull, so a change needs no restart. The caller closes it.
func (r registries) source(ctx context.Context, named reference.Named, asked *spec.Auth) (*source, error) {
	known, err := r.credentialsFor(named, asked)
	if err != nil {
		return nil, err
	}
	s := &source{}
	s.Resolver = docker.NewResolver(docker.ResolverOptions{Hosts: s.hosts(ctx, r, known)})
	return s, nil
}

// hosts tells of a registry by which hosts it is reached, and how.
func (s *source) hosts(ctx context.Context, r registries, known credentials) docker.RegistryHosts {
	o := config.HostOptions{
		Credentials:  known.login,
		UpdateClient: func(c *http.Client) error { s.adopt(r, c); return nil },
	}
	if r.configDir != "" {
		o.HostDir = config.HostDirFromRoot(r.configDir)
	}
	return withTokens(withAddresses(config.ConfigureHosts(ctx, o)), known)
}

// withAddresses refuses hosts that nobody can ask: hosts.toml may have an empty name among others.
func withAddresses(hosts docker.RegistryHosts) docker.RegistryHosts {
	return func(name string) ([]docker.RegistryHost, error) {
		all, err := hosts(name)
		for _, h := range all {
			if h.Host == "" {
				return nil, fmt.Errorf("hosts.toml of %s: a host has no address: %w", name, errdefs.ErrFailedPrecondition)
			}
		}
		return all, err
	}
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

// withTokens makes requests carry the bearer tokens that are known already.
func withTokens(hosts docker.RegistryHosts, known credentials) docker.RegistryHosts {
	return func(name string) ([]docker.RegistryHost, error) {
		all, err := hosts(name)
		for i := range all {
			if token := known(all[i].Host).RegistryToken; token != "" {
				all[i].Authorizer = bearer(token)
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
