package pod

import (
	"flag"
	"fmt"
	goruntime "runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var setClock = flag.Bool("set-clock", false, "the time of day is the tests' to set, as in a virtual machine")

// jump sets the time of day.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatalf("set clock by %s: %v", by, err)
	}
}

// TestClockJump sets the time of day, as an operator or a time service may, while commands and a grace period are under
// way and a container writes: none ends early or late, no line is lost, no exit lies before its start, rates are of the time that
// has passed, and a daemon that starts then finds all as it was.
func TestClockJump(t *testing.T) {
	if !*setClock {
		t.Skip("the time of day is this machine's: see hack/vm/parts/clock.sh")
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			d := ownDaemon(t, options{})
			d.pull(t, busybox)
			h := newHousehold(t, d)
			const timeout = 3 * time.Second
			killed := underWay(func() error {
				_, err := h.sleeping.tryExec(int64(timeout.Seconds()), "sleep", "4243")
				return err
			})
			whole := underWay(func() error {
				resp, err := h.sleeping.tryExec(60, "sh", "-c", "sleep 3; echo whole")
				if err == nil && string(resp.Stdout) != "whole\n" {
					err = fmt.Errorf("it said %q", resp.Stdout)
				}
				return err
			})
			stubborn := h.start(script("trap 'echo told' TERM; while :; do sleep 0.1; done"))
			stubborn.trapped()
			stopped := underWay(func() error {
				_, err := d.runtime.StopContainer(deadline(t), &runtime.StopContainerRequest{ContainerId: stubborn.id, Timeout: int64(timeout.Seconds())})
				return err
			})
			busy := h.start(script("while :; do :; done"))
			first := busy.stats()
			stubborn.says("told")
			await(t, "the command runs", func() error {
				if !slices.ContainsFunc(processes(), func(pid int) bool { return slices.Equal(cmdline(pid), []string{"sleep", "4243"}) }) {
					return fmt.Errorf("it does not")
				}
				return nil
			})

			jump(t, by)
			t.Cleanup(func() { jump(t, -by) })
			if o := <-killed; status.Code(o.err) != codes.DeadlineExceeded || o.took < timeout || o.took > time.Minute {
				t.Errorf("a command with a timeout of %s ends after %s: %v", timeout, o.took, o.err)
			}
			if o := <-whole; o.err != nil {
				t.Errorf("a command that needs 3 of its 60 s ends after %s: %v", o.took, o.err)
			}
			if o := <-stopped; o.err != nil || o.took < timeout || o.took > time.Minute {
				t.Errorf("a grace period of %s ends after %s: %v", timeout, o.took, o.err)
			}
			if s := stubborn.status(); s.ExitCode != 137 || s.FinishedAt < s.StartedAt || s.StartedAt < s.CreatedAt {
				t.Errorf("exit code %d, created %d, started %d, finished %d", s.ExitCode, s.CreatedAt, s.StartedAt, s.FinishedAt)
			}
			second := busy.stats()
			if rate := second.Cpu.UsageNanoCores.GetValue(); rate < 1e7 || rate > 1.2e9*uint64(goruntime.NumCPU()) {
				t.Errorf("a busy loop uses %d nano cores", rate)
			}
			if was, is := first.Cpu.UsageCoreNanoSeconds.Value, second.Cpu.UsageCoreNanoSeconds.Value; is <= was {
				t.Errorf("a busy loop has used %d ns, and %d before", is, was)
			}
			h.grows(h.lines(h.writer.logFile())+100, h.writer.logFile())

			before := d.inventory(t)
			d.signal(syscall.SIGTERM)
			<-h.exec
			h.obey()
			jump(t, -by/2)
			t.Cleanup(func() { jump(t, by/2) })
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			if after := d.inventory(t); !slices.Equal(before, after) {
				t.Errorf("pods and containers before:\n%q\nafter:\n%q", before, after)
			}
			h.ended()
			h.works()
		})
	}
}

// outcome is how a call has ended, and how long it took.
type outcome struct {
	err  error
	took time.Duration
}

// underWay makes a call, whose outcome is sent.
func underWay(call func() error) <-chan outcome {
	done := make(chan outcome, 1)
	start := time.Now()
	go func() { // ends with the call
		err := call()
		done <- outcome{err, time.Since(start)}
	}()
	return done
}
