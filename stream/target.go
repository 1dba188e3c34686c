package stream

import (
	"strings"

	"tare/spec"
)

// asked are the streams of a request.
type asked interface {
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
}

// Letters for the streams that were asked for.
const (
	letterStdin  = "i"
	letterStdout = "o"
	letterStderr = "e"
)

// target is what the library is told is the container's id, which it only hands back: the id and
// the streams asked for. Over WebSocket it makes streams that nobody asked for, too, and an
// input that ends at once is not the same as none.
func target(id string, r asked) string {
	id += "/"
	if r.GetStdin() {
		id += letterStdin
	}
	if r.GetStdout() {
		id += letterStdout
	}
	if r.GetStderr() {
		id += letterStderr
	}
	return id
}

// parseTarget takes a target apart, and away from s what was not asked for.
func parseTarget(target string, s spec.Streams) (spec.ContainerID, spec.Streams) {
	id, letters, _ := strings.Cut(target, "/")
	if !strings.Contains(letters, letterStdin) {
		s.Stdin = nil
	}
	if !strings.Contains(letters, letterStdout) {
		s.Stdout = nil
	}
	if !strings.Contains(letters, letterStderr) {
		s.Stderr = nil
	}
	return spec.ContainerID(id), s
}
