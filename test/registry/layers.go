package registry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layerImages have what an unpacker has to get right, once per compression:
// LocalHost/layers:gzip, :zstd and :none. LayersWant is what unpacking leaves.
func layerImages(b *baseLayers) ([]Entry, error) {
	var list []Entry
	for _, c := range []struct {
		tag  string
		kind compression.Compression
	}{{"gzip", compression.GZip}, {"zstd", compression.ZStd}, {"none", compression.None}} {
		layers := []v1.Layer{b.busybox}
		for _, t := range []*tree{lowerTree(), upperTree()} {
			l, err := t.layer(c.kind)
			if err != nil {
				return nil, fmt.Errorf("%s layer: %w", c.tag, err)
			}
			layers = append(layers, l)
		}
		cfg := v1.Config{Cmd: []string{"sh"}, WorkingDir: "/work", Env: []string{"GREETING=hello"}}
		img, err := image(cfg, layers...)
		if err != nil {
			return nil, fmt.Errorf("image layers:%s: %w", c.tag, err)
		}
		list = append(list, Entry{Repo: "layers", Tags: []string{c.tag}, Image: img})
	}
	return list, nil
}

// xattrRecord is the PAX record of an extended attribute (tar, SCHILY.xattr).
const xattrRecord = "SCHILY.xattr."

