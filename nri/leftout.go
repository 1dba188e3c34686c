package nri

import (
	"context"
	"log/slog"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
)

// leftOut is what plugins answer to one event and the library (0.12.5) does not pass on: it is read beside it.
type leftOut struct {
	// pids are limits of processes in updates of containers, by their ids. The library looks for them in the wrong place
	// when it merges updates (adaptation's updateResources). Plugins are asked in their order, the last one's limit counts.
	pids map[string]int64
	// evictions are of containers; the library counts them only.
	evictions []*adaptation.ContainerEviction
}

type leftOutKey struct{}

// withLeftOut is the context of an event in which it is gathered.
func withLeftOut(ctx context.Context) (context.Context, *leftOut) {
	l := &leftOut{pids: map[string]int64{}}
	return context.WithValue(ctx, leftOutKey{}, l), l
}

// answer is what the library made of the answers, and what it left out.
func (l *leftOut) answer(updates []*adaptation.ContainerUpdate) Answer {
	for _, u := range updates {
		if n, ok := l.pids[u.GetContainerId()]; ok && u.GetLinux().GetResources() != nil {
			u.Linux.Resources.Pids = &api.LinuxPids{Limit: n}
		}
	}
	return Answer{updates, l.evictions}
}

// readLeftOut is between the library and each plugin.
func readLeftOut(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
	if err := invoke(ctx, req, resp); err != nil {
		return err
	}
	if l, ok := ctx.Value(leftOutKey{}).(*leftOut); ok {
		l.read(req.Method, resp.Payload)
	}
	return nil
}

// read reads an answer; of one that cannot be read, the library says so.
func (l *leftOut) read(method string, payload []byte) {
	var answer interface {
		proto.Message
		GetUpdate() []*api.ContainerUpdate
	}
	switch method {
	case "CreateContainer":
		answer = &api.CreateContainerResponse{}
	case "UpdateContainer":
		answer = &api.UpdateContainerResponse{}
	case "StopContainer":
		answer = &api.StopContainerResponse{}
	default:
		return
	}
	if proto.Unmarshal(payload, answer) != nil {
		return
	}
	for _, u := range answer.GetUpdate() {
		if pids := u.GetLinux().GetResources().GetPids(); pids != nil {
			l.pids[u.GetContainerId()] = pids.GetLimit()
		}
	}
	if evicting, ok := answer.(interface {
		GetEvict() []*api.ContainerEviction
	}); ok {
		l.evictions = append(l.evictions, evicting.GetEvict()...)
	}
}

// evictUnasked makes the evictions that a plugin asks for of its own accord: the library reads the updates only. The call ends with
// them.
func (p *Plugins) evictUnasked(ctx context.Context, unmarshal ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	var evictions []*adaptation.ContainerEviction
	resp, err := method(ctx, func(message any) error {
		err := unmarshal(message)
		if r, ok := message.(*adaptation.UpdateContainersRequest); ok {
			evictions = r.Evict
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.Apply(context.WithoutCancel(ctx), Answer{evictions: evictions}, ""); err != nil {
		p.log.Warn("evictions a plugin asks for", slog.Any("err", err))
	}
	return resp, nil
}
