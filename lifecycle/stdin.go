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
func (p *process) keepStdin(ctx context.Context, k *keeper.Client, file *os.File) error {
	p.stdin = newInput(file)
	if err := k.Put(ctx, stdinKey(p.id), file); err != nil {
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
func (p *process) keepConsole(ctx context.Context, k *keeper.Client, c *store.Container) error {
	if !c.Spec.Stdin || p.output.Console == nil {
		return nil
	}
	file, err := nsutil.DuplicateNonblock(p.output.Console)
	if err != nil {
		return err
	}
	return p.keepStdin(ctx, k, file)
}

// recoverStdin finds the stdin that an earlier daemon kept. A terminal's is kept once it runs.
func (p *process) recoverStdin(ctx context.Context, k *keeper.Client, c *store.Container) error {
	if !c.Spec.Stdin {
		return nil
	}
	if c.State == store.ContainerStarting && p.output.Console != nil {
		return p.keepConsole(ctx, k, c)
	}
	files, err := k.Get(ctx, stdinKey(c.ID))
	if errdefs.IsNotFound(err) {
		p.stdin = newInput(nil)
		return nil
	}
	if err != nil {
		return err
	}
	nsutil.CloseAll(files[1:])
	p.stdin = newInput(files[0])
	return nil
}

// closeStdin closes a container's stdin for good. p may be nil: then only the keeper may have it.
func (p *process) closeStdin(ctx context.Context, k *keeper.Client, c *store.Container) error {
	if !c.Spec.Stdin {
		return nil
	}
	if p != nil && p.stdin != nil {
		p.stdin.close()
	}
	return k.Drop(ctx, stdinKey(c.ID))
}

// leaveCustody ends what the keeper has of a container that has ended. p may be nil.
func (p *process) leaveCustody(ctx context.Context, k *keeper.Client, c *store.Container) error {
	return errors.Join(k.Forget(ctx, string(c.ID)), p.closeStdin(ctx, k, c))
}
