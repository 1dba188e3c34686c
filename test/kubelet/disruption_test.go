package kubelet

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

// The tests in this file are not parallel: they disturb all pods of the node, and run before the
// others.

// identity is what of a pod a restart would change.
func identity(pod *v1.Pod) string {
	var all []string
	for _, s := range pod.Status.ContainerStatuses {
		all = append(all, fmt.Sprintf("%s %s %d", s.Name, s.ContainerID, s.RestartCount))
	}
	slices.Sort(all)
	return pod.Status.PodIP + " " + strings.Join(all, " ")
}

// TestKubeletRestart kills the kubelet. The next one finds the pods as they were.
func TestKubeletRestart(t *testing.T) {
	p := runPod(t, "survivor", "containers: [{name: c, command: [sleep, '1000000']}, {name: d, command: [sleep, '1000000']}]")
	before := identity(p.ready())
	if err := errors.Join(node.kubelet.end(syscall.SIGKILL), node.startKubelet()); err != nil {
		t.Fatal(err)
	}
	p.ready()
	lookedAt(t, time.Now().Add(2*time.Second))
	if after := identity(p.ready()); after != before {
		t.Errorf("after the restart it is %s, before %s", after, before)
	}
}

// TestDaemonRestart kills the runtime's daemon under a running kubelet. Nothing is restarted, and
// what was written meanwhile is in the log. That is written slowly enough for no rotation: a kubelet whose call
// to reopen a log fails puts the former file over the new one, whoever writes to that by then
// (pkg/kubelet/logs, rotateLatestLog). Its lines are in the log again when the next daemon serves, which is
// TestRotationCutShort of test/pod; here they are looked for before.
func TestDaemonRestart(t *testing.T) {
	p := runPod(t, "undisturbed", `
containers:
- name: c
  command: `+counter("0.5")+`
  livenessProbe: {exec: {command: ["true"]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: `+strconv.Itoa(*slower)+`}
`)
	before := identity(p.ready())
	for range 3 {
		if err := node.daemon.end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		lines := len(p.written("c"))
		err := until("the container writes without a daemon", func() error {
			if len(p.written("c")) < lines+200 {
				return errors.New("it does not")
			}
			return nil
		})
		if err := errors.Join(err, node.startDaemon()); err != nil {
			t.Fatal(err)
		}
		lookedAt(t, time.Now().Add(2*time.Second))
	}
	if after := identity(p.ready()); after != before {
		t.Errorf("after the restarts it is %s, before %s", after, before)
	}
	var seen inOrder
	for _, line := range p.written("c") {
		seen.check(line)
	}
	if seen.fault != nil {
		t.Error(seen.fault)
	}
	t.Logf("%d lines in order", seen.next)
}

// lookedAt waits until the kubelet has seen all of the runtime's pods after a time.
func lookedAt(t *testing.T, after time.Time) {
	t.Helper()
	err := until("the kubelet reaches the runtime", func() error {
		seen := node.metric(t, "kubelet_pleg_last_seen_seconds")
		if seen < float64(after.Unix()) {
			return fmt.Errorf("the last time was %s", time.Unix(int64(seen), 0))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