func lowerTree() *tree {
	t := newTree()
	t.file("data/kept", 0o644, []byte("lower\n"))
	t.file("data/changed", 0o644, []byte("lower\n"))
	t.file("data/removed", 0o644, []byte("lower\n"))
	t.file("data/gone/inside", 0o644, []byte("lower\n"))
	t.file("data/becomes-dir", 0o644, []byte("lower\n"))
	t.file("data/becomes-file/inside", 0o644, []byte("lower\n"))
	t.file("opaque/old", 0o644, []byte("lower\n"))
	t.file("opaque/sub/old", 0o644, []byte("lower\n"))
	t.ownedFile("meta/owned", 0o640, 1234, 4321, []byte("owned\n"))
	t.file("meta/setuid", 0o4755, []byte("setuid\n"))
	t.dir("meta/sticky", 0o1777)
	t.file("meta/name", 0o644, []byte("linked\n"))
	t.hardLink("meta/other-name", "meta/name")
	t.symlink("meta/absolute", "/data/kept")
	t.symlink("meta/dangling", "nowhere")
	t.file("meta/"+strings.Repeat("long-name-", 20), 0o644, []byte("long\n"))
	t.parents("meta/xattr")
	t.raw(&tar.Header{Typeflag: tar.TypeReg, Name: "meta/xattr", Mode: 0o644,
		PAXRecords: map[string]string{xattrRecord + "user.tare": "value"}}, []byte("xattr\n"))
	t.add(&tar.Header{Typeflag: tar.TypeFifo, Name: "meta/fifo", Mode: 0o600}, nil)
	t.add(&tar.Header{Typeflag: tar.TypeChar, Name: "meta/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, nil)
	return t
}

func upperTree() *tree {
	t := newTree()
	t.file("data/changed", 0o600, []byte("upper\n"))
	t.whiteout("data/removed")
	t.whiteout("data/gone")
	t.file("data/becomes-dir/inside", 0o644, []byte("upper\n"))
	t.file("data/becomes-file", 0o644, []byte("upper\n"))
	t.opaque("opaque")
	t.file("opaque/new", 0o644, []byte("upper\n"))
	t.file("data/two-names", 0o644, []byte("upper\n"))
	t.hardLink("data/second-name", "data/two-names")
	return t
}

// LayersWant maps paths of an unpacked LocalHost/layers image to their content;
// an empty string says the path must not exist.
var LayersWant = map[string]string{
	"data/kept":                "lower\n",
	"data/changed":             "upper\n",
	"data/removed":             "",
	"data/gone":                "",
	"data/becomes-dir/inside":  "upper\n",
	"data/becomes-file":        "upper\n",
	"data/becomes-file/inside": "",
	"data/second-name":         "upper\n",
	"opaque/old":               "",
	"opaque/sub":               "",
	"opaque/new":               "upper\n",
	"meta/owned":               "owned\n",
	"meta/setuid":              "setuid\n",
	"meta/other-name":          "linked\n",
	"meta/xattr":               "xattr\n",
}

// damage is how a blob is served other than stored: its first bytes only, on a
// connection that then breaks, or with one bit turned.
type damage int

const (
	truncated damage = iota + 1
	corrupt
)

// hostileImages must be refused, or unpacked without touching anything outside
// the root file system: LocalHost/hostile:TAG.
func hostileImages(b *baseLayers) ([]Entry, map[v1.Hash]damage, error) {
	damaged := map[v1.Hash]damage{}
	var list []Entry
	for _, h := range []struct {
		tag    string
		fill   func(*tree)
		damage damage
	}{
		{tag: "dotdot", fill: dotDot},
		{tag: "absolute", fill: absoluteNames},
		{tag: "symlink", fill: throughSymlink},
		{tag: "hardlink", fill: hardLinkOutside},
		{tag: "device", fill: deviceOverDir},
		{tag: "truncated", fill: noise, damage: truncated},
		{tag: "corrupt", fill: noise, damage: corrupt},
	} {
		t := newTree()
		t.file("hostile", 0o644, []byte(h.tag+"\n"))
		h.fill(t)
		layer, err := t.layer(compression.GZip)
		if err != nil {
			return nil, nil, fmt.Errorf("hostile:%s: %w", h.tag, err)
		}
		img, err := image(v1.Config{Cmd: []string{"sh"}}, b.busybox, layer)
		if err != nil {
			return nil, nil, fmt.Errorf("hostile:%s: %w", h.tag, err)
		}
		if h.damage != 0 {
			digest, err := layer.Digest()
			if err != nil {
				return nil, nil, err
			}
			damaged[digest] = h.damage
		}
		list = append(list, Entry{Repo: "hostile", Tags: []string{h.tag}, Image: img})
	}
	return list, damaged, nil
}

// Canary is the name hostile layers try to create outside the root file system.
const Canary = "tare-escaped"

func dotDot(t *tree) {
	up := strings.Repeat("../", 20)
	t.raw(&tar.Header{Typeflag: tar.TypeReg, Name: up + "tmp/" + Canary, Mode: 0o644}, []byte("dotdot\n"))
}

func absoluteNames(t *tree) {
	t.raw(&tar.Header{Typeflag: tar.TypeReg, Name: "/tmp/" + Canary, Mode: 0o644}, []byte("absolute\n"))
}

func throughSymlink(t *tree) {
	t.symlink("out", "/")
	t.raw(&tar.Header{Typeflag: tar.TypeReg, Name: "out/tmp/" + Canary, Mode: 0o644}, []byte("symlink\n"))
	t.symlink("up", strings.Repeat("../", 20)+"tmp")
	t.raw(&tar.Header{Typeflag: tar.TypeReg, Name: "up/" + Canary, Mode: 0o644}, []byte("symlink\n"))
}

func hardLinkOutside(t *tree) {
	t.add(&tar.Header{Typeflag: tar.TypeLink, Name: "stolen", Linkname: strings.Repeat("../", 20) + "etc/hostname"}, nil)
}

func deviceOverDir(t *tree) {
	t.add(&tar.Header{Typeflag: tar.TypeChar, Name: "tmp", Mode: 0o666, Devmajor: 1, Devminor: 5}, nil)
}

// noise does not compress, so that a cut in the middle falls into its bytes.
func noise(t *tree) {
	var x uint32 = 1
	var buf bytes.Buffer
	for range 64 << 10 {
		x = x*1664525 + 1013904223
		buf.WriteByte(byte(x >> 24))
	}
	t.file("noise", 0o644, buf.Bytes())
}
