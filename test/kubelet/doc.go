// Package kubelet runs a kubelet, standalone, with the runtime behind it, and asserts through the
// kubelet's API what pods then are.
//
// The module is separate from the runtime's so that the kubelet keeps the versions it was
// released with. It therefore runs programs of the main module (bin/registry, bin/leak,
// bin/enclose) instead of importing its packages. The kubelet is built from the module
// k8s.io/kubernetes, whose own replacements by directories mean nothing outside it: hence those
// in go.mod.
//
// All happens in an enclosure (test/enclose), below one cgroup of its own. Kernel settings that a
// kubelet makes are files there (machine_test.go).
//
//	make test-kubelet                     with bin/tare; the first build takes minutes
//	go test -v . -args -keep              leaves the logs
//	go test -v -run Probes .              some tests only
//	go test -v . -args -driver systemd    on a host of cgroup v2 and systemd
//
// Some of what kubelets do they do for pods of a cluster only: projected volumes (pkg/volume/projected,
// collectData), evictions (IsCriticalPod), recursive read-only mounts (kubelet_pods.go,
// runtimeClassSupportsRecursiveReadOnlyMounts), ephemeral containers (ValidatePodCreate). For these the
// kubelet has a cluster for a while (cluster_test.go), of an API server that keeps what it is told in
// memory (apiserver_test.go).
//
// The nouns: the node is kubelet and daemon, one for all tests; a pod is a static one, a file in
// a directory the kubelet watches, unless it is a cluster's.
package kubelet
