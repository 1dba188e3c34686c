package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tare/crash"
	"tare/spec"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// GC ends every attachment of a pod that is not live, and has the plugins remove what they
// hold beyond the attachments that remain (the GC verb, CNI 1.1).
//
// Call it at start with the pods that were found alive; all attachments of earlier runs are
// then at stake. Later calls end an attachment only when two of them in a row, at least, did
// not find its pod live: the pod may have come up after the caller looked.
func (n *Network) GC(ctx context.Context, live []spec.PodID) error {
	all, err := n.records.list(n.log)
	if err != nil {
		return err
	}
	var errs []error
	hung := make(map[string]bool) // by configuration: one deadline to wait for is enough
	for _, rec := range n.doomed(all, live) {
		conf := string(rec.Config)
		if hung[conf] {
			n.giveToRetry(rec.Pod)
			continue
		}
		if err := n.collect(ctx, rec.Pod); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", rec.Pod, err))
			n.giveToRetry(rec.Pod)
			hung[conf] = errors.Is(err, context.DeadlineExceeded)
		}
	}
	return errors.Join(append(errs, n.collectRest(ctx))...)
}

// doomed picks the attachments to end, and notes the others that are not live for the next GC.
func (n *Network) doomed(all []*record, live []spec.PodID) []*record {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*record
	for _, rec := range all {
		_, suspect := n.suspect[rec.Pod]
		switch {
		case slices.Contains(live, rec.Pod):
			delete(n.suspect, rec.Pod)
		case suspect:
			list = append(list, rec)
		default:
			n.suspect[rec.Pod] = struct{}{}
		}
	}
	return list
}

func (n *Network) collect(ctx context.Context, id spec.PodID) error {
	defer n.busy.Lock(id)()
	rec, err := n.records.read(id)
	if err != nil || rec == nil {
		return err
	}
	n.gate.RLock()
	defer n.gate.RUnlock()
	return n.detach(ctx, rec)
}

// gcTimeout bounds the GC verbs of all plugins together: every ADD waits for them. What they leave is found by a later GC.
const gcTimeout = 10 * time.Second

// collectRest runs the GC verb of every configuration that is or was in use. With an ADD or
// DEL under way it does nothing: a later GC will.
func (n *Network) collectRest(ctx context.Context) error {
	if !n.gate.TryLock() {
		return nil
	}
	defer n.gate.Unlock()
	ctx, cancel := context.WithTimeout(ctx, min(gcTimeout, n.opts.Timeout))
	defer cancel()
	all, err := n.records.list(n.log)
	if err != nil {
		return err
	}
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for _, rec := range all {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: string(rec.Pod), IfName: interfaceName})
	}
	var errs []error
	crash.Point("network-gc.collecting")
	for _, list := range n.networks(all) {
		if err := n.libcni.GCNetworkList(ctx, list, args); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", list.Name, err))
		}
	}
	return errors.Join(errs...)
}

// networks are the configurations to collect for, one of each name: the one in force, the
// embedded one, and those of attachments that were made by another.
func (n *Network) networks(all []*record) []*libcni.NetworkConfigList {
	byName := make(map[string]*libcni.NetworkConfigList)
	for _, rec := range all {
		if list, err := parseConfig(rec.Config); err == nil {
			byName[list.Name] = list
		}
	}
	embedded := n.conf.embeddedList()
	byName[embedded.Name] = embedded
	if list, err := n.conf.current(); err == nil {
		byName[list.Name] = list
	}
	lists := make([]*libcni.NetworkConfigList, 0, len(byName))
	for _, list := range byName {
		lists = append(lists, list)
	}
	return lists
}
