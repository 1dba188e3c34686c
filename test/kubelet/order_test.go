package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// diary is a directory of the host where containers append to one file.
type diary struct{ dir string }

func newDiary(t *testing.T) diary { return diary{t.TempDir()} }

// volume mounts the diary at /diary, under this name.
func (d diary) volume() string {
	return fmt.Sprintf("{name: diary, hostPath: {path: %s}}", d.dir)
}

const diaryMount = "volumeMounts: [{name: diary, mountPath: /diary}]"

func (d diary) lines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "lines"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// TestInitContainers start one after the other, sidecars when those before are done and stay until
// the pod's containers have ended: the last one to start is the first to end.
func TestInitContainers(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	p := runPod(t, "init", fmt.Sprintf(`
restartPolicy: Never
terminationGracePeriodSeconds: 20
volumes: [%s]
initContainers:
- name: first
  command: [sh, -c, "sleep 0.5; echo first >> /diary/lines"]
  %[2]s
- name: sidecar
  restartPolicy: Always
  command: [sh, -c, "trap 'echo sidecar-down >> /diary/lines; exit 0' TERM; sleep 0.5; echo sidecar-up >> /diary/lines; touch /up; sleep 1000000 & wait"]
  startupProbe: {exec: {command: [test, -e, /up]}, periodSeconds: 1, failureThreshold: 60}
  %[2]s
- name: second
  command: [sh, -c, "echo second >> /diary/lines"]
  %[2]s
- name: other
  restartPolicy: Always
  command: [sh, -c, "trap 'sleep 0.5; echo other-down >> /diary/lines; exit 0' TERM; echo other-up >> /diary/lines; touch /up; sleep 1000000 & wait"]
  startupProbe: {exec: {command: [test, -e, /up]}, periodSeconds: 1, failureThreshold: 60}
  %[2]s
containers:
- name: main
  command: [sh, -c, "echo main >> /diary/lines"]
  %[2]s
`, d.volume(), diaryMount))
	p.succeeded()
	want := "first sidecar-up second other-up main other-down sidecar-down"
	if got := strings.Join(d.lines(t), " "); got != want {
		t.Errorf("the order is %q, want %q", got, want)
	}
	for _, name := range []string{"sidecar", "other"} {
		if s := p.container(name); s.RestartCount != 0 || s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
			t.Errorf("%s: %+v, %d restarts", name, s.State, s.RestartCount)
		}
	}
}

// TestFailedInitContainer keeps the pod's containers from being started.
func TestFailedInitContainer(t *testing.T) {
	t.Parallel()
	p := runPod(t, "init-fails", `
restartPolicy: Never
initContainers: [{name: first, command: [sh, -c, exit 3]}]
containers: [{name: main, command: [sh]}]
`)
	p.ended("Failed")
	if end := p.container("first").State.Terminated; end == nil || end.ExitCode != 3 {
		t.Errorf("the init container's end: %+v", end)
	}
	if s := p.container("main"); s.ContainerID != "" {
		t.Errorf("the container was made: %+v", s.State)
	}
}

// TestHooks are called after the start, and before SIGTERM.
func TestHooks(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	p := runPod(t, "hooks", fmt.Sprintf(`
terminationGracePeriodSeconds: 20
volumes: [%s]
containers:
- name: c
  command: [sh, -c, "trap 'echo term >> /diary/lines; exit 0' TERM; touch /tmp/trap; while :; do sleep 0.1; done"]
  lifecycle:
    postStart: {exec: {command: [sh, -c, "until test -e /tmp/trap; do :; done; echo post-start >> /diary/lines"]}}
    preStop: {exec: {command: [sh, -c, "sleep 1; echo pre-stop >> /diary/lines"]}}
  %s
`, d.volume(), diaryMount))
	p.ready()
	p.remove()
	if got, want := strings.Join(d.lines(t), " "), "post-start pre-stop term"; got != want {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

// TestFailedHook has a container ended whose postStart hook fails.
func TestFailedHook(t *testing.T) {
	t.Parallel()
	p := runPod(t, "failed-hook", `
restartPolicy: Never
containers:
- name: c
  command: [sh, -c, "trap 'exit 9' TERM; touch /tmp/trap; sleep 1000000 & wait"]
  lifecycle: {postStart: {exec: {command: [sh, -c, "until test -e /tmp/trap; do :; done; exit 1"]}}}
`)
	p.ended("Failed")
	if end := p.terminated("c"); end.ExitCode != 9 {
		t.Errorf("its end: %+v", end)
	}
}

// TestSleepHook has SIGTERM wait for as long as the preStop hook sleeps.
func TestSleepHook(t *testing.T) {
	t.Parallel()
	p := runPod(t, "sleep-hook", `
terminationGracePeriodSeconds: 20
containers:
- name: c
  command: [sh, -c, "trap 'exit 9' TERM; touch /tmp/trap; sleep 1000000 & wait"]
  readinessProbe: {exec: {command: [test, -e, /tmp/trap]}, periodSeconds: 1}
  lifecycle: {preStop: {sleep: {seconds: 2}}}
`)
	p.ready()
	began := time.Now()
	end := p.exit("c")
	if pause := time.Unix(0, end.FinishedAt).Sub(began); end.ExitCode != 9 || pause < 2*time.Second {
		t.Errorf("exit code %d after %s", end.ExitCode, pause)
	}
}

// TestStubborn has a container that ignores SIGTERM killed when its grace period is over, and not much later. It asks for
// processor time, so that it hears of SIGTERM at once whatever other pods do.
func TestStubborn(t *testing.T) {
	t.Parallel()
	d := newDiary(t)
	p := runPod(t, "stubborn", fmt.Sprintf(`
terminationGracePeriodSeconds: 3
volumes: [%s]
containers:
- name: c
  command: [sh, -c, "trap 'date +%%s.%%N >> /diary/lines' TERM; touch /tmp/trap; while :; do sleep 0.1; done"]
  readinessProbe: {exec: {command: [test, -e, /tmp/trap]}, periodSeconds: 1}
  resources: {requests: {cpu: 500m}}
  %s
`, d.volume(), diaryMount))
	p.ready()
	end := p.exit("c")
	if end.ExitCode != 137 {
		t.Errorf("exit code %d", end.ExitCode)
	}
	termed := d.lines(t)
	if len(termed) != 1 {
		t.Fatalf("SIGTERM came at %q", termed)
	}
	var at float64
	if _, err := fmt.Sscan(termed[0], &at); err != nil {
		t.Fatal(err)
	}
	if grace := float64(end.FinishedAt)/1e9 - at; grace < 2.5 || grace > 3+lasting(3*time.Second).Seconds() {
		t.Errorf("it was killed %.1f s after SIGTERM", grace)
	}
}
