package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// plugin writes a CNI plugin, a script of the host's shell, and makes it the network.
func (d *daemon) plugin(t *testing.T, add string) {
	t.Helper()
	if err := os.MkdirAll(d.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`#!/bin/sh
echo "$CNI_COMMAND" >> %s
case $CNI_COMMAND in
ADD) cat > /dev/null; %s ;;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
esac
`, d.path("calls"), add)
	if err := os.WriteFile(d.path("bin/scripted"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.path("net.d/10-scripted.conflist"), `{"cniVersion":"1.0.0","name":"scripted","plugins":[{"type":"scripted"}]}`)
}

const scriptedResult = `echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}'`

func TestBadPlugins(t *testing.T) {
	d := ownDaemon(t, options{config: `cni.timeout = "500ms"`})
	d.pull(t, busybox)
	tests := []struct {
		name, add string
		code      codes.Code
		words     []string
	}{
		{"fails with an error", `echo '{"cniVersion":"1.0.0","code":110,"msg":"no address left"}'; exit 1`, codes.Unknown, []string{"no address left", "110"}},
		{"fails without a word", `exit 3`, codes.Unknown, []string{"scripted", "exit status 3"}},
		{"fails with words", `echo oh no >&2; exit 1`, codes.Unknown, []string{"oh no"}},
		{"may work later", `echo '{"cniVersion":"1.0.0","code":11,"msg":"try again"}'; exit 1`, codes.Unavailable, []string{"try again"}},
		{"prints garbage", `echo '<html>'`, codes.Unknown, []string{"scripted", "<html>"}},
		{"prints nothing", `:`, codes.Unknown, []string{"scripted", "no result"}},
		{"prints another version", `echo '{"cniVersion":"9.9.9"}'`, codes.Unknown, []string{"9.9.9"}},
		{"floods", `yes garbage | head -c 8000000`, codes.Unknown, []string{"garbage"}},
		{"hangs", `sleep 1000`, codes.DeadlineExceeded, []string{"scripted", "500ms"}},
		{"hangs with a child", `sleep 1000 & sleep 1000 & wait`, codes.DeadlineExceeded, []string{"scripted", "500ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			before := len(processes())
			d.plugin(t, tt.add)
			badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("bad")}, tt.code, tt.words...)
			await(t, "no process of the plugin is left", func() error {
				if now := len(processes()); now > before {
					return fmt.Errorf("%d more", now-before)
				}
				return nil
			})
		})
	}
	t.Run("works", func(t *testing.T) {
		d.plugin(t, scriptedResult)
		p := d.runPod(t)
		if ip := p.ip(); ip != "10.9.8.7" {
			t.Errorf("address %s", ip)
		}
		p.start(sleeper)
	})
	t.Run("comes and goes", func(t *testing.T) {
		leavesNothing(t, d) // when the plugin is back: DEL is tried until it works
		p := d.runPod(t)
		if err := os.Remove(d.path("bin/scripted")); err != nil {
			t.Fatal(err)
		}
		badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("bad")}, codes.FailedPrecondition, "scripted", d.path("bin"))
		p.start(sleeper)
		p.remove()
		d.plugin(t, scriptedResult)
	})
	t.Run("bad configuration", func(t *testing.T) {
		leavesNothing(t, d)
		writeFile(t, d.path("net.d/10-scripted.conflist"), `{"cniVersion":`)
		badPod(t, d, &runtime.RunPodSandboxRequest{Config: podConfig("bad")}, codes.FailedPrecondition, "10-scripted.conflist")
		if err := os.Remove(d.path("net.d/10-scripted.conflist")); err != nil {
			t.Fatal(err)
		}
	})
	// The embedded network again; the bridge it makes stays.
	d.runPod(t).start(sleeper)
}

// TestPluginGoneAtStop ends everything while the plugin is not there: what is ours goes, and the plugin hears
// of it when both are back.
func TestPluginGoneAtStop(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	d.plugin(t, scriptedResult)
	p := d.runPod(t)
	pid := p.start(sleeper).pid()
	netns := d.path("netns")
	if err := os.Remove(d.path("bin/scripted")); err != nil {
		t.Fatal(err)
	}
	out, err := run(filepath.Join(suite.bin, "tare"), "stop", "--all", "--state", d.path("state"))
	if err != nil || !strings.Contains(out, "scripted") || !strings.Contains(out, p.id) {
		t.Errorf("%v: %q does not say what was left to do", err, out)
	}
	<-d.done
	gone(t, pid)
	if left, err := os.ReadDir(netns); err != nil || len(left) != 0 {
		t.Errorf("network namespaces %v, %v", left, err)
	}
	d.plugin(t, scriptedResult)
	if err := os.Remove(d.path("calls")); err != nil {
		t.Fatal(err)
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the plugin is told", func() error {
		calls, err := os.ReadFile(d.path("calls"))
		if err == nil && !strings.Contains(string(calls), "DEL") {
			err = fmt.Errorf("calls %q", calls)
		}
		return err
	})
}

// TestClientGivesUp cancels RunPodSandbox while a plugin works: the pod is made, and the next call
// finds it.
func TestClientGivesUp(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	d.plugin(t, fmt.Sprintf("while [ ! -e %s ]; do sleep 0.01; done; %s", d.path("go"), scriptedResult))
	config := podConfig("slow")
	config.LogDirectory = t.TempDir()
	ctx, cancel := context.WithCancel(deadline(t))
	failed := make(chan error, 1)
	go func() { // ends when cancel is called
		_, err := d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
		failed <- err
	}()
	await(t, "the plugin is called", func() error {
		_, err := os.Stat(d.path("calls"))
		return err
	})
	cancel()
	if err := <-failed; status.Code(err) != codes.Canceled {
		t.Errorf("canceled call: %v", err)
	}
	short, cancel := context.WithTimeout(deadline(t), 100*time.Millisecond)
	defer cancel()
	if _, err := d.runtime.RunPodSandbox(short, &runtime.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("second call while the plugin works: %v", err)
	}
	writeFile(t, d.path("go"), "")
	resp, err := d.runtime.RunPodSandbox(deadline(t), &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{d, t, resp.PodSandboxId, config}
	defer p.remove()
	p.start(sleeper)
	if list, err := d.runtime.ListPodSandbox(deadline(t), &runtime.ListPodSandboxRequest{}); err != nil || len(list.Items) != 1 {
		t.Errorf("pods %v, %v, want one", list.GetItems(), err)
	}
	calls, err := os.ReadFile(d.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	if got := countWord(string(calls), "ADD"); got != 1 {
		t.Errorf("the plugin was called %d times for ADD: %q", got, calls)
	}
}
