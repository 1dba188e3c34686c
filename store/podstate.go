package store

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// PodState is where a pod sandbox is in its life.
type PodState int

// The states of a pod sandbox.
const (
	// PodCreating: intent is recorded, namespaces and network are being made. Start-up
	// recovery removes whatever the record names, then the record: nobody was given its id.
	PodCreating PodState = iota + 1
	// PodReady: containers may be created and started. Start-up recovery adopts it if its
	// namespaces still exist, else stops it.
	PodReady
	// PodNotReady: stopping was ordered or the sandbox was lost. Start-up recovery repeats the
	// steps of stop, all idempotent, in case they were cut short.
	PodNotReady
	// PodRemoving: removal was ordered. Start-up recovery finishes it and deletes the record.
	PodRemoving
)

// PodEvent is what moves a pod sandbox on.
type PodEvent int

// The events of a pod sandbox.
const (
	PodStarted PodEvent = iota + 1 // namespaces and network are up
	PodStop                        // stop is ordered, or the sandbox is found lost
	PodRemove                      // removal is ordered
)

var podTable = map[PodState]map[PodEvent]PodState{
	PodCreating: {PodStarted: PodReady, PodStop: PodNotReady, PodRemove: PodRemoving},
	PodReady:    {PodStop: PodNotReady, PodRemove: PodRemoving},
	PodNotReady: {PodStop: PodNotReady, PodRemove: PodRemoving},
	PodRemoving: {PodStop: PodRemoving, PodRemove: PodRemoving},
}

var podStateNames = map[PodState]string{
	PodCreating: "creating", PodReady: "ready", PodNotReady: "notready", PodRemoving: "removing",
}

var podEventNames = map[PodEvent]string{
	PodStarted: "started", PodStop: "stop", PodRemove: "remove",
}

// Next returns the state that e leads to, or ErrFailedPrecondition.
func (s PodState) Next(e PodEvent) (PodState, error) {
	if to, ok := podTable[s][e]; ok {
		return to, nil
	}
	return s, fmt.Errorf("pod is %s, cannot %s: %w", s, e, errdefs.ErrFailedPrecondition)
}

func (s PodState) String() string { return name(podStateNames, s) }
func (e PodEvent) String() string { return name(podEventNames, e) }

// MarshalText writes the state's name: files outlive the numbers.
func (s PodState) MarshalText() ([]byte, error) { return marshalName(podStateNames, s) }

// UnmarshalText reads the state's name.
func (s *PodState) UnmarshalText(text []byte) error {
	return unmarshalName(podStateNames, s, string(text))
}
