package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hookedDevice describes a CDI device whose hooks are shell scripts, by their names.
func hookedDevice(t *testing.T, dir, device string, scripts map[string]string) option {
	t.Helper()
	var hooks []map[string]any
	for name, text := range scripts {
		hooks = append(hooks, map[string]any{"hookName": name, "path": "/bin/sh", "args": []string{"sh", "-c", text}, "env": []string{"PATH=/usr/bin:/bin", "FROM=hook"}, "timeout": 5})
	}
	data, err := json.Marshal(map[string]any{"cdiVersion": "0.7.0", "kind": "hook.test/" + device,
		"devices": []any{map[string]any{"name": "x", "containerEdits": map[string]any{"hooks": hooks}}}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, device+".json"), string(data))
	return cdiDevices("hook.test/" + device + "=x")
}

// told is what a hook of the host's wrote down.
func told(t *testing.T, path string) (state struct {
	ID, Status, Bundle string
	Pid                int
}) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		t.Error(err)
	}
	return state
}

func TestHooks(t *testing.T) {
	d, dir, _ := cdiDaemon(t)
	for name, options := range map[string][]podOption{"": nil, "isolated": {inUserNS}, "in a user namespace": {inUserNS}, "shared PIDs": {podNamespaces(func(n *runtime.NamespaceOption) { n.Pid = runtime.NamespaceMode_POD })}} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, d)
			out := t.TempDir()
			scripts := map[string]string{"startContainer": `cat > /started; echo $FROM >> /started; readlink /proc/self/ns/mnt > /hook-mnt`}
			for _, stage := range []string{"prestart", "createRuntime", "poststart", "poststop"} {
				scripts[stage] = fmt.Sprintf("cat > %s/%s; readlink /proc/self/ns/mnt > %[1]s/%[2]s.mnt; date +%%s%%N > %[1]s/%[2]s.time", out, stage)
			}
			if err := errors.Join(os.Chmod(filepath.Dir(out), 0o711), os.Chmod(out, 0o777)); err != nil { // for a hook that is not the host's root
				t.Fatal(err)
			}
			// Everything is mounted by then, and the root is where the specification says.
			scripts["createContainer"] = fmt.Sprintf(`cat > %s/createContainer; readlink /proc/self/ns/mnt > %[1]s/createContainer.mnt
bundle=$(sed 's/.*"bundle":"\([^"]*\)".*/\1/' %[1]s/createContainer)
root=$(sed 's/.*"root":{"path":"\([^"]*\)".*/\1/' $bundle/config.json)
for ns in user pid net ipc uts cgroup; do readlink /proc/self/ns/$ns; done > %[1]s/createContainer.ns; id -u >> %[1]s/createContainer.ns
grep -q . $root/proc/version && test -c $root/dev/null && grep -q . $root/etc/hosts && echo made > $root/etc/by-hook`, out)
			handler := ""
			if name == isolated {
				handler = name
			}
			c := d.runPodBy(t, handler, options...).start(sleeper, hookedDevice(t, dir, "all", scripts))
			mnt := namespaces(t, c.pid())["mnt"]
			its, hosts := procPid(t, c.pid()), namespaces(t, d.pid())["mnt"]
			for stage, want := range map[string]struct {
				status string
				pid    int
				mnt    string
			}{
				"prestart": {"creating", c.pid(), hosts}, "createRuntime": {"creating", c.pid(), hosts},
				"createContainer": {"creating", its, mnt}, "poststart": {"running", c.pid(), hosts},
			} {
				s := told(t, filepath.Join(out, stage))
				if s.ID != c.id || s.Status != want.status || s.Pid != want.pid || !filepath.IsAbs(s.Bundle) {
					t.Errorf("%s is told %+v, want %+v", stage, s, want)
				}
				if got, err := os.ReadFile(filepath.Join(out, stage+".mnt")); err != nil || strings.TrimSpace(string(got)) != want.mnt {
					t.Errorf("%s runs in %s, want %s", stage, got, want.mnt)
				}
			}
			if got := c.exec("cat /started /hook-mnt"); !strings.Contains(got, fmt.Sprintf(`"pid":%d`, its)) || !strings.Contains(got, "hook\n"+mnt) {
				t.Errorf("startContainer left %q", got)
			}
			if got := c.exec("cat /etc/by-hook; stat -c %u:%g /etc/by-hook"); got != "made\n0:0\n" {
				t.Errorf("createContainer left %q", got)
			}
			of := namespaces(t, c.pid())
			want := fmt.Sprintln(of["user"], of["pid"], of["net"], of["ipc"], of["uts"], of["cgroup"], 0)
			if got, err := os.ReadFile(filepath.Join(out, "createContainer.ns")); err != nil || strings.Join(strings.Fields(string(got)), " ")+"\n" != want {
				t.Errorf("createContainer runs in %q, %v, want %q", got, err, want)
			}
			if _, err := os.Stat(filepath.Join(out, "poststop")); err == nil {
				t.Error("poststop has run before the end")
			}
			c.stop(5)
			if s := told(t, filepath.Join(out, "poststop")); s.Status != "stopped" || s.Pid != 0 {
				t.Errorf("poststop is told %+v", s)
			}
		})
	}
}

