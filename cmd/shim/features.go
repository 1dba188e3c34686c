package main

import (
	"tare/cri"
	"tare/lifecycle"
	"tare/nsutil"
)

// handlers are the runtime handlers, the default one first, with what they can do on this host.
// Pods with a user namespace need idmapped layers where layers are: below root.
func handlers(root string) []cri.Handler {
	return []cri.Handler{{
		Name:              lifecycle.DefaultHandler,
		RecursiveReadonly: nsutil.ProbeRecursiveReadonly() == nil,
		UserNamespaces:    nsutil.ProbeOverlayIDMapped(root) == nil,
	}}
}

// features is what the runtime can do with any handler.
func features() cri.Features {
	return cri.Features{SupplementalGroupsPolicy: true}
}
