package store

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// Pod returns the record of a pod, or ErrNotFound.
func (s *Store) Pod(id spec.PodID) (*Pod, error) {
	s.mu.RLock()
	e := s.pods[id]
	s.mu.RUnlock()
	if p := e.load(); p != nil {
		return p, nil
	}
	return nil, notFound("pod", id)
}

// PodByKey returns the pod that an earlier call with the same key made, or ErrNotFound.
func (s *Store) PodByKey(key spec.PodKey) (*Pod, error) {
	s.mu.RLock()
	e := s.keys[key]
	s.mu.RUnlock()
	if p := e.load(); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("pod with uid %q, attempt %d: %w", key.UID, key.Attempt, errdefs.ErrNotFound)
}

// Pods returns all pods, in no order.
func (s *Store) Pods() []*Pod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return records(s.pods)
}

// PodsByUID returns the pods that belong, or one of whose containers belongs, to the Kubernetes
// pod with this UID, by metadata or by label.
func (s *Store) PodsByUID(uid string) []*Pod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return records(s.uids[uid])
}

// Container returns the record of a container and of its pod, or ErrNotFound.
func (s *Store) Container(id spec.ContainerID) (*Pod, *Container, error) {
	s.mu.RLock()
	e := s.containers[id]
	s.mu.RUnlock()
	if p := e.load(); p != nil {
		if c := p.Containers[id]; c != nil {
			return p, c, nil
		}
	}
	return nil, nil, notFound("container", id)
}

// ContainerByKey returns the container that an earlier call with the same key made, or
// ErrNotFound.
func (s *Store) ContainerByKey(key spec.ContainerKey) (*Pod, *Container, error) {
	p, err := s.Pod(key.Pod)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range p.Containers {
		if c.Key() == key {
			return p, c, nil
		}
	}
	return nil, nil, fmt.Errorf("container %q, attempt %d, of pod %s: %w", key.Name, key.Attempt, key.Pod, errdefs.ErrNotFound)
}

// Containers returns all containers, in no order.
func (s *Store) Containers() []*Container {
	var out []*Container
	for _, p := range s.Pods() {
		for _, c := range p.Containers {
			out = append(out, c)
		}
	}
	return out
}

// ResolvePod returns the pod whose id is prefix or begins with it. ErrNotFound if there is
// none, ErrInvalidArgument if there are several or the prefix is empty.
func (s *Store) ResolvePod(prefix string) (*Pod, error) {
	if p, err := s.Pod(spec.PodID(prefix)); err == nil {
		return p, nil
	}
	s.mu.RLock()
	id, err := resolve("pod", prefix, s.pods)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	return s.Pod(id)
}

// ResolveContainer is ResolvePod for containers.
func (s *Store) ResolveContainer(prefix string) (*Pod, *Container, error) {
	if p, c, err := s.Container(spec.ContainerID(prefix)); err == nil {
		return p, c, nil
	}
	s.mu.RLock()
	id, err := resolve("container", prefix, s.containers)
	s.mu.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	return s.Container(id)
}

func resolve[ID ~string](kind, prefix string, index map[ID]*entry) (ID, error) {
	if prefix == "" {
		return "", fmt.Errorf("%s id is empty: %w", kind, errdefs.ErrInvalidArgument)
	}
	var found []ID
	for id, e := range index {
		if strings.HasPrefix(string(id), prefix) && e.load() != nil {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", notFound(kind, prefix)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s id %q is ambiguous, %d ids begin so: %w", kind, prefix, len(found), errdefs.ErrInvalidArgument)
}

// load returns the committed record; nil for no entry, or for one whose first commit is under way.
func (e *entry) load() *Pod {
	if e == nil {
		return nil
	}
	return e.pod.Load()
}

func records(index map[spec.PodID]*entry) []*Pod {
	out := make([]*Pod, 0, len(index))
	for _, e := range index {
		if p := e.load(); p != nil {
			out = append(out, p)
		}
	}
	return out
}
