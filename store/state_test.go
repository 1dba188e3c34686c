package store

import (
	"testing"

	"github.com/containerd/errdefs"
)

func TestPodTable(t *testing.T) {
	const no = PodState(0)
	want := map[PodState][3]PodState{ // started, stop, remove
		PodCreating: {PodReady, PodNotReady, PodRemoving},
		PodReady:    {no, PodNotReady, PodRemoving},
		PodNotReady: {no, PodNotReady, PodRemoving},
		PodRemoving: {no, PodRemoving, PodRemoving},
	}
	for from, row := range want {
		for i, to := range row {
			checkNext(t, from, PodEvent(i+1), to, PodState.Next)
		}
	}
}

func TestContainerTable(t *testing.T) {
	const no = ContainerState(0)
	want := map[ContainerState][5]ContainerState{ // start, started, exit, remove, undo
		ContainerCreated:  {ContainerStarting, no, no, ContainerRemoving, no},
		ContainerStarting: {no, ContainerRunning, ContainerExited, ContainerRemoving, ContainerCreated},
		ContainerRunning:  {no, no, ContainerExited, ContainerRemoving, no},
		ContainerExited:   {no, no, no, ContainerRemoving, no},
		ContainerRemoving: {no, no, ContainerRemoving, ContainerRemoving, no},
	}
	for from, row := range want {
		for i, to := range row {
			checkNext(t, from, ContainerEvent(i+1), to, ContainerState.Next)
		}
	}
}

func checkNext[S, E interface {
	~int
	String() string
}](t *testing.T, from S, e E, want S, next func(S, E) (S, error)) {
	t.Helper()
	got, err := next(from, e)
	switch {
	case want == 0 && !errdefs.IsFailedPrecondition(err):
		t.Errorf("%s, %s: error %v, want FailedPrecondition", from, e, err)
	case want == 0 && got != from:
		t.Errorf("%s, %s: state %s after a refusal", from, e, got)
	case want != 0 && (err != nil || got != want):
		t.Errorf("%s, %s: %s, %v, want %s", from, e, got, err, want)
	}
}

func TestRefusalNamesBoth(t *testing.T) {
	_, err := ContainerExited.Next(ContainerStart)
	if want := "container is exited, cannot start: failed precondition"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestStateNames(t *testing.T) {
	for s := PodCreating; s <= PodRemoving; s++ {
		text, err := s.MarshalText()
		var back PodState
		if err2 := back.UnmarshalText(text); err != nil || err2 != nil || back != s {
			t.Errorf("%v: %q, %v, back %v, %v", s, text, err, back, err2)
		}
	}
	for s := ContainerCreated; s <= ContainerRemoving; s++ {
		text, err := s.MarshalText()
		var back ContainerState
		if err2 := back.UnmarshalText(text); err != nil || err2 != nil || back != s {
			t.Errorf("%v: %q, %v, back %v, %v", s, text, err, back, err2)
		}
	}
	if _, err := PodState(9).MarshalText(); err == nil {
		t.Error("a state that does not exist was written")
	}
	if err := new(PodState).UnmarshalText([]byte("happy")); err == nil {
		t.Error("a state that does not exist was read")
	}
}
