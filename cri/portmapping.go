package cri

import (
	"net/netip"
	"slices"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

var protocols = map[runtime.Protocol]string{
	runtime.Protocol_TCP: "tcp", runtime.Protocol_UDP: "udp", runtime.Protocol_SCTP: "sctp",
}

// podPorts converts the port mappings that ask for something. A host port of 0 says that none is
// wanted (api.proto, PortMapping). In the host's network a mapping has no meaning, though the kubelet
// sends it: the container listens on the host's port itself. Precondition: p.Namespaces is set.
func podPorts(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	for i, m := range cfg.PortMappings {
		at := field("port_mappings").at(i)
		if m.GetHostPort() == 0 {
			continue
		}
		mapping, err := portMapping(m, at)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(p.PortMappings, func(o spec.PortMapping) bool { return sameHostPort(o, mapping) }) {
			return at.sub("host_port").errorf("%d is mapped twice", mapping.HostPort)
		}
		if p.Namespaces.Network == spec.ModePod {
			p.PortMappings = append(p.PortMappings, mapping)
		}
	}
	return nil
}

// sameHostPort reports whether two mappings want the same of the host. No address means all of them, the
// unspecified one all of its family; a single address goes before either.
func sameHostPort(a, b spec.PortMapping) bool {
	if a.Protocol != b.Protocol || a.HostPort != b.HostPort {
		return false
	}
	x, y := hostAddress(a), hostAddress(b)
	return x == y || !x.IsValid() && y.IsUnspecified() || !y.IsValid() && x.IsUnspecified()
}

// hostAddress is the zero address where the mapping names none.
func hostAddress(m spec.PortMapping) netip.Addr {
	ip, _ := netip.ParseAddr(m.HostIP) // was checked
	return ip.Unmap()
}

func portMapping(m *runtime.PortMapping, at field) (spec.PortMapping, error) {
	none := spec.PortMapping{}
	protocol, ok := protocols[m.Protocol]
	if !ok {
		return none, at.sub("protocol").errorf("%d is not known", m.Protocol)
	}
	if m.ContainerPort < 1 || m.ContainerPort > 65535 {
		return none, at.sub("container_port").errorf("%d is not within 1-65535", m.ContainerPort)
	}
	if m.HostPort < 1 || m.HostPort > 65535 {
		return none, at.sub("host_port").errorf("%d is not within 0-65535", m.HostPort)
	}
	if m.HostIp != "" {
		if ip, err := netip.ParseAddr(m.HostIp); err != nil || ip.Zone() != "" {
			return none, at.sub("host_ip").errorf("%q is not an IP address", m.HostIp)
		}
	}
	return spec.PortMapping{Protocol: protocol, ContainerPort: m.ContainerPort, HostPort: m.HostPort, HostIP: m.HostIp}, nil
}
