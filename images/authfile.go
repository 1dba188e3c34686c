package images

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// authFile is the node's own credentials, in the form that `docker login` writes.
type authFile struct {
	Auths map[string]struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// readAuthFile reads the file at path, which nobody but its owner, this process's user, may read
// or change. ErrPermissionDenied: others may.
func readAuthFile(path string) (*authFile, error) {
	// Not waiting for a writer, should it be a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("registry.auth_file: %w", err)
	}
	defer f.Close()
	var a authFile
	err = privateFile(f)
	if err == nil {
		err = a.decode(f)
	}
	if err != nil {
		return nil, fmt.Errorf("registry.auth_file: %s: %w", path, err)
	}
	return &a, nil
}

// privateFile refuses what is no file, or that others may read or change.
func privateFile(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("is no regular file: %w", errdefs.ErrPermissionDenied)
	}
	if owner := st.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d: %w", owner, errdefs.ErrPermissionDenied)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("mode %04o lets others in, want 0600: %w", mode, errdefs.ErrPermissionDenied)
	}
	return nil
}

// maxAuthFile bounds what is read: far above what the registries of one node take.
const maxAuthFile = 1 << 20

// decode refuses what it would have to pass over: helper programs, which hold no secret here.
func (a *authFile) decode(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxAuthFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, a); err != nil {
		return err
	}
	switch {
	case a.CredsStore != "":
		return fmt.Errorf("credsStore: credential helpers are not supported")
	case len(a.CredHelpers) > 0:
		return fmt.Errorf("credHelpers: credential helpers are not supported")
	}
	for address, e := range a.Auths {
		if _, _, err := only(spec.Auth{Auth: e.Auth}).login(address); err != nil {
			return fmt.Errorf("auths[%q]: %w", address, err)
		}
	}
	return nil
}

// find returns the credential for a repository on host: of the entries for the host, or for the
// beginning of the repository on it, the longest.
func (a *authFile) find(host, repository string) (found spec.Auth) {
	longest := -1
	for address, e := range a.Auths {
		entryHost, path := splitAddress(address)
		if path == "v1" || path == "v2" { // not a repository but the API's version, as Docker Hub is stored
			path = ""
		}
		if entryHost != canonicalHost(host) || !within(repository, path) || len(path) <= longest {
			continue
		}
		longest = len(path)
		found = spec.Auth{
			Username: e.Username, Password: e.Password, Auth: e.Auth,
			IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
		}
	}
	return found
}

// within reports whether repository is path or below it.
func within(repository, path string) bool {
	return path == "" || repository == path || strings.HasPrefix(repository, path+"/")
}
