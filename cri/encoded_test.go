package cri

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// TestEncoded lists records that change, and compares what a client decodes with what they are. Entries of records
// that are no more go.
func TestEncoded(t *testing.T) {
	s := New(Deps{})
	e := &s.podList
	pods := make([]*store.Pod, 3)
	for round := range 5 * maxStale {
		for i := range pods {
			if round%(i+1) == 0 {
				pods[i] = &store.Pod{ID: spec.PodID(fmt.Sprintf("%d-%d", i, round)), State: store.PodReady}
			}
		}
		list, err := e.list(pods)
		if err != nil {
			t.Fatal(err)
		}
		sent, got, want := &runtime.ListPodSandboxResponse{}, &runtime.ListPodSandboxResponse{}, &runtime.ListPodSandboxResponse{}
		respond(sent, list)
		wire, err := proto.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(wire, got); err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			want.Items = append(want.Items, wirePod(p))
		}
		if !proto.Equal(got, want) {
			t.Fatalf("round %d: %v, want %v", round, got, want)
		}
		if n := len(e.entries); n > 2*len(pods)+maxStale {
			t.Fatalf("round %d: %d entries are kept of %d records", round, n, len(pods))
		}
	}
}
