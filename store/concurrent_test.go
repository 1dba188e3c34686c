package store

import (
	"fmt"
	"sync"
	"testing"
)

// Readers see whole records, and no update is lost, while pods come, change and go.
func TestConcurrent(t *testing.T) {
	s := open(t, t.TempDir())
	shared := mustCreate(t, s, newPod("shared"))
	c := newContainer(shared.ID, "main")
	mustAdd(t, s, c)
	const writers, rounds = 4, 50
	done := make(chan struct{})
	var readers, group sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					readAll(t, s)
				}
			}
		})
	}
	for w := range writers {
		group.Go(func() {
			for i := range rounds {
				own := newPod(fmt.Sprintf("%d-%d", w, i))
				if err := s.Create(own); err != nil {
					t.Error(err)
				}
				if _, err := s.Update(shared.ID, func(p *Pod) error { p.Containers[c.ID].ExitCode++; return nil }); err != nil {
					t.Error(err)
				}
				if err := s.Delete(own.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	close(done)
	readers.Wait()
	if _, got, err := s.Container(c.ID); err != nil || got.ExitCode != writers*rounds {
		t.Errorf("%v, %v, want %d updates", got, err, writers*rounds)
	}
	if got := s.Pods(); len(got) != 1 {
		t.Errorf("%d pods are left, want 1", len(got))
	}
}

func readAll(t *testing.T, s *Store) {
	for _, p := range s.Pods() {
		if p.ID == "" || p.Spec.UID == "" {
			t.Errorf("half a record: %+v", p)
		}
		s.PodsByUID(p.Spec.UID)
		s.PodByKey(p.Spec.Key())
	}
	for _, c := range s.Containers() {
		if _, _, err := s.Container(c.ID); err != nil {
			t.Error(err)
		}
	}
}

func benchStore(b *testing.B, pods int) (*Store, []*Pod) {
	s := open(b, b.TempDir())
	var out []*Pod
	for i := range pods {
		p := mustCreate(b, s, newPod(fmt.Sprint(i)))
		mustAdd(b, s, newContainer(p.ID, "a"))
		out = append(out, mustAdd(b, s, newContainer(p.ID, "b")))
	}
	return s, out
}

func BenchmarkUpdate(b *testing.B) {
	s, pods := benchStore(b, 500)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.Update(pods[i%len(pods)].ID, func(p *Pod) error { p.State = PodReady; return nil }); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkList(b *testing.B) {
	s, _ := benchStore(b, 500)
	b.ReportAllocs()
	for b.Loop() {
		if len(s.Pods()) != 500 || len(s.Containers()) != 1000 {
			b.Fatal("pods missing")
		}
	}
}
