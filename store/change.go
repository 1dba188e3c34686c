package store

import (
	"time"

	"tare/event"
	"tare/spec"
)

// ChangeKind is what a commit did to a pod sandbox or container, in CRI's terms
// (ContainerEventType).
type ChangeKind int

// The kinds.
const (
	Created ChangeKind = iota + 1
	Started
	Stopped
	Deleted
)

// Change is one step in the life of a container, or of a pod sandbox where Container is nil.
type Change struct {
	Kind      ChangeKind
	At        time.Time  // of the commit
	Pod       *Pod       // as committed; as it last was when the pod is deleted
	Container *Container // as committed; as it last was when the container is deleted
}

// Subscribe returns the changes from now on, in the order of their commits; see package event
// for what happens to a subscriber with more than depth of them unread.
func (s *Store) Subscribe(depth int) *event.Subscription[Change] {
	return s.changes.Subscribe(depth)
}

// EndSubscriptions ends every subscription, and those to come: no more than what has been committed is told.
func EndSubscriptions(s *Store) { s.changes.Close() }

// Close ends every subscription. Reads and writes stay possible, but what could not be written is not tried again.
func (s *Store) Close() {
	EndSubscriptions(s)
	close(s.closed)
	s.late.Wait()
}

// diff lists what leads from record old (nil: none) to record new (nil: none). Where a pod
// begins its changes come first, where it ends they come last, as its containers' lie between.
func diff(old, new *Pod, at time.Time) []Change {
	var out []Change
	last := new
	if last == nil {
		last = old
	}
	kind, changed := podChange(old, new)
	begins := kind == Created || kind == Started
	if changed && begins {
		out = append(out, Change{kind, at, last, nil})
	}
	for _, pair := range pairs(old, new) {
		out = append(out, containerChanges(pair, last, at)...)
	}
	if changed && !begins {
		out = append(out, Change{kind, at, last, nil})
	}
	return out
}

func podChange(old, new *Pod) (kind ChangeKind, changed bool) {
	switch {
	case old == nil:
		return Created, true
	case new == nil:
		return Deleted, true
	case old.State == new.State:
		return 0, false
	case new.State == PodReady:
		return Started, true
	case old.State == PodCreating || old.State == PodReady:
		return Stopped, true
	}
	return 0, false // from stopped to removing: nothing a client could see
}

// pair is a container before and after a commit; one of them may be nil.
type pair struct{ old, new *Container }

func pairs(old, new *Pod) []pair {
	var out []pair
	var before, after map[spec.ContainerID]*Container
	if old != nil {
		before = old.Containers
	}
	if new != nil {
		after = new.Containers
	}
	for id, c := range before {
		out = append(out, pair{c, after[id]})
	}
	for id, c := range after {
		if before[id] == nil {
			out = append(out, pair{nil, c})
		}
	}
	return out
}

// containerChanges lists what a client sees between the two records.
func containerChanges(c pair, pod *Pod, at time.Time) []Change {
	var out []Change
	add := func(kind ChangeKind, ctr *Container) { out = append(out, Change{kind, at, pod, ctr}) }
	if c.new == nil {
		add(Deleted, c.old)
		return out
	}
	if c.old == nil {
		add(Created, c.new)
	}
	if c.new.State == ContainerRunning && (c.old == nil || c.old.State != ContainerRunning) {
		add(Started, c.new)
	}
	// Told by the time and not by the state: one that is being removed ends, too.
	if !c.new.FinishedAt.IsZero() && (c.old == nil || c.old.FinishedAt.IsZero()) {
		add(Stopped, c.new)
	}
	return out
}
