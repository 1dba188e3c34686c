package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// configs chooses the configuration in force: the lexically first valid one of the
// configuration directory, or the embedded default if there is none and it need not be awaited. Files that are all
// invalid are an error, not a reason for the default: somebody wanted another network.
//
// The directory is looked at whenever the choice is needed: listing it costs some 20 µs, and,
// unlike a watch, it needs no inotify instance and cannot miss a directory that comes later.
type configs struct {
	dir   string
	await bool
	log   *slog.Logger

	mu       sync.Mutex
	embedded *libcni.NetworkConfigList
	stamp    string // of the directory as last read
	chosen   *libcni.NetworkConfigList
	err      error // of the choice; class FailedPrecondition
}

// current returns the configuration in force. It is shared: do not change it.
func (c *configs) current() (*libcni.NetworkConfigList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := dirStamp(c.dir)
	if err != nil {
		return nil, fmt.Errorf("read CNI configuration directory: %w", err)
	}
	if c.chosen == nil && c.err == nil || stamp != c.stamp {
		c.stamp = stamp
		c.choose()
	}
	return c.chosen, c.err
}

// choose reads the directory. Preconditions: mu is held.
func (c *configs) choose() {
	before := c.chosen
	c.chosen, c.err = c.readDir()
	if c.chosen == nil && c.err == nil && !c.await {
		c.chosen = c.embedded
	}
	if c.chosen == nil && c.err == nil {
		c.err = fmt.Errorf("no CNI configuration in %s yet, and the embedded network is switched off: %w", c.dir, errdefs.ErrFailedPrecondition)
	}
	switch {
	case c.err != nil:
		c.log.Error("no usable CNI configuration", "err", c.err)
	case before == nil || string(before.Bytes) != string(c.chosen.Bytes):
		c.log.Info("CNI configuration in force", "network", c.chosen.Name, "embedded", c.chosen == c.embedded)
	}
}

// replaceEmbedded changes the default for attachments to come.
func (c *configs) replaceEmbedded(list *libcni.NetworkConfigList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chosen == c.embedded {
		c.chosen = list
	}
	c.embedded = list
}

func (c *configs) embeddedList() *libcni.NetworkConfigList {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.embedded
}

// readDir returns the first valid configuration, nil if there is no file at all.
func (c *configs) readDir() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(c.dir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, fmt.Errorf("read CNI configuration directory: %w", err)
	}
	slices.Sort(files)
	var errs []error
	for _, f := range files {
		list, err := loadConfig(f)
		if err == nil {
			for _, e := range errs {
				c.log.Warn("CNI configuration skipped", "err", e)
			}
			return list, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", f, err))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%w: %w", errors.Join(errs...), errdefs.ErrFailedPrecondition)
	}
	return nil, nil
}

// loadConfig reads one file, a list or a single plugin, into a list that says all in Bytes.
func loadConfig(file string) (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var probe struct {
		Plugins []json.RawMessage `json:"plugins"`
		Type    string            `json:"type"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return nil, err
	}
	if filepath.Ext(file) != ".conflist" && probe.Type != "" && probe.Plugins == nil {
		if data, err = listOf(data); err != nil {
			return nil, err
		}
		return parseConfig(data)
	}
	list, err := libcni.NetworkConfFromFile(file)
	if err != nil {
		return nil, err
	}
	if len(list.Plugins) == len(probe.Plugins) {
		return list, validateConfig(list)
	}
	// Some plugins are in files of their own, in a directory beside this one.
	if data, err = inlined(data, list); err != nil {
		return nil, err
	}
	return parseConfig(data)
}

// inlined is the list's JSON with all its plugins in it.
func inlined(data []byte, list *libcni.NetworkConfigList) ([]byte, error) {
	whole := make(map[string]any)
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	plugins := make([]json.RawMessage, len(list.Plugins))
	for i, p := range list.Plugins {
		plugins[i] = p.Bytes
	}
	whole["plugins"] = plugins
	return json.Marshal(whole)
}

// listOf wraps a single plugin's configuration into a list.
func listOf(plugin []byte) ([]byte, error) {
	var head struct {
		Name       string `json:"name"`
		CNIVersion string `json:"cniVersion,omitempty"`
	}
	if err := json.Unmarshal(plugin, &head); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"name": head.Name, "cniVersion": head.CNIVersion, "plugins": []json.RawMessage{plugin},
	})
}

// parseConfig reads a list whose plugins are all inline.
func parseConfig(data []byte) (*libcni.NetworkConfigList, error) {
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	return list, validateConfig(list)
}

// validateConfig finds what would make every ADD fail.
func validateConfig(list *libcni.NetworkConfigList) error {
	if err := utils.ValidateNetworkName(list.Name); err != nil {
		return fmt.Errorf("name %q: %s", list.Name, err.Msg)
	}
	if len(list.Plugins) == 0 {
		return fmt.Errorf("no plugins")
	}
	if !slices.Contains(version.All.SupportedVersions(), list.CNIVersion) {
		return fmt.Errorf("cniVersion %q is not one of %v", list.CNIVersion, version.All.SupportedVersions())
	}
	return nil
}

// dirStamp changes whenever a file in the directory, or in a directory right below it, comes,
// goes, or is written. A directory that is not there has a stamp too.
func dirStamp(dir string) (string, error) {
	var b strings.Builder
	dir = strings.TrimRight(dir, "/") + "/" // which may be a link: lstat(2) follows it then
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the directory itself, or a file that has just gone
		}
		if err != nil {
			return err
		}
		info, err := os.Stat(path) // a ConfigMap's files are links
		if err != nil {
			return nil
		}
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		if d.IsDir() && strings.Count(strings.TrimPrefix(path, dir), "/") >= 1 {
			return fs.SkipDir
		}
		return nil
	})
	return b.String(), err
}
