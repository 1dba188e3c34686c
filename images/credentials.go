package images

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"tare/spec"
)

// credentials tells what may be shown to a registry host; the zero Auth is nothing.
type credentials func(host string) spec.Auth

// credentialsFor returns those of one pull: what the request brings, else the node's own.
func (r registries) credentialsFor(named reference.Named, asked *spec.Auth) (credentials, error) {
	if asked != nil {
		return only(*asked), nil
	}
	if r.authFile == "" {
		return only(spec.Auth{}), nil
	}
	entries, err := readAuthFile(r.authFile)
	if err != nil {
		return nil, err
	}
	return func(host string) spec.Auth { return entries.find(host, reference.Path(named)) }, nil
}

// only is one credential, for the registry it names.
func only(auth spec.Auth) credentials {
	return func(host string) spec.Auth {
		if !meantFor(auth.ServerAddress, host) {
			return spec.Auth{}
		}
		return auth
	}
}

// login returns user and password for host, or "" and a refresh token, or nothing.
func (c credentials) login(host string) (user, secret string, err error) {
	auth := c(host)
	switch {
	case auth.Username != "":
		return auth.Username, auth.Password, nil
	case auth.IdentityToken != "":
		return "", auth.IdentityToken, nil
	case auth.Auth != "":
		user, secret, ok := spec.DecodeLogin(auth.Auth)
		if !ok {
			return "", "", fmt.Errorf("auth is not base64 of user:password: %w", errdefs.ErrInvalidArgument)
		}
		return user, secret, nil
	}
	return "", "", nil
}

// meantFor reports whether a credential for address (a host, or a URL as `docker login` stores
// it; empty: any) may be shown to host.
func meantFor(address, host string) bool {
	if address == "" {
		return true
	}
	named, _ := splitAddress(address)
	return named == canonicalHost(host)
}

// splitAddress returns host and path of a host, or of a URL as `docker login` stores it.
func splitAddress(address string) (host, path string) {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	host, path, _ = strings.Cut(address, "/")
	return canonicalHost(host), strings.Trim(path, "/")
}

// canonicalHost knows the names of the one registry that has several.
func canonicalHost(host string) string {
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}
