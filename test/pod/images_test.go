package pod

import (
	"archive/tar"
	"bytes"
	"io"
	goruntime "runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tare/test/registry"
)

// hostileTarget is a directory of the host that the links of images:links lead to.
const hostileTarget = "/tmp/tare-pod-outside"

// hostileLinks are the images registry.LocalHost/links, by tag: links at the places where the
// runtime mounts or writes. All of them have /link, too.
var hostileLinks = map[string]map[string]string{
	"etc":      {"etc": hostileTarget},
	"etc-up":   {"etc": "../../../../../../../../" + hostileTarget},
	"files":    {"etc/resolv.conf": hostileTarget + "/resolv.conf", "etc/hosts": "/proc/1/root" + hostileTarget + "/hosts"},
	"proc":     {"proc": hostileTarget},
	"dev":      {"dev": hostileTarget},
	"dev-proc": {"dev": "/proc/self"},
	"sys":      {"sys": hostileTarget},
	"loop":     {"etc": "etc"},
}

// ownImages are images that only this suite needs.
func ownImages(catalog *registry.Catalog) ([]registry.Entry, error) {
	base, err := baseLayer(catalog)
	if err != nil {
		return nil, err
	}
	var out []registry.Entry
	for tag, links := range hostileLinks {
		img, err := linksImage(base, links)
		if err != nil {
			return nil, err
		}
		out = append(out, registry.Entry{Repo: "links", Tags: []string{tag}, Image: img})
	}
	escape, err := escapeImages(base)
	if err != nil {
		return nil, err
	}
	out = append(out, escape...)
	all, err := imageOf(configuredConfig, base)
	return append(out, registry.Entry{Repo: "configured", Tags: []string{"all"}, Image: all}), err
}

// baseLayer is the layer of the registry's images that has busybox.
func baseLayer(catalog *registry.Catalog) (v1.Layer, error) {
	for _, e := range catalog.Entries {
		if e.Repo == "layers" {
			all, err := e.Image.Layers()
			if err != nil {
				return nil, err
			}
			return all[0], nil
		}
	}
	panic("the registry has no image layers")
}

// linksImage is busybox with links in the place of what was there.
func linksImage(base v1.Layer, links map[string]string) (v1.Image, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	link := func(name, target string) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
	}
	if err := link("link", hostileTarget); err != nil {
		return nil, err
	}
	for name, target := range links {
		if err := link(name, target); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	top, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return imageOf(v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}, base, top)
}

// imageOf stacks layers under a configuration.
func imageOf(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: goruntime.GOARCH, OS: "linux", Config: config, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		media, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: media}); err != nil {
			return nil, err
		}
	}
	return img, nil
}
