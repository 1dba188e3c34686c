package bridge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// Type is the plugin's name in a configuration's "type".
const Type = "tare-bridge"

// Where an ordinary plugin binary keeps its files; package cni sets its own.
const (
	defaultDataDir  = "/var/lib/cni/tare-bridge"
	defaultStateDir = "/run/tare-bridge"
	defaultBridge   = "tare0"
)

// Config is the network configuration on stdin.
type Config struct {
	types.PluginConf

	Bridge   string         `json:"bridge,omitempty"`   // the bridge's interface name; empty: tare0
	Subnets  []netip.Prefix `json:"subnets"`            // one address per family; same family: tried in order
	MTU      int            `json:"mtu,omitempty"`      // 0: that of the default route's interface
	DataDir  string         `json:"dataDir,omitempty"`  // leases, in a directory per network; durable
	StateDir string         `json:"stateDir,omitempty"` // changed sysctls; of this boot only

	// NoMasquerade leaves the pods' source addresses alone: the subnets are routable.
	NoMasquerade bool `json:"noMasquerade,omitempty"`

	Runtime RuntimeConfig `json:"runtimeConfig,omitempty"`
}

// RuntimeConfig are the capability arguments, CNI CONVENTIONS.md.
type RuntimeConfig struct {
	PortMappings []PortMapping `json:"portMappings,omitempty"`
	IPRanges     [][]IPRange   `json:"ipRanges,omitempty"`
}

// PortMapping is one element of the portMappings capability.
type PortMapping struct {
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"` // tcp, udp or sctp in any case; empty: tcp
	HostIP        string `json:"hostIP,omitempty"`
}

// IPRange is one element of the ipRanges capability, of which the subnet is honoured.
type IPRange struct {
	Subnet netip.Prefix `json:"subnet"`
}

// parseConfig reads and checks stdin. Errors are of class InvalidArgument.
func parseConfig(stdin []byte) (*Config, error) {
	c := &Config{}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, fmt.Errorf("parse %s configuration: %w: %w", Type, err, errdefs.ErrInvalidArgument)
	}
	if err := version.ParsePrevResult(&c.PluginConf); err != nil {
		return nil, fmt.Errorf("parse prevResult: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%s configuration %q: %w: %w", Type, c.Name, err, errdefs.ErrInvalidArgument)
	}
	return c, nil
}

func (c *Config) setDefaults() {
	if c.Bridge == "" {
		c.Bridge = defaultBridge
	}
	if c.DataDir == "" {
		c.DataDir = defaultDataDir
	}
	if c.StateDir == "" {
		c.StateDir = defaultStateDir
	}
	for i := range c.Runtime.PortMappings {
		m := &c.Runtime.PortMappings[i]
		if m.Protocol = strings.ToLower(m.Protocol); m.Protocol == "" {
			m.Protocol = "tcp"
		}
	}
	if len(c.Runtime.IPRanges) == 0 {
		return
	}
	c.Subnets = nil
	for _, set := range c.Runtime.IPRanges {
		for _, r := range set {
			c.Subnets = append(c.Subnets, r.Subnet)
		}
	}
}

func (c *Config) validate() error {
	// The errors of package utils are *types.Error, whose nil must not become an error.
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return fmt.Errorf("name: %s", err.Msg)
	}
	// A '.' would be a path separator to sysctl; ValidateInterfaceName knows of '/' and ':'.
	if err := utils.ValidateInterfaceName(c.Bridge); err != nil || strings.Contains(c.Bridge, ".") {
		return fmt.Errorf("bridge %q is no usable interface name", c.Bridge)
	}
	if !filepath.IsAbs(c.DataDir) || !filepath.IsAbs(c.StateDir) {
		return fmt.Errorf("dataDir and stateDir must be absolute paths")
	}
	if len(c.Subnets) == 0 {
		return fmt.Errorf("subnets: at least one is needed")
	}
	for i, s := range c.Subnets {
		if err := CheckSubnet(s); err != nil {
			return fmt.Errorf("subnets: %w", err)
		}
		for _, t := range c.Subnets[:i] {
			if s.Overlaps(t) {
				return fmt.Errorf("subnets: %s overlaps %s", s, t)
			}
		}
	}
	return nil
}

// validatePorts is for the verbs that read the mappings. DEL does not: it must succeed also
// where ADD could not. Errors are of class InvalidArgument.
func (c *Config) validatePorts() error {
	for _, m := range c.Runtime.PortMappings {
		if _, ok := protocols[m.Protocol]; !ok {
			return fmt.Errorf("portMappings: unknown protocol %q: %w", m.Protocol, errdefs.ErrInvalidArgument)
		}
		if m.HostIP == "" {
			continue
		}
		if _, err := netip.ParseAddr(m.HostIP); err != nil {
			return fmt.Errorf("portMappings: hostIP %q is no address: %w", m.HostIP, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// leaseDir is where the leases of this network live.
func (c *Config) leaseDir() string { return filepath.Join(c.DataDir, c.Name) }
