// Package stream serves exec, attach and port-forward sessions over HTTP, upgraded to SPDY or
// WebSocket, as the CRI demands: a gRPC call hands out an address with a token, good for one session within a
// minute; the client, or the kubelet for it, then connects there. The protocols are
// k8s.io/cri-streaming's; what a session does is the runtime's (package lifecycle).
//
// WebSocket has no half-close in the versions the library serves (up to v4.channel.k8s.io): the end of
// a client's input is the end of its connection there.
//
// Concurrency: each session has goroutines of its own, which end with its client's
// connection or with Close. Close waits for the sessions.
package stream
