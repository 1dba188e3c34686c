// Package cri runs critest, the CRI conformance suite of cri-tools, against a
// daemon it starts itself, and judges the outcome by allow.txt: one spec at a time,
// several at once, and the benchmarks.
//
// Unless the runtime is another, all of it happens in an enclosure (test/enclose): in
// PID, mount and network namespaces with nobody else's ports and links.
//
// The module is separate from the runtime's so that the suite keeps the versions
// of Kubernetes' packages it was released with. It therefore runs programs of the
// main module (bin/registry, bin/leak, bin/enclose) instead of importing its packages.
//
//	go test -v .                                  against bin/tare
//	go test -v -run Parallel -count 10 -timeout 0 .
//	go test -v . -args -endpoint unix:///x.sock   against any other runtime
//	go test -v . -args -focus 'Image Manager'     some specs only
package cri
