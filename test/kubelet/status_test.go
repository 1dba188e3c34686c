package kubelet

import (
	"errors"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// container is a container's status as the kubelet reports it.
func (p *pod) container(name string) v1.ContainerStatus {
	p.t.Helper()
	var status v1.ContainerStatus
	p.await("has a container "+name, func(pod *v1.Pod) (err error) {
		status, err = statusOf(pod, name)
		return err
	})
	return status
}

func statusOf(pod *v1.Pod, name string) (v1.ContainerStatus, error) {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
	i := slices.IndexFunc(all, func(s v1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return v1.ContainerStatus{}, errNoStatus
	}
	return all[i], nil
}

// said is the termination message of a container that has ended.
func (p *pod) said(name string) string {
	p.t.Helper()
	return p.terminated(name).Message
}

// terminated waits until a container has ended, and returns how.
func (p *pod) terminated(name string) *v1.ContainerStateTerminated {
	p.t.Helper()
	var state *v1.ContainerStateTerminated
	p.awaitContainer(name, "ends", func(s v1.ContainerStatus) error {
		if state = s.State.Terminated; state == nil {
			return errNotYet
		}
		return nil
	})
	return state
}

// awaitContainer waits until a container's status is as it should be.
func (p *pod) awaitContainer(name, what string, holds func(v1.ContainerStatus) error) v1.ContainerStatus {
	p.t.Helper()
	var status v1.ContainerStatus
	p.await("has a container "+name+" that "+what, func(pod *v1.Pod) (err error) {
		if status, err = statusOf(pod, name); err != nil {
			return err
		}
		return holds(status)
	})
	return status
}

var (
	errNoStatus = errors.New("the container has no status")
	errNotYet   = errors.New("it is not")
)
