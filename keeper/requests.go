package keeper

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"tare/keeper/proto"
	"tare/nsutil"
)

// Run asks for a process. The caller keeps and closes all files, the program's too.
type Run struct {
	Key     string // unique among what the keeper has not forgotten
	Program *nsutil.Program

	// Stdout and Stderr are read ends of pipes for the keeper to drain; nil: they are somebody else's.
	// Console says that the first descriptor which the program gives (nsutil.Builder.Give) is the master of its
	// terminal, to be drained as stdout.
	Stdout, Stderr *os.File
	Console        bool
	// Log, opened for appending, receives what is drained; nil: it is dropped.
	Log *os.File

	// Tether binds the process to this connection: it is killed when the connection ends, its exit
	// goes to Ran.Exited only, and the key is free again after that.
	Tether bool
}

// Ran is a process that runs. The caller closes the files.
type Ran struct {
	Pid    int
	PidFD  *os.File
	Given  []*os.File  // by the program, in its order
	Exited <-chan Exit // of a tethered process: has its exit, or is closed when the keeper is lost
}

// Run runs a program until its execve, or its end. An *nsutil.OpError says which operation failed, ErrInvalidArgument that
// it has more files than one message carries. When ctx
// ends early, a tethered process is killed, and another may run all the same: List tells.
func (c *Client) Run(ctx context.Context, r Run) (Ran, error) {
	custody := Custody{Stdout: r.Stdout, Stderr: r.Stderr, Log: r.Log}
	parts, held := custody.Flatten()
	if r.Console {
		parts |= proto.PartConsole
	}
	m := proto.Run{Key: r.Key, Parts: parts, Tether: r.Tether, Program: r.Program.Encode()}
	for _, f := range r.Program.Files {
		f.Fd() // A process expects its descriptors in blocking mode, which this sets; os.Pipe's are not.
	}
	p := &proto.Packet{Kind: proto.KindRun, Body: m.Append(nil)}
	p.Files = append(append(p.Files, r.Program.Files...), held...)
	if len(p.Files) > proto.MaxFiles {
		return Ran{}, fmt.Errorf("%d volumes, devices and the like are more than the kernel passes on at once, %d (SCM_MAX_FD): %w",
			len(p.Files), proto.MaxFiles, errdefs.ErrInvalidArgument)
	}
	call := &call{}
	if r.Tether {
		call.tether = r.Key
	}
	reply, err := c.wait(ctx, call, p)
	if err != nil {
		return Ran{}, explain(r.Program, err)
	}
	h, err := proto.ParseHeld(reply.Body)
	if err != nil || len(reply.Files) == 0 {
		reply.CloseFiles()
		return Ran{}, fmt.Errorf("run %s: keeper's answer: %w", r.Key, proto.ErrGarbage)
	}
	return Ran{Pid: h.Pid, PidFD: reply.Files[0], Given: reply.Files[1:], Exited: call.exit}, nil
}

// List returns what the keeper holds. An exit in it may also come to Options.Exited.
func (c *Client) List(ctx context.Context) (Listing, error) {
	p, err := c.ask(ctx, proto.KindList, nil)
	if err != nil {
		return Listing{}, fmt.Errorf("list keeper's processes: %w", err)
	}
	return proto.ParseListing(p.Body)
}

// Fetch returns duplicates of the files held of a process, which the caller closes.
func (c *Client) Fetch(ctx context.Context, key string) (Custody, error) {
	p, err := c.ask(ctx, proto.KindFetch, proto.Key(key).Append(nil))
	if err != nil {
		return Custody{}, fmt.Errorf("fetch files of %s: %w", key, err)
	}
	h, err := proto.ParseHeld(p.Body)
	if err != nil {
		p.CloseFiles()
		return Custody{}, fmt.Errorf("fetch files of %s: %w", key, err)
	}
	held, err := proto.NewCustody(h.Parts, p.Files)
	if err != nil {
		p.CloseFiles()
	}
	return held, err
}

// Adopt hands a running process over to a keeper that did not start it. PidFD is needed, the
// rest as far as there is; the caller keeps the files.
func (c *Client) Adopt(ctx context.Context, key string, pid int, held Custody) error {
	parts, files := held.Flatten()
	m := proto.Held{Key: key, Pid: pid, Parts: parts}
	return c.do(ctx, "adopt "+key, proto.KindAdopt, m.Append(nil), files...)
}

// OpenLog replaces the log file of a process, between two lines if it can. The caller keeps file. When
// it returns, nothing more is written into the old file.
func (c *Client) OpenLog(ctx context.Context, key string, file *os.File) error {
	return c.do(ctx, "open log of "+key, proto.KindOpenLog, proto.Key(key).Append(nil), file)
}

// Forget ends the custody of a process that has exited. One that is unknown is no error.
func (c *Client) Forget(ctx context.Context, key string) error {
	return c.do(ctx, "forget "+key, proto.KindForget, proto.Key(key).Append(nil))
}

// Put stores files under a key, in the place of what was there; at most proto.MaxFiles. The
// caller keeps the files.
func (c *Client) Put(ctx context.Context, key string, files ...*os.File) error {
	return c.do(ctx, "store files of "+key, proto.KindPut, proto.Key(key).Append(nil), files...)
}

// Get returns the files stored under a key, which the caller closes.
func (c *Client) Get(ctx context.Context, key string) ([]*os.File, error) {
	p, err := c.ask(ctx, proto.KindGet, proto.Key(key).Append(nil))
	if err != nil {
		return nil, fmt.Errorf("get files of %s: %w", key, err)
	}
	return p.Files, nil
}

// Drop closes what is stored under a key, which may be nothing.
func (c *Client) Drop(ctx context.Context, key string) error {
	return c.do(ctx, "drop files of "+key, proto.KindDrop, proto.Key(key).Append(nil))
}

// Stop ends the keeper, and returns when it has let go of its socket. While processes run, it refuses
// (ErrFailedPrecondition), or, by force, kills them.
func (c *Client) Stop(ctx context.Context, force bool) error {
	if err := c.do(ctx, "stop keeper", proto.KindStop, proto.Stop{Force: force}.Append(nil)); err != nil {
		return err
	}
	select {
	case <-c.lost:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop keeper: %w", ctx.Err())
	}
}

// do asks for something that is answered by nothing but its being done.
func (c *Client) do(ctx context.Context, what string, kind proto.Kind, body []byte, files ...*os.File) error {
	p, err := c.ask(ctx, kind, body, files...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	p.CloseFiles()
	return nil
}

// explain turns the fault of a failed operation into the error of the program that holds it.
func explain(p *nsutil.Program, err error) error {
	f, ok := err.(*proto.Fault)
	if !ok || f.Code != proto.FailedOp {
		return err
	}
	return p.Explain(&nsutil.OpError{Index: f.Op, Errno: f.Errno})
}
