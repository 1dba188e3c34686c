package cri

import (
	"net/netip"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// podDNS converts what becomes lines of resolv.conf(5).
func podDNS(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	dns, at := cfg.DnsConfig, field("dns_config")
	if dns == nil {
		return nil
	}
	for i, server := range dns.Servers {
		if _, err := netip.ParseAddr(server); err != nil {
			return at.sub("servers").at(i).errorf("%q is not an IP address", server)
		}
		if err := at.sub("servers").at(i).word(server); err != nil { // a zone may be anything
			return err
		}
	}
	for i, search := range dns.Searches {
		if err := at.sub("searches").at(i).word(search); err != nil {
			return err
		}
	}
	for i, option := range dns.Options {
		if err := at.sub("options").at(i).word(option); err != nil {
			return err
		}
	}
	p.DNS = spec.DNS{Servers: dns.Servers, Searches: dns.Searches, Options: dns.Options}
	return nil
}
