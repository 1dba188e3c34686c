package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tare/crash"
	"tare/spec"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// Del detaches a pod, by the configuration that ADD was given. A pod without attachment is
// success, and a namespace that is gone is no obstacle. A plugin that fails or hangs is not
// the caller's business: the DEL is repeated behind, and by GC. What an error does say:
// ErrInvalidArgument, or a record that cannot be read or removed.
func (n *Network) Del(ctx context.Context, id spec.PodID) error {
	if id == "" {
		return fmt.Errorf("pod id is empty: %w", errdefs.ErrInvalidArgument)
	}
	if n.retry.has(id) { // else kubelet's next StopPodSandbox waits for a plugin that hangs
		return nil
	}
	defer n.busy.Lock(id)()
	rec, err := n.recordOf(id)
	if err != nil || rec == nil {
		return err
	}
	n.gate.RLock()
	defer n.gate.RUnlock()
	if err := n.detach(ctx, rec); err != nil {
		n.log.Warn("network DEL failed, will be retried", "pod", id, "err", err)
		n.giveToRetry(id)
	}
	return nil
}

// detach runs DEL and forgets the attachment. Preconditions: the pod's lock is held.
func (n *Network) detach(ctx context.Context, rec *record) error {
	list, err := parseConfig(rec.Config)
	if err != nil {
		return fmt.Errorf("configuration of the attachment: %w", err)
	}
	rt := rec.runtimeConf()
	if !isNamespace(rt.NetNS) {
		rt.NetNS = "" // CNI SPEC.md, DEL: empty where the namespace is gone
	}
	if err := n.libcni.DelNetworkList(ctx, list, rt); err != nil {
		return err
	}
	crash.Point("network-del.deleted")
	if err := n.records.remove(rec.Pod); err != nil {
		return err
	}
	crash.Point("network-del.forgotten")
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.suspect, rec.Pod)
	return nil
}

// retryDel is one attempt of the retrier: true when there is nothing left to do.
func (n *Network) retryDel(ctx context.Context, id spec.PodID) bool {
	defer n.busy.Lock(id)()
	rec, err := n.records.read(id)
	if err == nil && rec == nil {
		return true
	}
	n.gate.RLock()
	defer n.gate.RUnlock()
	if err == nil {
		err = n.detach(ctx, rec)
	}
	if err != nil {
		n.log.Warn("network DEL failed again", "pod", id, "err", err)
	}
	return err == nil
}

// isNamespace says whether path still is a namespace's file, and not just where one was bound.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Check compares the pod's network with what ADD made: CNI CHECK. ErrNotFound: the pod has no
// attachment. Configurations before CNI 0.4, which knows no CHECK, pass.
func (n *Network) Check(ctx context.Context, id spec.PodID) error {
	defer n.busy.Lock(id)()
	rec, err := n.records.read(id)
	if err != nil {
		return err
	}
	if rec == nil {
		return fmt.Errorf("network of pod: %w", errdefs.ErrNotFound)
	}
	list, err := parseConfig(rec.Config)
	if err != nil {
		return fmt.Errorf("configuration of the attachment: %w", err)
	}
	err = n.libcni.CheckNetworkList(ctx, list, rec.runtimeConf())
	if errors.Is(err, libcni.ErrorCheckNotSupp) {
		return nil
	}
	return err
}

// Teardown ends every attachment, live or not, and takes the embedded network's bridge, rules
// and sysctls off the host. What other plugins share between pods is theirs and stays. An attachment
// whose plugin fails, or is not there any more, stays on record for the next Network's GC.
func (n *Network) Teardown(ctx context.Context) error {
	all, err := n.records.list(n.log)
	if err != nil {
		return err
	}
	for _, rec := range all {
		unlock := n.busy.Lock(rec.Pod)
		if err := n.detach(ctx, rec); err != nil {
			n.log.Error("network DEL failed, the next start repeats it", "pod", rec.Pod, "err", err)
		}
		unlock()
	}
	list := n.conf.embeddedList()
	conf, err := libcni.InjectConf(list.Plugins[0], map[string]any{"name": list.Name, "cniVersion": list.CNIVersion})
	if err != nil {
		return err
	}
	return errors.Join(n.plugin.Teardown(conf.Bytes), n.removeDirs())
}

// removeDirs removes what Teardown has emptied; a record whose DEL failed keeps its directory.
func (n *Network) removeDirs() error {
	var errs []error
	for _, dir := range []string{
		filepath.Join(n.opts.DataDir, "leases"), filepath.Join(n.opts.BootDir, "results"),
	} {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
