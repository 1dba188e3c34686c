package nri

import (
	"context"
	"log/slog"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare/security/seccomp"
	"tare/spec"
	"tare/store"
)

// Answer is what plugins want changed elsewhere because of an event.
type Answer struct {
	updates   []*adaptation.ContainerUpdate
	evictions []*adaptation.ContainerEviction
}

// Empty says that nothing is.
func (a Answer) Empty() bool { return len(a.updates)+len(a.evictions) == 0 }

// tell makes a call that plugins answer with no more than an error, if there is anybody to tell.
func (p *Plugins) tell(call func(a *adaptation.Adaptation) error) error {
	if !p.Active() {
		return nil
	}
	return p.refusal(call(p.adaptation))
}

// RunPod tells of a pod that is there but for the word; an error refuses it.
func (p *Plugins) RunPod(ctx context.Context, pod *store.Pod) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.RunPodSandbox(ctx, &adaptation.RunPodSandboxRequest{Pod: wirePod(pod)})
	})
}

// StopPod tells of a pod that was stopped.
func (p *Plugins) StopPod(ctx context.Context, pod *store.Pod) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.StopPodSandbox(ctx, &adaptation.StopPodSandboxRequest{Pod: wirePod(pod)})
	})
}

// RemovePod tells of a pod that was removed.
func (p *Plugins) RemovePod(ctx context.Context, pod *store.Pod) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.RemovePodSandbox(ctx, &adaptation.RemovePodSandboxRequest{Pod: wirePod(pod)})
	})
}

// UpdatePod asks about other resources of a pod; an error refuses them.
func (p *Plugins) UpdatePod(ctx context.Context, pod *store.Pod, overhead, resources *spec.Resources) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		_, err := a.UpdatePodSandbox(ctx, &adaptation.UpdatePodSandboxRequest{
			Pod: wirePod(pod), OverheadLinuxResources: wireResources(overhead), LinuxResources: wireResources(resources),
		})
		return err
	})
}

// UpdatedPod tells that they are in force.
func (p *Plugins) UpdatedPod(ctx context.Context, pod *store.Pod) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.PostUpdatePodSandbox(ctx, &adaptation.PostUpdatePodSandboxRequest{Pod: wirePod(pod)})
	})
}

// Create asks about a container that is about to be; the adjustment is nil if nobody wants one, an error refuses the container.
func (p *Plugins) Create(ctx context.Context, pod *store.Pod, c *store.Container) (*Adjustment, Answer, error) {
	if !p.Active() {
		return nil, Answer{}, nil
	}
	asked := wireContainer(c)
	policy, err := seccomp.Profile(&c.Spec.Security, c.OCI.Process.Capabilities.Bounding)
	if err != nil {
		return nil, Answer{}, err
	}
	if policy != nil { // who replaces it wants to see it
		asked.Linux.SeccompPolicy = api.FromOCILinuxSeccomp(policy)
	}
	ctx, rest := withLeftOut(ctx)
	resp, err := p.adaptation.CreateContainer(ctx, &adaptation.CreateContainerRequest{Pod: wirePod(pod), Container: asked})
	if err != nil {
		return nil, Answer{}, p.refusal(err)
	}
	adjustment, err := newAdjustment(resp.Adjust)
	if adjustment != nil {
		adjustment.goneEnv = missing(c.OCI.Process.Env, variable, asked.Env, variable)
		adjustment.goneDevices = missing(c.OCI.Linux.Devices, func(d specs.LinuxDevice) string { return d.Path },
			asked.Linux.Devices, (*adaptation.LinuxDevice).GetPath)
	}
	return adjustment, rest.answer(resp.Update), p.refusal(err)
}

// Created tells that the container is there.
func (p *Plugins) Created(ctx context.Context, pod *store.Pod, c *store.Container) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.PostCreateContainer(ctx, &adaptation.PostCreateContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	})
}

// StartContainer tells that the container is about to run; an error has its start fail.
func (p *Plugins) StartContainer(ctx context.Context, pod *store.Pod, c *store.Container) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.StartContainer(ctx, &adaptation.StartContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	})
}

// Started tells that it runs.
func (p *Plugins) Started(ctx context.Context, pod *store.Pod, c *store.Container) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.PostStartContainer(ctx, &adaptation.PostStartContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	})
}

// Update asks about other limits of a container, and returns those that plugins make of them; an error refuses them.
func (p *Plugins) Update(ctx context.Context, pod *store.Pod, c *store.Container, asked *spec.Resources) (*spec.Resources, Answer, error) {
	if !p.Active() {
		return asked, Answer{}, nil
	}
	ctx, rest := withLeftOut(ctx)
	resp, err := p.adaptation.UpdateContainer(ctx, &adaptation.UpdateContainerRequest{
		Pod: wirePod(pod), Container: wireContainer(c), LinuxResources: wireResources(asked),
	})
	if err != nil {
		return nil, Answer{}, p.refusal(err)
	}
	a := rest.answer(resp.Update)
	for _, u := range resp.Update {
		if u.GetContainerId() == string(c.ID) {
			own, err := resources(u.GetLinux().GetResources())
			if err != nil && u.IgnoreFailure {
				p.log.Info("change a plugin can do without", slog.String("container", u.ContainerId), slog.Any("err", err))
				return asked, a, nil
			}
			if err != nil {
				return nil, a, p.refusal(err)
			}
			own.OOMScoreAdj = asked.OOMScoreAdj // updates have none
			return own, a, nil
		}
	}
	return asked, a, nil
}

// Updated tells that they are in force.
func (p *Plugins) Updated(ctx context.Context, pod *store.Pod, c *store.Container) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.PostUpdateContainer(ctx, &adaptation.PostUpdateContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	})
}

// StopContainer tells that a container has ended.
func (p *Plugins) StopContainer(ctx context.Context, pod *store.Pod, c *store.Container) (Answer, error) {
	if !p.Active() {
		return Answer{}, nil
	}
	ctx, rest := withLeftOut(ctx)
	resp, err := p.adaptation.StopContainer(ctx, &adaptation.StopContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	return rest.answer(resp.GetUpdate()), p.refusal(err)
}

// RemoveContainer tells that a container was removed.
func (p *Plugins) RemoveContainer(ctx context.Context, pod *store.Pod, c *store.Container) error {
	return p.tell(func(a *adaptation.Adaptation) error {
		return a.RemoveContainer(ctx, &adaptation.RemoveContainerRequest{Pod: wirePod(pod), Container: wireContainer(c)})
	})
}
