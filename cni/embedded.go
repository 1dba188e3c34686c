package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"tare/cni/bridge"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
)

const (
	embeddedVersion = "1.1.0"
	embeddedName    = "tare"
	defaultSubnet4  = "10.88.0.0/16"
	defaultSubnet6  = "fd54:6172:6500::/64" // a ULA; its global id is the project's name
	podCIDRFile     = "pod-cidrs.json"
)

// openConfigs prepares the choice of configuration, with the pod CIDRs of an earlier run.
func openConfigs(o Options, log *slog.Logger) (*configs, error) {
	cidrs := o.Subnets
	if len(cidrs) == 0 {
		cidrs = defaultSubnets()
	}
	saved, err := readPodCIDRs(o.DataDir)
	if err != nil {
		return nil, err
	}
	if len(saved) > 0 {
		cidrs = saved
	}
	list, err := embedded(o, cidrs)
	if err != nil {
		return nil, err
	}
	return &configs{dir: o.ConfDir, await: o.Await, log: log, embedded: list}, nil
}

// defaultSubnets: IPv6 only where the host uses it beyond its links.
func defaultSubnets() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{defaultSubnet4}
	}
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if ok && ip.IP.To4() == nil && ip.IP.IsGlobalUnicast() {
			return []string{defaultSubnet4, defaultSubnet6}
		}
	}
	return []string{defaultSubnet4}
}

// embedded builds the default network's configuration. ErrInvalidArgument: a bad CIDR.
func embedded(o Options, cidrs []string) (*libcni.NetworkConfigList, error) {
	subnets, err := parseCIDRs(cidrs)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(map[string]any{
		"cniVersion": embeddedVersion,
		"name":       embeddedName,
		"plugins": []map[string]any{{
			"type":         bridge.Type,
			"bridge":       o.Bridge,
			"subnets":      subnets,
			"dataDir":      filepath.Join(o.DataDir, "leases"),
			"stateDir":     o.BootDir,
			"capabilities": map[string]bool{"portMappings": true},
		}},
	})
	if err != nil {
		return nil, err
	}
	return parseConfig(data)
}

// parseCIDRs checks what the embedded network is to use: at most one subnet per family.
func parseCIDRs(cidrs []string) ([]netip.Prefix, error) {
	var subnets []netip.Prefix
	for _, s := range cidrs {
		p, err := netip.ParsePrefix(s)
		if err == nil {
			err = bridge.CheckSubnet(p)
		}
		if err == nil && slices.ContainsFunc(subnets, func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() }) {
			err = fmt.Errorf("second subnet of its address family")
		}
		if err != nil {
			return nil, fmt.Errorf("pod CIDR %q: %w: %w", s, err, errdefs.ErrInvalidArgument)
		}
		subnets = append(subnets, p)
	}
	return subnets, nil
}

// SetPodCIDR gives the embedded network these subnets, one per family, for pods to come; it
// holds over a restart. Plugins that declare the ipRanges capability get them too. None at
// all changes nothing, as kubelet has none to tell at first. ErrInvalidArgument names the
// CIDR that is wrong.
func (n *Network) SetPodCIDR(cidrs []string) error {
	if len(cidrs) == 0 {
		return nil
	}
	list, err := embedded(n.opts, cidrs)
	if err != nil {
		return err
	}
	saved, err := readPodCIDRs(n.opts.DataDir)
	if err != nil {
		return err
	}
	if slices.Equal(saved, cidrs) {
		return nil
	}
	if err := writePodCIDRs(n.opts.DataDir, cidrs); err != nil {
		return err
	}
	n.conf.replaceEmbedded(list)
	return nil
}

func readPodCIDRs(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, podCIDRFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pod CIDRs: %w", err)
	}
	var cidrs []string
	if err := json.Unmarshal(data, &cidrs); err != nil {
		return nil, fmt.Errorf("read pod CIDRs of %s: %w", filepath.Join(dir, podCIDRFile), err)
	}
	return cidrs, nil
}

// writePodCIDRs is synced: kubelet says it once, and a node back from a power cut should not
// begin with other addresses.
func writePodCIDRs(dir string, cidrs []string) error {
	data, err := json.Marshal(cidrs)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, podCIDRFile+".*")
	if err != nil {
		return fmt.Errorf("write pod CIDRs: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, podCIDRFile))
	}
	if err != nil {
		return fmt.Errorf("write pod CIDRs: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
