package pod

import "tare/test/registry"

// ownImages are images that only this suite needs.
func ownImages() ([]registry.Entry, error) { return nil, nil }
