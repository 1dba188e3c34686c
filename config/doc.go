// Package config reads the daemon's configuration file, TOML, into a struct whose zero settings
// are replaced by defaults. Every setting has one: a node without a file works.
//
// It is a leaf: it imports nothing of this module, and only the daemon's main package imports it,
// which hands each part the few settings it needs.
package config
