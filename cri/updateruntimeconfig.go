package cri

import (
	"context"
	"net/netip"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateRuntimeConfig takes the address ranges of this node's pods.
func (s *Server) UpdateRuntimeConfig(_ context.Context, r *runtime.UpdateRuntimeConfigRequest) (*runtime.UpdateRuntimeConfigResponse, error) {
	cidrs, err := podCIDRs(r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr(), "runtime_config.network_config.pod_cidr")
	if err == nil && len(cidrs) > 0 {
		err = s.deps.Network.SetPodCIDR(cidrs)
	}
	if err != nil {
		return nil, err
	}
	return &runtime.UpdateRuntimeConfigResponse{}, nil
}

// podCIDRs splits the ranges of a node, one for each family, at commas. None given asks for
// nothing (api.proto, NetworkConfig).
func podCIDRs(text string, at field) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	cidrs := strings.Split(text, ",")
	families := make(map[bool]bool)
	for _, c := range cidrs {
		prefix, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, at.errorf("%q is not an address range", c)
		}
		if v4 := prefix.Addr().Is4(); families[v4] {
			return nil, at.errorf("%q has two ranges of one family", text)
		} else {
			families[v4] = true
		}
	}
	return cidrs, nil
}