// procPid is a process's number in its own PID namespace.
func procPid(t *testing.T, pid int) (n int) {
	t.Helper()
	all := strings.Fields(procStatus(pid)["NSpid"])
	if _, err := fmt.Sscan(all[len(all)-1], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFailingHooks(t *testing.T) {
	d, dir, _ := cdiDaemon(t)
	p := d.runPod(t)
	for _, stage := range []string{"prestart", "createRuntime", "createContainer", "startContainer"} {
		t.Run(stage, func(t *testing.T) {
			leavesNothing(t, d)
			after := filepath.Join(t.TempDir(), "poststop")
			c := p.create(sleeper, hookedDevice(t, dir, stage, map[string]string{stage: "echo a; echo no luck >&2; exit 3", "poststop": "cat > " + after}))
			refused(t, c.tryStart(), codes.FailedPrecondition, "hook "+stage, "/bin/sh", "exit code 3", "no luck")
			if s := c.status(); s.Reason != "StartError" || !strings.Contains(s.Message, "no luck") {
				t.Errorf("status %s: %s", s.Reason, s.Message)
			}
			told(t, after)
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("poststart", func(t *testing.T) {
		c := p.create(sleeper, hookedDevice(t, dir, "poststart", map[string]string{"poststart": "echo no luck; exit 3"}))
		refused(t, c.tryStart(), codes.FailedPrecondition, "hook poststart", "no luck")
		if s := c.finish(); s.ExitCode != 137 {
			t.Errorf("exit code %d", s.ExitCode)
		}
	})
	t.Run("before they come", func(t *testing.T) {
		leavesNothing(t, d)
		for stage, change := range map[string]option{
			"createContainer": volume(&runtime.Mount{HostPath: "/tmp", ContainerPath: "/etc/passwd/x"}),
			"startContainer":  func(c *runtime.ContainerConfig) { c.WorkingDir = "/etc/passwd/x" },
		} {
			c := p.create(sleeper, change, hookedDevice(t, dir, "late", map[string]string{stage: "true"}))
			refused(t, c.tryStart(), codes.InvalidArgument, "/etc/passwd/x")
			if err := c.tryRemove(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("without end", func(t *testing.T) {
		leavesNothing(t, d)
		c := p.create(sleeper, hookedDevice(t, dir, "endless", map[string]string{"createRuntime": "sleep 1000000"}))
		refused(t, c.tryStart(), codes.DeadlineExceeded, "hook createRuntime", "5s")
		if err := c.tryRemove(); err != nil {
			t.Error(err)
		}
	})
	t.Run("not there", func(t *testing.T) {
		writeFile(t, filepath.Join(dir, "gone.yaml"), `{cdiVersion: 0.7.0, kind: hook.test/gone, devices: [{name: x, containerEdits: {hooks: [{hookName: createContainer, path: /no/such/hook}]}}]}`)
		c := p.create(sleeper, cdiDevices("hook.test/gone=x"))
		refused(t, c.tryStart(), codes.FailedPrecondition, "hook createContainer", "/no/such/hook")
	})
	t.Run("in a user namespace", func(t *testing.T) {
		leavesNothing(t, d)
		c := d.runPod(t, inUserNS).create(sleeper, hookedDevice(t, dir, "user", map[string]string{"createContainer": "echo of the host > /etc/by-hook || exit 3"}))
		refused(t, c.tryStart(), codes.FailedPrecondition, "hook createContainer", "/bin/sh", "exit code 3", "Permission denied")
	})
}
