package cri

import (
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// auth validates and converts a credential; one that holds nothing is none. What it refuses, it
// does not show.
func auth(a *runtime.AuthConfig, at field) (*spec.Auth, error) {
	if a.GetUsername()+a.GetPassword()+a.GetAuth()+a.GetIdentityToken()+a.GetRegistryToken() == "" {
		return nil, nil
	}
	_, _, login := spec.DecodeLogin(a.Auth)
	switch {
	case a.Password != "" && a.Username == "":
		return nil, at.sub("username").errorf("must not be empty with a password")
	case a.Auth != "" && !login:
		return nil, at.sub("auth").errorf("is not base64 of user:password")
	case strings.ContainsFunc(a.RegistryToken, notInHeader):
		return nil, at.sub("registry_token").errorf("contains what no HTTP header can hold")
	case strings.ContainsFunc(a.ServerAddress, notInHeader):
		return nil, at.sub("server_address").errorf("%q is neither a host nor a URL", a.ServerAddress)
	}
	return &spec.Auth{
		Username: a.Username, Password: a.Password, Auth: a.Auth, ServerAddress: a.ServerAddress,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}, nil
}

// notInHeader tells what neither a bearer token (RFC 6750, 2.1) nor a host name has.
func notInHeader(r rune) bool { return r <= ' ' || r > '~' }
