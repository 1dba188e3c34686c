package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"tare/cgroup"
	"tare/keeper"
	"tare/nsutil"
	"tare/oci"
	"tare/spec"
)

// process is what the daemon holds of a container that was created: its root until the start, its
// processes from then on.
type process struct {
	id     spec.ContainerID
	driven *oci.Container // by an OCI runtime; nil: by ourselves
	rootfs *os.File       // assembled at create, until it is started; nil after a restart of the daemon
	pidfd  *os.File       // of the first process; set before started closes
	// output is what the keeper drains, held here too: should the keeper be lost, writers find a
	// reader still, and the next keeper goes on (estate.go).
	output keeper.Custody
	stdin  *input // nil: /dev/null. Set before started closes.
	group  *cgroup.Group
	// oomsAtKill is, plus one, how many processes the kernel had killed for want of memory when we killed
	// the rest; 0: we did not.
	oomsAtKill atomic.Uint64

	lost    <-chan struct{} // closed when the keeper is, which would tell of the exit; nil: never
	started chan struct{}   // closed when start has committed, or given up
	exited  chan struct{}   // closed when the exit is on record
	once    sync.Once       // of recording the exit: the keeper may tell of it twice
}

func newProcess(id spec.ContainerID, driven *oci.Container) *process {
	return &process{id: id, driven: driven, started: make(chan struct{}), exited: make(chan struct{})}
}

// running says whether the process was started and its exit is not on record.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
	}
	select {
	case <-p.started:
		return p.pidfd != nil
	default:
		return false
	}
}

// settled waits until a start that is under way has come to its end.
func (p *process) settled(ctx context.Context) error {
	select {
	case <-p.started:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends a signal to the container's first process. One that is being removed has ended.
func (p *process) signal(sig unix.Signal) error {
	if p.driven != nil {
		return p.sendDriven(sig)
	}
	if err := nsutil.PidfdSignal(p.pidfd, sig); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// kill ends all processes of the container. The first one's end takes the others of its PID
// namespace with it; the cgroup finds those of a shared one.
func (p *process) kill(ctx context.Context) error {
	if !p.running() {
		return nil
	}
	if p.group == nil {
		return p.signal(unix.SIGKILL)
	}
	if n, err := p.group.OOM(); err == nil { // before the first process is killed
		p.oomsAtKill.CompareAndSwap(0, n+1)
	}
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	return p.group.Kill(ctx)
}

// wait waits until the exit is on record. A process that never ran has none to wait for.
func (p *process) wait(ctx context.Context, limit time.Duration) error {
	if !p.running() {
		return nil
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.lost: // the next runtime is told; this one waits for its calls before it goes
		return fmt.Errorf("container %s: keeper is lost: %w", p.id.Short(), errdefs.ErrUnavailable)
	case <-timer.C:
		return fmt.Errorf("container %s: %w", p.id.Short(), errStillRunning)
	}
}

func (p *process) close() {
	for _, f := range []*os.File{p.rootfs, p.pidfd} {
		if f != nil {
			f.Close()
		}
	}
	p.output.Close()
	if p.stdin != nil {
		p.stdin.close()
	}
}
