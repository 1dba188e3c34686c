package store

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// ContainerState is where a container is in its life.
type ContainerState int

// The states of a container.
const (
	// ContainerCreated: recorded, its writable layer may exist, no process. Start-up recovery
	// keeps it.
	ContainerCreated ContainerState = iota + 1
	// ContainerStarting: its program may be running. Start-up recovery asks the keeper: a
	// process makes it running, an exit record makes it exited. None at all makes it created again,
	// if this keeper would know of one, or else exited.
	ContainerStarting
	// ContainerRunning: its first process was executed. Start-up recovery asks the keeper:
	// still there, adopt it; gone, record the exit (code 255 if nobody knows it).
	ContainerRunning
	// ContainerExited: final until it is removed. Start-up recovery sweeps its cgroup.
	ContainerExited
	// ContainerRemoving: removal was ordered. Start-up recovery finishes it and drops the
	// record.
	ContainerRemoving
)

// ContainerEvent is what moves a container on.
type ContainerEvent int

// The events of a container.
const (
	ContainerStart   ContainerEvent = iota + 1 // start is ordered
	ContainerStarted                           // its first process was executed
	ContainerExit                              // the process ended, or never came to be
	ContainerRemove                            // removal is ordered
	ContainerUndo                              // the start was cut short and nothing is left of it
)

var containerTable = map[ContainerState]map[ContainerEvent]ContainerState{
	ContainerCreated:  {ContainerStart: ContainerStarting, ContainerRemove: ContainerRemoving},
	ContainerStarting: {ContainerStarted: ContainerRunning, ContainerExit: ContainerExited, ContainerRemove: ContainerRemoving, ContainerUndo: ContainerCreated},
	ContainerRunning:  {ContainerExit: ContainerExited, ContainerRemove: ContainerRemoving},
	ContainerExited:   {ContainerRemove: ContainerRemoving},
	// A forced removal kills first: the exit then arrives for a container being removed.
	ContainerRemoving: {ContainerExit: ContainerRemoving, ContainerRemove: ContainerRemoving},
}

var containerStateNames = map[ContainerState]string{
	ContainerCreated: "created", ContainerStarting: "starting", ContainerRunning: "running",
	ContainerExited: "exited", ContainerRemoving: "removing",
}

var containerEventNames = map[ContainerEvent]string{
	ContainerStart: "start", ContainerStarted: "become running", ContainerExit: "exit", ContainerRemove: "remove",
	ContainerUndo: "undo the start",
}

// Next returns the state that e leads to, or ErrFailedPrecondition.
func (s ContainerState) Next(e ContainerEvent) (ContainerState, error) {
	if to, ok := containerTable[s][e]; ok {
		return to, nil
	}
	return s, fmt.Errorf("container is %s, cannot %s: %w", s, e, errdefs.ErrFailedPrecondition)
}

func (s ContainerState) String() string { return name(containerStateNames, s) }
func (e ContainerEvent) String() string { return name(containerEventNames, e) }

// MarshalText writes the state's name: files outlive the numbers.
func (s ContainerState) MarshalText() ([]byte, error) { return marshalName(containerStateNames, s) }

// UnmarshalText reads the state's name.
func (s *ContainerState) UnmarshalText(text []byte) error {
	return unmarshalName(containerStateNames, s, string(text))
}
