package server

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"tare/keeper/proto"
)

// A server that does not listen has no socket for its successor: it says so, and goes on.
func TestReplaceWithoutListener(t *testing.T) {
	s, err := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if f := s.replace(&proto.Packet{Kind: proto.KindReplace, Files: []*os.File{null}}); f == nil || f.Code != proto.Precondition {
		t.Errorf("answers %v, want %v", f, proto.Precondition)
	}
}
