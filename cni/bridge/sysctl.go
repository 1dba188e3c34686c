package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const sysctlRoot = "/proc/sys"

// writeLinkSysctls sets what the bridge alone needs; it ends with the bridge.
// route_localnet lets a host port be reached by 127.0.0.1: the packet leaves by the bridge
// with a loopback source until masquerade (Documentation/networking/ip-sysctl.rst). The table's guard
// chain keeps pods from using it the other way (CVE-2020-8558).
func writeLinkSysctls(c *Config) error {
	settings := [][2]string{{"net/ipv4/conf/" + c.Bridge + "/route_localnet", "1"}}
	if hasIPv6(c) {
		settings = append(settings,
			[2]string{"net/ipv6/conf/" + c.Bridge + "/accept_ra", "0"},
			[2]string{"net/ipv6/conf/" + c.Bridge + "/accept_dad", "0"})
	}
	for _, s := range settings {
		if err := writeSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

func hasIPv6(c *Config) bool {
	for _, s := range c.Subnets {
		if s.Addr().Is6() {
			return true
		}
	}
	return false
}

// journal is what was changed on the host beyond our own bridge, sysctl → value before. It is
// written before each change, and read when everything is taken back.
type journal struct {
	path string
}

func journalOf(c *Config) journal {
	return journal{filepath.Join(c.StateDir, c.Bridge+".sysctls.json")}
}

// enableForwarding makes the host a router for the pods. It has to be the global switch: the
// check is on the interface a packet comes in by (ip_route_input_slow; ip6_forward), and answers
// to pods may come in by any.
func enableForwarding(c *Config) error {
	j := journalOf(c)
	if err := j.set("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if !hasIPv6(c) {
		return nil
	}
	if err := keepRouterAdvertisements(j); err != nil {
		return err
	}
	return j.set("net/ipv6/conf/all/forwarding", "1")
}

// keepRouterAdvertisements spares the host the loss of its own default route: a forwarding
// interface ignores router advertisements unless accept_ra is 2 (ip-sysctl.rst).
func keepRouterAdvertisements(j journal) error {
	if v, err := readSysctl("net/ipv6/conf/all/forwarding"); err != nil || v == "1" {
		return err
	}
	conf, err := os.ReadDir(filepath.Join(sysctlRoot, "net/ipv6/conf"))
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, dir := range conf {
		name := "net/ipv6/conf/" + dir.Name() + "/accept_ra"
		if v, err := readSysctl(name); err != nil || v != "1" {
			continue // gone, or set by somebody who thought about it
		}
		if err := j.set(name, "2"); err != nil {
			return err
		}
	}
	return nil
}

// set writes value unless it is there already.
func (j journal) set(name, value string) error {
	old, err := readSysctl(name)
	if err != nil || old == value {
		return err
	}
	changes, err := j.read()
	if err != nil {
		return err
	}
	if _, ok := changes[name]; !ok {
		changes[name] = old
		if err := j.write(changes); err != nil {
			return err
		}
	}
	return writeSysctl(name, value)
}

// restore takes every change back; an interface that is gone needs nothing.
func (j journal) restore() error {
	changes, err := j.read()
	if err != nil {
		return err
	}
	var errs []error
	for name, old := range changes {
		if err := writeSysctl(name, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errors.Join(errs...), j.remove())
}

func (j journal) remove() error {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove sysctl journal: %w", err)
	}
	return nil
}

func (j journal) read() (map[string]string, error) {
	changes := make(map[string]string)
	data, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return changes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read sysctl journal: %w", err)
	}
	if err := json.Unmarshal(data, &changes); err != nil {
		return nil, fmt.Errorf("read sysctl journal %s: %w", j.path, err)
	}
	return changes, nil
}

func (j journal) write(changes map[string]string) error {
	data, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return fmt.Errorf("write sysctl journal: %w", err)
	}
	tmp := j.path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write sysctl journal: %w", err)
	}
	if err := os.Rename(tmp, j.path); err != nil {
		return fmt.Errorf("write sysctl journal: %w", err)
	}
	return nil
}

// readSysctl and writeSysctl act on the namespace of the calling thread, which is the host's
// on every thread but the one inside dialPod.
func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	if err != nil {
		return "", fmt.Errorf("sysctl: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl: set %s: %w", value, err)
	}
	return nil
}
