// Package lifecycle is the orchestrator: it takes a validated request for a pod or a container
// through intent, plan, execution and record, one noun after the other, and undoes what was begun
// when a step fails. It is the only package that knows in which order sandboxes, networks, images,
// cgroups, the keeper and the records work together.
//
// Concurrency. Operations on one pod, its containers' included, run one at a time: each holds the
// pod's lock (spec.PodLocks). Three things go beside it: reads, which take immutable records from the
// store; execs; and the two that answer a process's end, stopping a container and recording an
// exit. Calls of one operation on one object join the one that runs (flight.go), and a caller's
// deadline bounds its waiting only: what was begun is finished, and the next call finds it.
package lifecycle
