// Package cri is the Container Runtime Interface (CRI, k8s.io/cri-api runtime/v1) served by
// Tare: it turns the wire's messages into the types of package spec and back, error classes
// into gRPC codes, and filters lists. One verb per file.
//
// The only package, with stream, that knows wire types, and the only one that knows gRPC codes.
// It decides nothing: mutations are the lifecycle's and the image store's, reached through
// small interfaces (see Deps); reads are answered from the store's immutable records and wait
// for nobody. Every field of a request is either converted, or ignored with the reason written
// where that is done, or refused as InvalidArgument with the field's name.
//
// Safe for concurrent use. No goroutines.
package cri
