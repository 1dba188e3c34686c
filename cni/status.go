package cni

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// statusTTL is how long a verdict holds; kubelet asks every 5 s.
	statusTTL = 20 * time.Second
	// badStatusTTL is shorter, as somebody is waiting for it to change.
	badStatusTTL = 4 * time.Second
	// notReady is the reason every runtime gives for the CRI condition NetworkReady.
	notReady = "NetworkPluginNotReady"
)

// statusCache is the last verdict of the plugins' STATUS verb.
type statusCache struct {
	wg sync.WaitGroup // refreshes

	mu         sync.Mutex
	config     string // bytes of the configuration it was asked for
	err        error
	until      time.Time
	refreshing bool
}

// Status says whether an Add could work: the configuration is usable, its plugins are
// installed, and their STATUS verb has no objection. The verdict is some seconds old at most
// times; only the first for a configuration waits for plugins.
func (n *Network) Status() (ok bool, reason, message string) {
	list, err := n.conf.current()
	if err == nil {
		err = n.pluginStatus(string(list.Bytes))
	}
	if err != nil {
		return false, notReady, err.Error()
	}
	return true, "", ""
}

// pluginStatus returns the verdict on a configuration, and has a stale one renewed behind.
func (n *Network) pluginStatus(config string) error {
	s := &n.status
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != config {
		s.config, s.err = config, n.askStatus(config)
		s.expire()
		return s.err
	}
	if time.Now().After(s.until) && !s.refreshing {
		s.refreshing = true
		s.wg.Go(func() { // ends with the plugins' answer, bounded by their timeout
			err := n.askStatus(config)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refreshing = false
			if s.config == config {
				s.err = err
				s.expire()
			}
		})
	}
	return s.err
}

// expire sets the verdict's end. Preconditions: mu is held.
func (s *statusCache) expire() {
	ttl := statusTTL
	if s.err != nil {
		ttl = badStatusTTL
	}
	s.until = time.Now().Add(ttl)
}

func (s *statusCache) wait() { s.wg.Wait() }

// askStatus looks for every plugin, then runs STATUS where the configuration's version has it.
func (n *Network) askStatus(config string) error {
	list, err := parseConfig([]byte(config))
	if err != nil {
		return err
	}
	for _, p := range list.Plugins {
		if _, err := n.runner.FindInPath(p.Network.Type, n.opts.BinDirs); err != nil {
			return fmt.Errorf("network %s: plugin %s: %w", list.Name, p.Network.Type, err)
		}
	}
	// Status has no context, as its verdict outlives the call that asked for it.
	ctx, cancel := context.WithTimeout(context.Background(), n.opts.Timeout)
	defer cancel()
	if err := n.libcni.GetStatusNetworkList(ctx, list); err != nil {
		return fmt.Errorf("network %s: %w", list.Name, err)
	}
	return nil
}
