package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"tare/keeper"
	"tare/nsutil"
	"tare/spec"
	"tare/store"
)

// input is the writing side of a container's stdin: a pipe's, or the console. Sessions write to
// duplicates of their own. The keeper stores it, too, for as long as it is open: it outlives the
// daemon that way, and when it is not there it has been closed for good.
type input struct {
	mu   sync.Mutex
	file *os.File          // nil: closed
	open map[*os.File]bool // duplicates in use
}

// stdinKey is under what name the keeper stores a container's stdin.
func stdinKey(id spec.ContainerID) string { return "stdin/" + string(id) }

// stdinOf says whose stdin the keeper stores under a key.
func stdinOf(key string) (string, bool) { return strings.CutPrefix(key, "stdin/") }

// newInput takes over the file; nil is a closed input.
func newInput(file *os.File) *input { return &input{file: file, open: map[*os.File]bool{}} }

// take returns a file for a session to write to, nil if the input is closed. Give it back with release.
func (in *input) take() (*os.File, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file == nil {
		return nil, nil
	}
	f, err := nsutil.DuplicateNonblock(in.file)
	if err != nil {
		return nil, err
	}
	in.open[f] = true
	return f, nil
}

// release closes a file that take has returned. Who is writing to it fails.
func (in *input) release(f *os.File) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.open[f] {
		delete(in.open, f)
		f.Close()
	}
}

// close closes the input for all sessions.
func (in *input) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file != nil {
		in.file.Close()
		in.file = nil
	}
	for f := range in.open {
		f.Close()
	}
	clear(in.open)
}

// keepStdin gives a container's stdin to the keeper as well, and takes over the file.
func (r *Runtime) keepStdin(ctx context.Context, live *process, file *os.File) error {
	live.stdin = newInput(file)
	if err := r.Keeper.Put(ctx, stdinKey(live.id), file); err != nil {
		return fmt.Errorf("give stdin into custody: %w", err)
	}
	return nil
}

// entrustStdin gives another keeper the stdin, if it is open.
func (p *process) entrustStdin(ctx context.Context, k *keeper.Client) error {
	if p.stdin == nil {
		return nil
	}
	p.stdin.mu.Lock()
	defer p.stdin.mu.Unlock()
	if p.stdin.file == nil {
		return nil
	}
	return k.Put(ctx, stdinKey(p.id), p.stdin.file)
}

// keepConsole makes the console the stdin of a container that asks for one.
func (r *Runtime) keepConsole(ctx context.Context, c *store.Container, live *process) error {
	if !c.Spec.Stdin || live.output.Console == nil {
		return nil
	}
	file, err := nsutil.DuplicateNonblock(live.output.Console)
	if err != nil {
		return err
	}
	return r.keepStdin(ctx, live, file)
}

// recoverStdin finds the stdin that an earlier daemon kept. A terminal's is kept once it runs.
func (r *Runtime) recoverStdin(ctx context.Context, c *store.Container, live *process) error {
	if !c.Spec.Stdin {
		return nil
	}
	if c.State == store.ContainerStarting && live.output.Console != nil {
		return r.keepConsole(ctx, c, live)
	}
	files, err := r.Keeper.Get(ctx, stdinKey(c.ID))
	if errdefs.IsNotFound(err) {
		live.stdin = newInput(nil)
		return nil
	}
	if err != nil {
		return err
	}
	closeAll(files[1:])
	live.stdin = newInput(files[0])
	return nil
}

// closeStdin closes a container's stdin for good.
func (r *Runtime) closeStdin(ctx context.Context, c *store.Container) error {
	if !c.Spec.Stdin {
		return nil
	}
	if live := r.processOf(c.ID); live != nil && live.stdin != nil {
		live.stdin.close()
	}
	return r.Keeper.Drop(ctx, stdinKey(c.ID))
}

// leaveCustody ends what the keeper has of a container that has ended.
func (r *Runtime) leaveCustody(ctx context.Context, c *store.Container) error {
	return errors.Join(r.Keeper.Forget(ctx, string(c.ID)), r.closeStdin(ctx, c))
}
