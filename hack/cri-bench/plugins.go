package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"tare/nsutil"
)

// pluginDir is where the reference plugins are installed.
const pluginDir = "/usr/lib/cni"

// plugins has the runtime's chain of plugins connect a network namespace that is nobody's, and undo it: what they take by
// themselves, whoever executes them.
func (b *bench) plugins(ctx context.Context, s *subject) (up, down time.Duration, err error) {
	list, err := libcni.ConfListFromBytes([]byte(s.chain))
	if err != nil {
		return 0, 0, err
	}
	ns, err := newNetNS()
	if err != nil {
		return 0, 0, err
	}
	defer ns.Close()
	b.serial++
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
	chain := libcni.NewCNIConfigWithCacheDir([]string{pluginDir}, filepath.Join(b.dir, "cni-cache"), nil)
	rt := &libcni.RuntimeConf{ContainerID: fmt.Sprintf("alone-%d", b.serial), NetNS: path, IfName: "eth0"}
	up, err = timed(func() error { _, err := chain.AddNetworkList(ctx, list, rt); return err })
	down, derr := timed(func() error { return chain.DelNetworkList(context.WithoutCancel(ctx), list, rt) })
	return up, down, errors.Join(err, derr)
}

// newNetNS makes a network namespace.
func newNetNS() (*os.File, error) {
	p := nsutil.NewBuilder()
	p.Unshare(unix.CLONE_NEWNET)
	p.Give("namespace", p.Open("/proc/self/ns/net", unix.O_RDONLY))
	p.Exit()
	made, err := nsutil.Run(p.Program())
	if err != nil {
		return nil, err
	}
	return made[0], nil
}
