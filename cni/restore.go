package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"tare/cni/bridge"
	"tare/spec"

	"github.com/containernetworking/cni/libcni"
)

// recordOf reads the record of an attachment, nil: there is none. Where somebody has deleted them all, they are
// restored first.
func (n *Network) recordOf(id spec.PodID) (*record, error) {
	rec, err := n.records.read(id)
	if err != nil || rec != nil || exists(n.records.dir) {
		return rec, err
	}
	if err := n.restore(); err != nil {
		return nil, err
	}
	return n.records.read(id)
}

// restoreIfLost restores after a start what was deleted while no daemon ran. Each attachment of this boot has a
// result beside its record.
func (n *Network) restoreIfLost(onRecord int) error {
	results, err := os.ReadDir(filepath.Join(n.opts.BootDir, "results"))
	if err != nil || len(results) == 0 {
		return nil // no attachments yet
	}
	if onRecord >= len(results) && exists(filepath.Join(n.opts.DataDir, "leases", embeddedName)) {
		return nil
	}
	return n.restore()
}

// restore makes records and leases again of the attachments whose results the boot's directory has, where they
// are missing: else their DEL would never run, the GC verb would cut running pods off, and their addresses would
// be given to others.
func (n *Network) restore() error {
	if err := os.MkdirAll(n.records.dir, 0o700); err != nil {
		return fmt.Errorf("restore attachments: %w", err)
	}
	known, err := n.libcni.GetCachedAttachments("")
	if err != nil {
		return fmt.Errorf("restore attachments: %w", err)
	}
	var errs []error
	for _, a := range known {
		if a.IfName == interfaceName {
			errs = append(errs, n.restoreOne(a))
		}
	}
	return errors.Join(errs...)
}

func (n *Network) restoreOne(a *libcni.NetworkAttachment) error {
	rec := &record{Pod: spec.PodID(a.ContainerID), NetNS: a.NetNS, Config: a.Config, Args: a.CniArgs, Capabilities: a.CapabilityArgs}
	if !exists(n.records.path(rec.Pod)) {
		n.log.Warn("record of a network attachment was deleted, restored", "pod", rec.Pod)
		if err := n.records.write(rec); err != nil {
			return err
		}
	}
	list, err := parseConfig(rec.Config)
	if err != nil || list.Plugins[0].Network.Type != bridge.Type {
		return err
	}
	cached, err := n.libcni.GetNetworkListCachedResult(list, rec.runtimeConf())
	if err != nil || cached == nil {
		return err
	}
	result, err := readResult(cached, list.Name)
	if err != nil {
		return err
	}
	return n.restoreLeases(list, rec.Pod, result.IPs)
}

func (n *Network) restoreLeases(list *libcni.NetworkConfigList, id spec.PodID, addrs []netip.Addr) error {
	conf, err := libcni.InjectConf(list.Plugins[0], map[string]any{"name": list.Name, "cniVersion": list.CNIVersion})
	if err != nil {
		return err
	}
	return n.plugin.Restore(conf.Bytes, string(id), interfaceName, addrs)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
