package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"

	"tare/cni"
	"tare/crash"
	"tare/sandbox"
	"tare/spec"
	"tare/store"
	"tare/trace"
)

// The names of the runtime handlers.
const (
	DefaultHandler  = "tare"     // the empty name means it too
	IsolatedHandler = "isolated" // spec.Pod.Isolated
)

// RunPod makes a pod sandbox and returns its id. A repeated call with the same UID and attempt
// joins the one under way, or returns what it made.
func (r *Runtime) RunPod(ctx context.Context, pod *spec.Pod) (spec.PodID, error) {
	key := fmt.Sprintf("%s/%d", pod.UID, pod.Attempt)
	return r.pods.do(ctx, key, func(ctx context.Context) (spec.PodID, error) { return r.runPod(ctx, pod) })
}

func (r *Runtime) runPod(ctx context.Context, pod *spec.Pod) (spec.PodID, error) {
	if made, err := r.Store.PodByKey(pod.Key()); err == nil {
		if again, err := r.reuse(ctx, made); again || err != nil {
			return made.ID, err
		}
	}
	id := spec.NewPodID()
	if _, err := r.Cgroups.Path(pod.CgroupParent, id, spec.ContainerID(id)); err != nil {
		return "", err
	}
	labels, err := r.selinux.Pod(pod.SELinux)
	if err != nil {
		return "", fmt.Errorf("linux.security_context.selinux_options: %w", err)
	}
	defer r.locks.Lock(id)()
	plan := sandbox.New(id, pod, r.layout)
	plan.Label = labels.Mount
	intent := &store.Pod{
		ID: id, Spec: *pod, State: store.PodCreating, CreatedAt: time.Now(),
		Handler: cmp.Or(pod.Handler, DefaultHandler), Driver: r.drivers.record(pod.Handler), NetNS: plan.NetNS, CgroupPath: pod.CgroupParent,
		SELinux: labels,
	}
	_, step := trace.Start(ctx, "record the intent")
	err = r.Store.Create(intent)
	step.End(&err)
	if err != nil {
		r.selinux.Release(labels)
		return "", err
	}
	crash.Point("pod-up.intent-stored")
	a := &arrival{r, intent, plan}
	if err := a.bringUp(ctx); err != nil {
		return "", undo(ctx, err, a.takeBack)
	}
	return id, nil
}

// reuse says whether a pod made earlier answers the call. One that never came up, or is half
// removed, because undoing it had failed, is removed here: nobody could name it.
func (r *Runtime) reuse(ctx context.Context, made *store.Pod) (bool, error) {
	switch made.State {
	case store.PodReady:
		return true, nil
	case store.PodCreating, store.PodRemoving:
		defer r.locks.Lock(made.ID)()
		return false, r.dismantle(ctx, made.ID)
	}
	return false, fmt.Errorf("pod sandbox %s with uid %q, attempt %d, is %s: remove it or raise the attempt: %w",
		made.ID.Short(), made.Spec.UID, made.Spec.Attempt, made.State, errdefs.ErrAlreadyExists)
}

// arrival is a pod being made whose intent is on record.
type arrival struct {
	*Runtime
	pod  *store.Pod
	plan sandbox.Plan
}

// bringUp executes the plan and records the outcome.
func (a *arrival) bringUp(ctx context.Context) error {
	var ips []netip.Addr
	sb, err := a.plan.Up(ctx, a.Keeper, a.spares, func(ctx context.Context) (err error) {
		ips, err = a.connect(ctx)
		return err
	})
	if err != nil {
		return err
	}
	a.keepSandbox(sb)
	if len(ips) > 0 {
		if err := sandbox.WriteHosts(a.layout.PodDir(a.pod.ID), &a.pod.Spec, ips); err != nil {
			return err
		}
	}
	crash.Point("pod-up.connected")
	if err := a.labelFiles(); err != nil {
		return err
	}
	crash.Point("pod-up.files-labelled")
	inodes, err := sb.Inodes()
	if err != nil {
		return err
	}
	_, step := trace.Start(ctx, "record")
	defer step.End(&err)
	defer a.Plugins.Hold()()
	up := *a.pod
	up.IPs = ips
	if err := a.Plugins.RunPod(ctx, &up); err != nil {
		return err
	}
	_, err = a.Store.Update(a.pod.ID, func(p *store.Pod) error {
		p.IPs, p.Namespaces = ips, inodes
		p.State, err = p.State.Next(store.PodStarted)
		return err
	})
	crash.Point("pod-up.outcome-stored")
	return err
}

// takeBack removes what was made of a pod that did not come up. What cannot be removed now is removed behind: nobody
// was given its id. Preconditions: the pod's lock is held.
func (a *arrival) takeBack(ctx context.Context) error {
	id := a.pod.ID
	err := a.dismantle(ctx, id)
	if err != nil {
		a.leftovers.later("pod "+string(id), err, func() error {
			defer a.locks.Lock(id)()
			return a.dismantle(context.WithoutCancel(ctx), id)
		})
	}
	return err
}

// labelFiles lets containers read what the pod shows them in /etc.
func (a *arrival) labelFiles() error {
	for _, f := range sandbox.ContainerFiles(a.plan.Dir) {
		if err := a.selinux.Relabel(f.Name, a.pod.SELinux); err != nil {
			return err
		}
	}
	return nil
}

// connect puts the pod on the network.
func (a *arrival) connect(ctx context.Context) (_ []netip.Addr, err error) {
	ctx, step := trace.Start(ctx, "network")
	defer step.End(&err)
	p := a.pod
	if p.NetNS == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, networkAddTimeout)
	defer cancel()
	res, err := a.Network.Add(ctx, cni.Pod{
		ID: p.ID, Name: p.Spec.Name, UID: p.Spec.UID, Namespace: p.Spec.Namespace, NetNS: p.NetNS,
		PortMappings: p.Spec.PortMappings, DNS: p.Spec.DNS, CgroupPath: p.CgroupPath, Annotations: p.Spec.Annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("set up network of pod: %w", err)
	}
	return res.IPs, nil
}
