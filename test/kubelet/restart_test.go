package kubelet

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

// TestRestartPolicies has containers end under each policy.
func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	t.Run("Never", func(t *testing.T) {
		t.Parallel()
		p := runPod(t, "never", "restartPolicy: Never\ncontainers: [{name: c, command: [sh, -c, exit 7]}]")
		p.ended(v1.PodFailed)
		s := p.container("c")
		if end := s.State.Terminated; end == nil || end.ExitCode != 7 || end.Reason != "Error" || s.RestartCount != 0 {
			t.Errorf("its end is %+v after %d restarts", end, s.RestartCount)
		}
	})
	t.Run("OnFailure", func(t *testing.T) {
		t.Parallel()
		p := runPod(t, "on-failure", fmt.Sprintf(`
restartPolicy: OnFailure
volumes: [{name: state, hostPath: {path: %s}}]
containers:
- name: c
  command: [sh, -c, "test -e /state/again || { touch /state/again; exit 1; }"]
  volumeMounts: [{name: state, mountPath: /state}]
`, t.TempDir()))
		p.succeeded()
		s := p.container("c")
		if last := s.LastTerminationState.Terminated; s.RestartCount != 1 || last == nil || last.ExitCode != 1 {
			t.Errorf("%d restarts, before that %+v", s.RestartCount, last)
		}
	})
	t.Run("Always", func(t *testing.T) {
		t.Parallel()
		p := runPod(t, "always", "containers: [{name: c, command: [sh, -c, sleep 1]}]")
		// The first restart comes at once, the second after ten seconds. Times are in seconds.
		s := p.awaitContainer("c", "was restarted twice", func(s v1.ContainerStatus) error {
			if s.RestartCount != 2 || s.State.Running == nil || s.LastTerminationState.Terminated == nil {
				return fmt.Errorf("restarts: %d", s.RestartCount)
			}
			return nil
		})
		now, last := s.State.Running, s.LastTerminationState.Terminated
		if pause := now.StartedAt.Sub(last.FinishedAt.Time); pause < 9*time.Second {
			t.Errorf("the second restart came %s after the first", pause)
		}
		if last.ExitCode != 0 || last.Reason != "Completed" {
			t.Errorf("its end was %+v", last)
		}
	})
}

// TestTerminationMessages come from the file, or from the log if the container failed without
// one.
func TestTerminationMessages(t *testing.T) {
	t.Parallel()
	p := runPod(t, "messages", `
restartPolicy: Never
containers:
- name: file
  command: [sh, -c, "echo log; printf file > /dev/termination-log"]
- name: elsewhere
  terminationMessagePath: /tmp/why
  command: [sh, -c, "printf elsewhere > /tmp/why; exit 1"]
- name: fallback
  terminationMessagePolicy: FallbackToLogsOnError
  command: [sh, -c, "seq 100; echo log; exit 1"]
- name: silent
  terminationMessagePolicy: FallbackToLogsOnError
  command: [sh, -c, "echo log"]
`)
	fallback := ""
	for i := range 79 { // the last 80 lines
		fallback += fmt.Sprintln(i + 22)
	}
	for name, want := range map[string]string{"file": "file", "elsewhere": "elsewhere", "fallback": fallback + "log\n", "silent": ""} {
		if got := p.said(name); got != want {
			t.Errorf("container %s: %q, want %q", name, got, want)
		}
	}
}
