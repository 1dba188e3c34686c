package images

import (
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// BenchmarkPull pulls and unpacks an image of 8 layers, 384 MB unpacked, about half of it
// compressed, from a registry in the same process.
func BenchmarkPull(b *testing.B) {
	src := rand.NewChaCha8([32]byte{})
	r := newRegistryServer(b, nil)
	var layers []v1.Layer
	for l := range 8 {
		var files []entry
		for f := range 384 {
			body := make([]byte, 128<<10)
			src.Read(body[:len(body)/2])
			files = append(files, entry{name: fmt.Sprintf("d%d-%d", l, f), body: string(body)})
		}
		layers = append(layers, layerOf(b, files...))
	}
	ref := r.push(b, "big:v1", imageOf(b, layers...))
	for b.Loop() {
		b.StopTimer()
		s := openStore(b, Options{})
		b.StartTimer()
		mustPull(b, s, ref)
	}
}
