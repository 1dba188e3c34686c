package cri

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// encoded keeps the entries of a list as they go over the wire, by the records they show. Records never change:
// a kubelet that asks every second for lists in which little has happened is answered by copying.
type encoded[R any] struct {
	field protowire.Number // of the list in its response
	wire  func(*R) proto.Message

	mu      sync.Mutex
	entries map[*R][]byte
	most    int // records in a list
}

// maxStale is how many entries of records that are no more are kept, beside as many as the longest list had.
const maxStale = 1024

// list returns the encoding of a response with these records.
func (e *encoded[R]) list(records []*R) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	parts := make([][]byte, len(records))
	for i, r := range records {
		part, known := e.entries[r]
		if !known {
			var err error
			if part, err = e.encode(r); err != nil {
				return nil, err
			}
			e.entries[r] = part
		}
		parts[i] = part
	}
	e.most = max(e.most, len(records))
	if len(e.entries) > 2*e.most+maxStale {
		clear(e.entries)
	}
	return slices.Concat(parts...), nil
}

func (e *encoded[R]) encode(r *R) ([]byte, error) {
	entry, err := proto.Marshal(e.wire(r))
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, e.field, protowire.BytesType), entry), nil
}

// respond makes the encoding of fields a part of a response. Fields that a message does not know are passed on as they
// are, at its end, and so are these; whoever decodes it sees no difference
// (https://protobuf.dev/programming-guides/encoding/).
func respond(m proto.Message, fields []byte) { m.ProtoReflect().SetUnknown(fields) }
