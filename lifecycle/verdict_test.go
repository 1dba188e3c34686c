package lifecycle

import (
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare/keeper"
	"tare/spec"
)

func TestVerdict(t *testing.T) {
	const exited3, killed, segfault = 3 << 8, 9, 11 // wait statuses, wait(2)
	for _, tt := range []struct {
		name   string
		exit   keeper.Exit
		oom    bool
		code   int32
		reason string
	}{
		{"clean end", keeper.Exit{Known: true}, false, 0, "Completed"},
		{"own code", keeper.Exit{Known: true, Status: exited3}, false, 3, "Error"},
		{"signal", keeper.Exit{Known: true, Status: segfault}, false, 139, "Error"},
		{"memory", keeper.Exit{Known: true, Status: killed}, true, 137, "OOMKilled"},
		{"a child's memory, passed on", keeper.Exit{Known: true, Status: 137 << 8}, true, 137, "OOMKilled"},
		{"a child's memory, survived", keeper.Exit{Known: true}, true, 0, "Completed"},
		{"a child's memory, survived for a while", keeper.Exit{Known: true, Status: exited3}, true, 3, "Error"},
		{"a child's memory, then a fault", keeper.Exit{Known: true, Status: segfault}, true, 139, "Error"},
		{"killed", keeper.Exit{Known: true, Status: killed}, false, 137, "Error"},
		{"nobody saw it", keeper.Exit{Status: syscall.WaitStatus(255 << 8)}, false, 255, "Unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, reason := verdict(tt.exit, tt.oom); code != tt.code || reason != tt.reason {
				t.Errorf("got %d %s, want %d %s", code, reason, tt.code, tt.reason)
			}
		})
	}
}

func TestStopSignal(t *testing.T) {
	for _, tt := range []struct {
		image string
		asked unix.Signal
		want  unix.Signal
	}{
		{"", 0, unix.SIGTERM},
		{"SIGQUIT", 0, unix.SIGQUIT},
		{"quit", 0, unix.SIGQUIT},
		{"3", 0, unix.SIGQUIT},
		{"RTMIN+3", 0, 37},
		{"SIGRTMAX-1", 0, 63},
		{"RTMIN+99", 0, unix.SIGTERM},
		{"NONSENSE", 0, unix.SIGTERM},
		{"SIGQUIT", unix.SIGUSR1, unix.SIGUSR1},
	} {
		got := stopSignal(&spec.Container{StopSignal: tt.asked}, spec.Image{Config: ocispec.ImageConfig{StopSignal: tt.image}})
		if got != tt.want {
			t.Errorf("image %q, request %v: %v, want %v", tt.image, tt.asked, got, tt.want)
		}
	}
}
