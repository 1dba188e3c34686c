package registry

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobStore holds layers and configs by digest. It is filled before the server
// starts and read-only from then on.
type blobStore map[string]blob

type blob struct {
	data   []byte
	damage damage
}

func (s blobStore) addLayer(l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	if _, ok := s[digest.String()]; ok {
		return nil
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s[digest.String()] = blob{data: data}
	return nil
}

// before answers requests for blobs, with all ranges http knows, and leaves the
// rest to next: go-containerregistry's blob handler wants both ends of a range,
// while a client that resumes a download names only the start.
func (s blobStore) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dir, digest := path.Split(r.URL.Path)
		if !strings.HasSuffix(dir, "/blobs/") || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		b, ok := s[digest]
		if !ok {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Type", "application/octet-stream")
		b.serve(w, r)
	})
}

func (b blob) serve(w http.ResponseWriter, r *http.Request) {
	half := len(b.data) / 2
	switch {
	case b.damage == truncated && r.Method == http.MethodGet:
		// A body shorter than its Content-Length breaks the connection.
		w.Header().Set("Content-Length", strconv.Itoa(len(b.data)))
		_, _ = w.Write(b.data[:half])
	case b.damage == corrupt:
		data := bytes.Clone(b.data)
		data[half] ^= 1
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.data))
	}
}
