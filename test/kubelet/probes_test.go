package kubelet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// TestReadinessProbes of every kind follow a file that says that the container is sick.
func TestReadinessProbes(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	p := runPod(t, "probes", fmt.Sprintf(`
volumes:
- {name: state, hostPath: {path: %s}}
- {name: self, hostPath: {path: %s, type: File}}
containers:
- name: server
  command: [/server]
  env: [{name: %s, value: server}]
  volumeMounts: [{name: self, mountPath: /server, readOnly: true}, {name: state, mountPath: /state}]
  readinessProbe: {httpGet: {port: 8080, path: /healthy, httpHeaders: [{name: X-Probe, value: "1"}]}, periodSeconds: 1, failureThreshold: 1}
- name: grpc
  command: [sleep, "1000000"]
  readinessProbe: {grpc: {port: 9090}, periodSeconds: 1, failureThreshold: 1}
- name: tcp
  command: [sleep, "1000000"]
  readinessProbe: {tcpSocket: {port: 7070}, periodSeconds: 1, failureThreshold: 1}
- name: exec
  command: [sleep, "1000000"]
  volumeMounts: [{name: state, mountPath: /state}]
  readinessProbe: {exec: {command: [sh, -c, "! test -e /state/sick"]}, periodSeconds: 1, failureThreshold: 1}
`, state, self, roleVar))
	p.ready()
	sick := filepath.Join(state, "sick")
	if err := os.WriteFile(sick, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.await("has no container that is ready", func(pod *v1.Pod) error {
		var ready []string
		for _, s := range pod.Status.ContainerStatuses {
			if s.Ready {
				ready = append(ready, s.Name)
			}
		}
		if len(ready) > 0 {
			return fmt.Errorf("ready: %s", ready)
		}
		return nil
	})
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.ready().Status.ContainerStatuses {
		if s.RestartCount != 0 {
			t.Errorf("container %s was restarted", s.Name)
		}
	}
}

// TestStartupProbe keeps other probes from being tried before the container has started; after that
// a failed liveness probe restarts it.
func TestStartupProbe(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	p := runPod(t, "startup", fmt.Sprintf(`
volumes: [%s]
containers:
- name: c
  command: [sh, -c, "rm -f /diary/alive; trap 'exit 5' TERM; sleep 1000000 & wait"]
  %s
  startupProbe: {exec: {command: [sh, -c, "echo startup >> /diary/lines; test -e /diary/started"]}, periodSeconds: 1, failureThreshold: 1000}
  livenessProbe: {exec: {command: [sh, -c, "echo live >> /diary/lines; test -e /diary/alive"]}, periodSeconds: 1, failureThreshold: 1}
  readinessProbe: {exec: {command: [sh, -c, "echo ready >> /diary/lines"]}, periodSeconds: 1}
`, d.volume(), diaryMount))
	file := func(name string) string { return filepath.Join(d.dir, name) }
	err := until("the start was probed three times", func() error {
		lines, _ := os.ReadFile(file("lines"))
		if strings.Count(string(lines), "startup\n") < 3 {
			return errors.New("it was not")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.container("c"); s.RestartCount != 0 || s.Started == nil || *s.Started || s.Ready {
		t.Errorf("before it has started: %+v", s)
	}
	if lines := strings.Join(d.lines(t), " "); strings.Contains(lines, "ready") || strings.Contains(lines, "live") {
		t.Errorf("probes before the start: %s", lines)
	}
	for _, name := range []string{"alive", "started"} {
		if err := os.WriteFile(file(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.ready()
	if err := os.Remove(file("alive")); err != nil {
		t.Fatal(err)
	}
	s := p.awaitContainer("c", "is restarted", func(s v1.ContainerStatus) error {
		if s.RestartCount == 0 {
			return errNotYet
		}
		return nil
	})
	if end := s.LastTerminationState.Terminated; end == nil || end.ExitCode != 5 {
		t.Errorf("it ended with %+v", end)
	}
}
