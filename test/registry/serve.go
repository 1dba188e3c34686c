package registry

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options say how to serve.
type Options struct {
	Listen string // default 127.0.0.1:0
	// Wrap, if set, sits in front of the registry: to count, delay or refuse requests.
	Wrap func(http.Handler) http.Handler
}

// Server answers pulls for one Catalog until Close.
type Server struct {
	addr string
	http *http.Server
	done chan error // receives what Serve returned
}

// Serve starts a registry for c. The caller closes the Server.
func Serve(c *Catalog, o Options) (*Server, error) {
	handler, err := c.handler()
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		handler = o.Wrap(handler)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{
		addr: listener.Addr().String(),
		http: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(listener) }() // ends with Close
	return s, nil
}

// Addr is the host:port served.
func (s *Server) Addr() string { return s.addr }

// Close ends the server and every connection to it.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// handler loads the catalog into go-containerregistry's registry. The repository
// alone counts: every registry host shares one name space.
func (c *Catalog) handler() (http.Handler, error) {
	manifests := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	blobs := blobStore{}
	for _, e := range c.Entries {
		if err := load(manifests, blobs, e); err != nil {
			return nil, fmt.Errorf("load %s: %w", e.Repo, err)
		}
	}
	for digest, how := range c.damage {
		b := blobs[digest.String()]
		b.damage = how
		blobs[digest.String()] = b
	}
	return blobs.before(manifests), nil
}

func load(h http.Handler, blobs blobStore, e Entry) error {
	if e.Image != nil {
		return loadImage(h, blobs, e.Repo, e.Image, e.Tags)
	}
	manifest, err := e.Index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		img, err := e.Index.Image(m.Digest)
		if err != nil {
			return err
		}
		if err := loadImage(h, blobs, e.Repo, img, nil); err != nil {
			return err
		}
	}
	return putManifest(h, e.Repo, e.Index, e.Tags)
}

func loadImage(h http.Handler, blobs blobStore, repo string, img v1.Image, tags []string) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := blobs.addLayer(l); err != nil {
			return err
		}
	}
	digest, err := img.ConfigName()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	blobs[digest.String()] = blob{data: config}
	return putManifest(h, repo, img, tags)
}

// described is what an image and an index have in common.
type described interface {
	RawManifest() ([]byte, error)
	Digest() (v1.Hash, error)
	MediaType() (types.MediaType, error)
}

// putManifest stores m under its digest and its tags, by the registry's own API.
func putManifest(h http.Handler, repo string, m described, tags []string) error {
	raw, err := m.RawManifest()
	if err != nil {
		return err
	}
	digest, err := m.Digest()
	if err != nil {
		return err
	}
	media, err := m.MediaType()
	if err != nil {
		return err
	}
	for _, ref := range append([]string{digest.String()}, tags...) {
		req := httptest.NewRequest(http.MethodPut, "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(raw))
		req.Header.Set("Content-Type", string(media))
		resp := httptest.NewRecorder()
		h.ServeHTTP(resp, req)
		if resp.Code != http.StatusCreated {
			return fmt.Errorf("put manifest %s: %d %s", ref, resp.Code, resp.Body)
		}
	}
	return nil
}
