package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// describeHook writes the description of a hook that is a shell script.
func describeHook(t *testing.T, dir, name, script string, when map[string]any, stages ...string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"version": "1.0.0", "when": when, "stages": stages, "hook": map[string]any{
		"path": "/bin/sh", "args": []string{"sh", "-c", script}, "env": []string{"PATH=/usr/bin:/bin", "FROM=" + name}, "timeout": 5,
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, name+".json"), string(data))
}

// TestHookDirs has hooks of every stage run for the containers they are for, and for no others.
func TestHookDirs(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	d := ownDaemon(t, options{config: fmt.Sprintf("hooks.dirs = [%q, %q]\n", filepath.Join(dir, "none"), dir)})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	hooked := map[string]any{"annotations": map[string]string{"^hook\\.test/on$": "^yes$"}}
	p := d.runPod(t, func(c *runtime.PodSandboxConfig) { c.Annotations = map[string]string{"hook.test/on": "yes"} })
	for _, stage := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
		describeHook(t, dir, stage, fmt.Sprintf("cat > %s/%s; echo $FROM >> %[1]s/order", out, stage), hooked, stage)
	}
	describeHook(t, dir, "startContainer", "cat > /started; echo $FROM >> /started", hooked, "startContainer")
	describeHook(t, dir, "zz-both", fmt.Sprintf("echo $FROM >> %s/order", out), hooked, "createRuntime", "poststop")

	c := p.start(sleeper)
	if got := c.exec("cat /started"); !strings.Contains(got, `"status":"created"`) || !strings.HasSuffix(got, "startContainer\n") {
		t.Errorf("startContainer left %q", got)
	}
	c.stop(5)
	for stage, status := range map[string]string{
		"prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "poststart": "running", "poststop": "stopped",
	} {
		if s := told(t, filepath.Join(out, stage)); s.ID != c.id || s.Status != status {
			t.Errorf("%s is told %+v, want status %s", stage, s, status)
		}
	}
	order, err := os.ReadFile(filepath.Join(out, "order"))
	if want := "prestart createRuntime zz-both createContainer poststart poststop zz-both"; err != nil || strings.Join(strings.Fields(string(order)), " ") != want {
		t.Errorf("they ran in the order %q, %v, want %q", order, err, want)
	}

	if err := os.Remove(filepath.Join(out, "order")); err != nil {
		t.Fatal(err)
	}
	d.runPod(t).start(sleeper).stop(5)
	if order, err := os.ReadFile(filepath.Join(out, "order")); err == nil {
		t.Errorf("for a pod without the annotation %q ran", order)
	}
}

// TestBadHookDirs: a description that is not in order fails the creation of containers, until it is gone.
func TestBadHookDirs(t *testing.T) {
	dir := t.TempDir()
	d := ownDaemon(t, options{config: fmt.Sprintf("hooks.dirs = [%q]\n", dir)})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	p, always := d.runPod(t), map[string]any{"always": true}
	bad := filepath.Join(dir, "bad.json")
	for text, says := range map[string]string{
		`{"version": "1.0.0", "hook": `: "unexpected EOF",
		`{"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"allways": true}, "stages": ["prestart"]}`: `"allways"`,
		`{"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"always": true}, "stages": ["start"]}`:     `stages[0]: "start"`,
	} {
		writeFile(t, bad, text)
		_, err := p.tryCreate(p.containerConfig(sleeper))
		refused(t, err, codes.FailedPrecondition, "hook file "+bad, says)
	}
	describeHook(t, dir, "bad", "echo no luck; exit 3", always, "createRuntime")
	c := p.create(sleeper)
	refused(t, c.tryStart(), codes.FailedPrecondition, "hook createRuntime", "exit code 3", "no luck")

	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	p.start(sleeper)
}

// TestStopWhileStarting stops a container whose start waits for a hook, before it runs and after: when that is done, the
// container has ended.
func TestStopWhileStarting(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	d := ownDaemon(t, options{config: fmt.Sprintf("hooks.dirs = [%q]\n", dir)})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, d)
	p := d.runPod(t)
	begun, proceed := filepath.Join(out, "begun"), filepath.Join(out, "proceed")
	for _, stage := range []string{"createRuntime", "poststart"} {
		describeHook(t, dir, "slow", fmt.Sprintf("touch %s; until [ -e %s ]; do sleep 0.01; done", begun, proceed), map[string]any{"always": true}, stage)
		c := p.create(sleeper)
		started := underWay(c.tryStart)
		await(t, "the hook runs", func() error {
			_, err := os.Stat(begun)
			return err
		})
		stopped := underWay(func() error {
			_, err := d.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: c.id})
			return err
		})
		writeFile(t, proceed, "")
		if o := <-stopped; o.err != nil {
			t.Errorf("%s: stop: %v", stage, o.err)
		} else if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED {
			t.Errorf("%s: it was stopped and is %s", stage, s.State)
		}
		if o := <-started; o.err != nil {
			t.Errorf("%s: start: %v", stage, o.err)
		}
		for _, path := range []string{begun, proceed} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}
