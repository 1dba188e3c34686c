package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// The image of the pull part: like one of a language's with its packages.
const (
	bigImage  = registry.LocalHost + "/bench/layers:8x4000"
	layers    = 8
	filesEach = 4000
	fileSize  = 12 << 10
)

// imageServer is the registry on loopback.
type imageServer struct{ *registry.Server }

func (i *imageServer) addr() string { return i.Addr() }
func (i *imageServer) close() error { return i.Close() }

func serveImages(big bool) (*imageServer, error) {
	catalog, err := registry.Build()
	if err != nil {
		return nil, err
	}
	if big {
		entry, err := manyFiles()
		if err != nil {
			return nil, err
		}
		catalog.Entries = append(catalog.Entries, entry)
	}
	s, err := registry.Serve(catalog, registry.Options{})
	return &imageServer{s}, err
}

// manyFiles is the image of many files.
func manyFiles() (registry.Entry, error) {
	img := empty.Image
	for l := range layers {
		data, err := archive(l)
		if err != nil {
			return registry.Entry{}, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			return registry.Entry{}, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return registry.Entry{}, err
		}
	}
	return registry.Entry{Repo: "bench/layers", Tags: []string{"8x4000"}, Image: img}, nil
}

// archive is one layer, compressed: half of each file is noise, half text, which is what program code compresses
// like.
func archive(layer int) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	noise := rand.New(rand.NewPCG(1, uint64(layer)))
	file := bytes.Repeat([]byte("the quick brown fox jumps over it\n"), fileSize/34+1)[:fileSize]
	for i := range filesEach {
		for j := 0; j < fileSize/2; j += 8 {
			for k, v := 0, noise.Uint64(); k < 8; k, v = k+1, v>>8 {
				file[j+k] = byte(v)
			}
		}
		name := fmt.Sprintf("usr/lib/layer%d/package%d/file%d", layer, i/50, i)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: fileSize}); err != nil {
			return nil, err
		}
		if _, err := w.Write(file); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pull brings the big image and removes it.
func (b *bench) pull(ctx context.Context, s *subject) error {
	busy := s.cpu()
	took, err := timed(func() error {
		_, err := s.cri.Pull(ctx, bigImage)
		return err
	})
	if err != nil {
		return err
	}
	b.results.time(s, pullTime, took)
	b.results.time(s, pullCPU, s.cpu()-busy)
	_, err = s.cri.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: bigImage}})
	return err
}
