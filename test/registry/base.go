package registry

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const busyboxPath = "/bin/busybox"

// searchPath is PATH in every image config, Docker's default.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// baseLayers are the layers several images share, each compressed once.
type baseLayers struct {
	busybox v1.Layer // busybox under all its names, /etc, /tmp
	tools   v1.Layer // ipcs, ipcmk and pgrep, which Debian's busybox lacks
}

func buildBases() (*baseLayers, error) {
	bb, err := busyboxTree()
	if err != nil {
		return nil, err
	}
	var b baseLayers
	if b.busybox, err = bb.layer(compression.GZip); err != nil {
		return nil, err
	}
	tools := newTree()
	for _, name := range []string{"ipcs", "ipcmk", "pgrep"} {
		tools.program("usr/bin/"+name, "/usr/bin/"+name, 0o755)
	}
	if b.tools, err = tools.layer(compression.GZip); err != nil {
		return nil, err
	}
	return &b, nil
}

// busyboxTree is a root file system with busybox hard-linked to its applets'
// names, as in the upstream image.
func busyboxTree() (*tree, error) {
	list, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets of %s (Debian package %s): %w", busyboxPath, packageOf(busyboxPath), err)
	}
	t := newTree()
	t.hostFile("bin/busybox", busyboxPath, 0o755)
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			t.hardLink("bin/"+applet, "bin/busybox")
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "sbin", "usr/bin", "usr/sbin", "home", "run", "var/log"} {
		t.dir(dir, 0o755)
	}
	t.dir("root", 0o700)
	t.dir("tmp", 0o1777)
	t.dir("var/tmp", 0o1777)
	t.symlink("usr/bin/env", "../../bin/env")
	t.symlink("var/run", "../run")
	t.file("etc/passwd", 0o644, []byte(passwd))
	t.file("etc/group", 0o644, []byte(group))
	return t, nil
}

const (
	passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`
	group = `root:x:0:
daemon:x:1:
www-data:x:33:
users:x:100:
nogroup:x:65534:
`
)

// image stacks layers under a config, for this machine's architecture.
func image(cfg v1.Config, layers ...v1.Layer) (v1.Image, error) {
	return imageFor(runtime.GOARCH, cfg, layers...)
}

func imageFor(arch string, cfg v1.Config, layers ...v1.Layer) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	cfg.Env = append([]string{searchPath}, cfg.Env...)
	file := &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		Config:       cfg,
		RootFS:       v1.RootFS{Type: "layers"},
	}
	img, err := mutate.ConfigFile(base, file)
	if err != nil {
		return nil, err
	}
	adds := make([]mutate.Addendum, 0, len(layers))
	for _, l := range layers {
		media, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: media, History: v1.History{Created: v1.Time{Time: epoch}}})
	}
	return mutate.Append(img, adds...)
}

// index puts img behind another architecture's image, so that a client that takes
// the first manifest it sees is found out.
func index(img v1.Image) (v1.ImageIndex, error) {
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	note := newTree()
	note.file("wrong-architecture", 0o644, []byte("this image runs nowhere\n"))
	layer, err := note.layer(compression.GZip)
	if err != nil {
		return nil, err
	}
	foreign, err := imageFor("s390x", v1.Config{Cmd: cfg.Config.Cmd}, layer)
	if err != nil {
		return nil, err
	}
	platform := func(arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: foreign, Descriptor: platform("s390x")},
		mutate.IndexAddendum{Add: img, Descriptor: platform(cfg.Architecture)},
	), nil
}

// entry serves img under an index, as upstream serves all of its images.
func entry(repo string, img v1.Image, tags ...string) (Entry, error) {
	idx, err := index(img)
	if err != nil {
		return Entry{}, fmt.Errorf("index %s: %w", repo, err)
	}
	return Entry{Repo: repo, Tags: tags, Index: idx}, nil
}
