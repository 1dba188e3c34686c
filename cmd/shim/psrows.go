package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/store"
)

// askTimeout bounds the questions to a daemon.
const askTimeout = 20 * time.Second

// askRows asks a daemon for what it runs.
func askRows(ctx context.Context, listen string) ([]podRow, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := dial(listen)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := runtime.NewRuntimeServiceClient(conn)
	list, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the daemon at %s: %w", listen, err)
	}
	var rows []podRow
	for _, item := range list.Items {
		row, there, err := askListed(ctx, client, item.Id)
		if err != nil {
			return nil, fmt.Errorf("ask the daemon at %s: %w", listen, err)
		}
		if there {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// askListed asks about a pod that was listed. It, or one of its containers, may be gone by the time of an answer: then the
// answer to come is another.
func askListed(ctx context.Context, client runtime.RuntimeServiceClient, id string) (row podRow, there bool, err error) {
	const attempts = 3
	for range attempts {
		if row, err = askPod(ctx, client, id); err == nil {
			return row, true, nil
		}
		list, listErr := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{Id: id}})
		if listErr == nil && len(list.Items) == 0 {
			return podRow{}, false, nil
		}
	}
	return podRow{}, false, err
}

func askPod(ctx context.Context, client runtime.RuntimeServiceClient, id string) (podRow, error) {
	r, err := client.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return podRow{}, err
	}
	var more struct {
		State      string
		Namespaces map[string]uint64
	}
	if err := json.Unmarshal([]byte(r.Info["info"]), &more); err != nil {
		return podRow{}, fmt.Errorf("verbose status of pod %s: %w", id, err)
	}
	m := r.Status.GetMetadata()
	row := podRow{
		id: id, name: m.GetNamespace() + "/" + m.GetName(), state: more.State,
		ip: r.Status.GetNetwork().GetIp(), namespaces: more.Namespaces,
	}
	for _, c := range r.ContainersStatuses {
		container, err := askContainer(ctx, client, c.Id)
		if err != nil {
			return podRow{}, err
		}
		row.containers = append(row.containers, container)
	}
	return row, nil
}

func askContainer(ctx context.Context, client runtime.RuntimeServiceClient, id string) (containerRow, error) {
	r, err := client.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return containerRow{}, err
	}
	var more struct {
		State string
		Pid   int
	}
	if err := json.Unmarshal([]byte(r.Info["info"]), &more); err != nil {
		return containerRow{}, fmt.Errorf("verbose status of container %s: %w", id, err)
	}
	return containerRow{
		id: id, name: r.Status.GetMetadata().GetName(), state: more.State,
		pid: more.Pid, namespaces: namespacesOfPid(more.Pid),
	}, nil
}

// readRows reads the records of a daemon that does not run. Preconditions: the state directory
// is claimed.
func readRows(state string) ([]podRow, error) {
	s, _, err := store.Open(filepath.Join(state, recordsDir))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var rows []podRow
	for _, p := range s.Pods() {
		row := podRow{id: string(p.ID), name: p.Spec.Namespace + "/" + p.Spec.Name, state: p.State.String(), namespaces: p.Namespaces}
		if len(p.IPs) > 0 {
			row.ip = p.IPs[0].String()
		}
		for _, c := range p.ByAge() {
			row.containers = append(row.containers, containerRow{
				id: string(c.ID), name: c.Spec.Name, state: c.State.String(), pid: c.Pid, namespaces: namespacesOfPid(c.Pid),
			})
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func namespacesOfPid(pid int) map[string]uint64 {
	if pid == 0 {
		return nil
	}
	return namespacesOf(strconv.Itoa(pid))
}

// namespacesOf reads which namespaces a process is in; one that is gone is in none.
func namespacesOf(process string) map[string]uint64 {
	out := map[string]uint64{}
	for _, kind := range nsKinds {
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", process, "ns", kind), &st) == nil {
			out[kind] = st.Ino
		}
	}
	return out
}
