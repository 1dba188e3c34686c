package main

import (
	"tare/cri"
	"tare/lifecycle"
	"tare/nsutil"
)

// handlers are the runtime handlers, the default one first, with what they can do on this host.
// Pods with a user namespace need idmapped layers where layers are: below root.
func handlers(root string) []cri.Handler {
	rro, userns := nsutil.ProbeRecursiveReadonly() == nil, nsutil.ProbeOverlayIDMapped(root) == nil
	return []cri.Handler{
		{Name: lifecycle.DefaultHandler, RecursiveReadonly: rro, UserNamespaces: userns},
		{
			Name: lifecycle.IsolatedHandler, Isolated: true,
			RecursiveReadonly: rro, UserNamespaces: userns && nsutil.ProbeNestedUserNS() == nil,
		},
	}
}

// features is what the runtime can do with any handler. Groups take nothing of the kernel that it
// could lack.
func features() cri.Features {
	return cri.Features{
		SupplementalGroupsPolicy:  true,
		UserNamespacesHostNetwork: nsutil.ProbeUserNSHostNetwork() == nil,
		MountOptions:              nsutil.ProbeMountOptions() == nil,
	}
}
