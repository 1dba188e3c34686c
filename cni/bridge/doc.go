// Package bridge is tare-bridge, a network plugin for the Container Network Interface (CNI,
// specification 1.1): one Linux bridge per network, a veth pair per attachment, addresses
// from leases of its own, masquerade and host ports by one static nftables table. A Plugin is
// called in process by package cni; Main makes an ordinary plugin binary of the same code.
//
// The nouns: a Config is what stdin says; a bridge is the host's side of a network, made when
// the first attachment needs it; an attachment is {container id, interface name}; a lease is
// one address held by one attachment; a port is one element of an nftables map.
//
// What belongs to an attachment is named after it or holds its name, so DEL and GC find it
// without having to remember: the veth's name is a hash of it, the lease's content is it, and
// a port's target is the leased address. ADD makes lease, veth and ports in this order, DEL
// removes them backwards, and both may be cut short at any point.
//
// Concurrency: verbs of different attachments run in parallel, also in different processes.
// Verbs of one attachment must not (the CNI specification forbids it to the runtime). GC must
// not run beside an ADD it has not been told of.
//
// No thread changes its network namespace here, but for the moment in which a socket is
// opened inside the pod (see dialPod). Not here: choosing configurations, recording
// attachments, other plugins (package cni).
package bridge
