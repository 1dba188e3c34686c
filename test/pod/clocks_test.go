package pod

import (
	"fmt"
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// clocks are offsets of a pod's clocks, as its annotations say them.
func clocks(offsets map[string]string) podOption {
	return func(c *runtime.PodSandboxConfig) { c.Annotations = offsets }
}

// uptime reads proc_uptime(5), in seconds, which is of the boot-time clock.
func uptime(t *testing.T, text string) (seconds float64) {
	t.Helper()
	if _, err := fmt.Sscan(text, &seconds); err != nil {
		t.Fatalf("uptime %q: %v", text, err)
	}
	return seconds
}

func timeNS(t *testing.T, pid int) string {
	t.Helper()
	target, err := os.Readlink(procPath(pid, "ns/time"))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// TestClocks reads the uptimes of pods whose boot-time clocks were set differently: each is the host's and
// what the annotation says, in containers and execs, in every container of the pod, and the time of day
// is everybody's.
func TestClocks(t *testing.T) {
	leavesNothing(t, suite.shared)
	const day = 24 * 3600
	for _, tt := range []struct {
		name    string
		offset  float64
		options []podOption
	}{
		{"the host's", 0, nil},
		{"a year ahead", 365 * day, []podOption{clocks(map[string]string{"tare/boottime-offset": "8760h", "tare/monotonic-offset": "8760h"})}},
		{"ten days ahead, in a user namespace", 10 * day, []podOption{inUserNS, clocks(map[string]string{"tare/boottime-offset": "240h"})}},
		{"monotonic only", 0, []podOption{clocks(map[string]string{"tare/monotonic-offset": "240h"})}},
		{"back by ten seconds", -10, []podOption{clocks(map[string]string{"tare/boottime-offset": "-10s"})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := suite.shared.runPod(t, tt.options...)
			host, err := os.ReadFile("/proc/uptime")
			if err != nil {
				t.Fatal(err)
			}
			want := uptime(t, string(host)) + tt.offset
			_, first := p.output(script("cat /proc/uptime"))
			c := p.start(sleeper)
			for what, text := range map[string]string{"a container": first, "an exec": c.exec("cat /proc/uptime")} {
				if got := uptime(t, text); got < want-1 || got > want+patience.Seconds() { // time goes by

					t.Errorf("%s is up for %.0f s, want %.0f", what, got, want)
				}
			}
			if own := timeNS(t, c.pid()) != timeNS(t, os.Getpid()); own != (len(tt.options) > 0) {
				t.Errorf("time namespace of its own: %v", own)
			}
		})
	}
}

func TestBadClocks(t *testing.T) {
	leavesNothing(t, suite.shared)
	for _, name := range []string{"tare/boottime-offset", "tare/monotonic-offset"} {
		for _, offset := range []string{"soon", "", "7"} {
			config := podConfig("bad", clocks(map[string]string{name: offset}))
			badPod(t, suite.shared, &runtime.RunPodSandboxRequest{Config: config}, codes.InvalidArgument,
				fmt.Sprintf("annotations[%q]", name), fmt.Sprintf("%q is not a duration", offset))
		}
	}
	// Before its start no clock goes, time_namespaces(7).
	config := podConfig("bad", clocks(map[string]string{"tare/boottime-offset": "-99999h"}))
	badPod(t, suite.shared, &runtime.RunPodSandboxRequest{Config: config}, codes.InvalidArgument, "tare/boottime-offset", "below zero")
}
