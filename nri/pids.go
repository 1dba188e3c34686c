package nri

import (
	"context"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
)

// pidLimits are the limits of processes that plugins' answers to one event have for containers, by their ids. The library
// looks for them in the wrong place when it merges updates (0.12.5, adaptation's updateResources), and leaves them out:
// they are read beside it. Plugins are asked in their order, the last one's limit counts.
type pidLimits map[string]int64

type pidLimitsKey struct{}

// withPidLimits is the context of an event in which they are gathered.
func withPidLimits(ctx context.Context) (context.Context, pidLimits) {
	limits := pidLimits{}
	return context.WithValue(ctx, pidLimitsKey{}, limits), limits
}

// complete puts them into what the library made of the answers.
func (l pidLimits) complete(updates []*adaptation.ContainerUpdate) {
	for _, u := range updates {
		if n, ok := l[u.GetContainerId()]; ok && u.GetLinux().GetResources() != nil {
			u.Linux.Resources.Pids = &api.LinuxPids{Limit: n}
		}
	}
}

// readPidLimits is between the library and each plugin.
func readPidLimits(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
	if err := invoke(ctx, req, resp); err != nil {
		return err
	}
	limits, ok := ctx.Value(pidLimitsKey{}).(pidLimits)
	if !ok {
		return nil
	}
	for _, u := range updatesIn(req.Method, resp.Payload) {
		if pids := u.GetLinux().GetResources().GetPids(); pids != nil {
			limits[u.GetContainerId()] = pids.GetLimit()
		}
	}
	return nil
}

// updatesIn are those in an answer; of one that cannot be read, the library says so.
func updatesIn(method string, payload []byte) []*adaptation.ContainerUpdate {
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
		return nil
	}
	if proto.Unmarshal(payload, answer) != nil {
		return nil
	}
	return answer.GetUpdate()
}
