package images

import (
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// BenchmarkPull pulls and unpacks images of 8 layers, 384 MB unpacked, about half of it
// compressed, from a registry in the same process.
func BenchmarkPull(b *testing.B) {
	for _, shape := range []struct{ files, size int }{{384, 128 << 10}, {4000, 12 << 10}} {
		b.Run(fmt.Sprintf("files=%d", shape.files), func(b *testing.B) { benchmarkPull(b, shape.files, shape.size) })
	}
}

// benchmarkPull pulls an image whose layers have so many files of that size each.
func benchmarkPull(b *testing.B, files, size int) {
	src := rand.NewChaCha8([32]byte{})
	r := newRegistryServer(b, nil)
	var layers []v1.Layer
	for l := range 8 {
		var content []entry
		for f := range files {
			body := make([]byte, size)
			src.Read(body[:len(body)/2])
			content = append(content, entry{name: fmt.Sprintf("d%d-%d", l, f), body: string(body)})
		}
		layers = append(layers, layerOf(b, content...))
	}
	ref := r.push(b, "big:v1", imageOf(b, layers...))
	for b.Loop() {
		b.StopTimer()
		s := openStore(b, Options{})
		b.StartTimer()
		mustPull(b, s, ref)
	}
}
