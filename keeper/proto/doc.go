// Package proto is the language that the daemon and the keeper speak: messages, their encoding,
// and a connection that carries them with file descriptors.
//
// A connection is a Unix SOCK_SEQPACKET socket (unix(7)): borders of messages are kept, and
// descriptors arrive with the message they belong to. Every message is a Packet: a kind, the id
// of the request it makes or answers, a body in the encoding of codec.go, and files. A body that
// does not fit a datagram travels in a sealed memfd, passed as the first file, which neither Packet
// nor its user sees. Requests are answered in any order, many may be in flight; Exited is pushed
// with id 0, or, for a tethered process, with that of its Run.
//
// The first packet of the client is Hello with the versions it speaks, the keeper answers Welcome with
// the one it chose. Both ends refuse garbage with an error and close: nothing in here
// panics on what the peer sends.
//
// Concurrency: one goroutine receives from a Conn, any may send.
package proto
