package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tare/keeper/proto"
	"tare/nsutil"

	"github.com/containerd/errdefs"
)

const (
	// connectBound is how long Connect takes, if ctx does not end earlier.
	connectBound = 10 * time.Second
	// redialPause is waited while another daemon starts a keeper, or one is just ending.
	redialPause = 10 * time.Millisecond

	logName = "keeper.log"
)

// Options say which keeper to talk to.
type Options struct {
	StateDir string // of the socket, the lock and keeper.log; made if it is not there
	Binary   string // cmd/keeper, started when no keeper runs; "" means that one has to run

	// Exited is told of the end of every process that is not tethered, one call at a time. It may
	// block and may use the client. Nil: this connection does not care.
	Exited func(Exit)
	Log    *slog.Logger
}

// Connect returns a connection to the keeper of a state directory, which it starts if none runs. The
// error class is ErrUnavailable when that does not work.
func Connect(ctx context.Context, o Options) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectBound)
	defer cancel()
	if err := o.prepare(); err != nil {
		return nil, fmt.Errorf("connect to keeper: %w", err)
	}
	replaced := o.Binary == ""
	for {
		c, err := dial(ctx, o)
		if err == nil && !replaced && c.program != "" {
			replaced = true
			if again, err := c.renew(ctx, o); again {
				continue
			} else if err != nil {
				o.Log.Warn("the keeper stays the one it is", "err", err)
			}
		}
		if err == nil || !nobodyHome(err) || o.Binary == "" {
			return c, err
		}
		err = start(ctx, o)
		if err == nil {
			continue
		}
		if !errors.Is(err, errRunning) && !errors.Is(err, errKilled) {
			return nil, fmt.Errorf("start keeper: %w: %w", err, errdefs.ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to keeper: %w: %w", ctx.Err(), errdefs.ErrUnavailable)
		case <-time.After(redialPause):
		}
	}
}

// renew has the keeper execute the program that would be started now, if it executes another one, and reports whether to
// connect anew. On error the keeper is as it was.
func (c *Client) renew(ctx context.Context, o Options) (again bool, err error) {
	digest, err := nsutil.FileDigest(o.Binary)
	if err != nil || digest == c.program {
		return false, err
	}
	program, err := sealed(o.Binary)
	if err != nil {
		return false, err
	}
	defer program.Close()
	for {
		_, err := c.ask(ctx, proto.KindReplace, nil, program)
		if errdefs.IsUnavailable(err) { // the connection ended
			c.Close()
			return true, nil
		}
		if !errdefs.IsFailedPrecondition(err) { // it waits for a launch
			return false, fmt.Errorf("replace keeper: %w", err)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(redialPause):
		}
	}
}

// dial connects to a keeper that runs.
func dial(ctx context.Context, o Options) (*Client, error) {
	conn, err := proto.Dial(o.StateDir)
	if err != nil {
		return nil, fmt.Errorf("connect to keeper: %w: %w", err, errdefs.ErrUnavailable)
	}
	return newClient(ctx, conn, o)
}

// errRunning is that somebody else's keeper has the lock.
var errRunning = errors.New("another keeper is starting or ending")

// errKilled is that a keeper was killed before it served, which says nothing of the next one.
var errKilled = errors.New("the keeper was killed while it started")

// prepare makes the state directory, and the paths good for a process in another directory.
func (o *Options) prepare() error {
	var err error
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return err
	}
	if o.Binary != "" {
		if o.Binary, err = filepath.Abs(o.Binary); err != nil {
			return err
		}
	}
	return os.MkdirAll(o.StateDir, 0o700)
}

// nobodyHome tells a socket without a keeper, or one whose keeper was just ending, from other
// troubles.
func nobodyHome(err error) bool {
	for _, is := range []error{syscall.ENOENT, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, errGone} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// start starts a keeper that lives on without us, and returns when it can be reached, or with
// errRunning.
func start(ctx context.Context, o Options) error {
	path := filepath.Join(o.StateDir, logName)
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	ready, notify, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	program, err := sealed(o.Binary)
	if err != nil {
		return err
	}
	defer program.Close()
	proc, err := os.StartProcess(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program.Fd()), []string{"keeper", "--state", o.StateDir, "--ready", "3"}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []*os.File{null, log, log, notify},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	notify.Close()
	if err != nil {
		return err
	}
	return awaitReady(ctx, proc, ready, path)
}

// sealed is a copy of the keeper's program in memory. Until their execve, its children in containers have it as
// /proc/self/exe, and may be made to execute it by a container's "#!/proc/self/exe": what a container then can open is
// no file of the host (CVE-2019-5736).
func sealed(binary string) (*os.File, error) {
	f, err := os.Open(binary)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return nsutil.SealedProgram("keeper", f)
}

// awaitReady waits for the byte that a keeper writes when it serves. The goroutine that reaps it
// ends with it, or with the daemon.
func awaitReady(ctx context.Context, proc *os.Process, ready *os.File, log string) error {
	ended := make(chan *os.ProcessState, 1)
	go func() {
		st, _ := proc.Wait()
		ended <- st
		ready.SetReadDeadline(time.Now()) // its guard may hold the other end
	}()
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Now()) })
	defer stop()
	if n, err := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	} else if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return ctx.Err()
	}
	st := <-ended
	if st != nil && st.ExitCode() == proto.ExitRunning {
		return errRunning
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return errKilled
	}
	return fmt.Errorf("%v before it served, see %s", st, log)
}
