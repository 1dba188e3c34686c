// Package cgroup is the only door to cgroup directories: it makes a container's control
// group, sets its limits and device rules, hands out what a forked child needs to enter it,
// kills what lives in it, tells whether it ran out of memory, and removes it.
//
// The nouns: a Tree is this host's cgroup file systems under one Driver; a Path says where a
// container's cgroup is; a Group is one cgroup that
// exists; a Meter reads what one uses. On cgroup v1 a Group is one directory in each hierarchy (a mount with its
// controllers), on v2 one directory.
//
// Layout. The kubelet makes the pod's cgroup and with the cgroupfs driver a container lives in
// <cgroup_parent>/<id> below it. A parent that does not exist is made, marked as ours by an extended attribute, and
// removed again with the last container in it; directories without the mark are never removed.
//
// With the systemd driver the tree above the containers is systemd's, and each pod has one unit of ours in the
// slice the kubelet made, in whose directory, delegated to us (systemd.io/CGROUP_DELEGATION), the containers'
// are made as with cgroupfs: <cgroup_parent>/tare-<pod>.service/<id>. The unit is a service without a process,
// kept active by RemainAfterExit=, and not, as other runtimes have it, a scope for each container. Why:
//   - systemd removes a scope with all below it when its last process has gone, and the count of OOM kills with
//     it: reading it from a leaf below the scope right after the exit came too late 20 times of 20, with systemd
//     252 and with 257. This service's directory stays until the unit is stopped, through emptiness, daemon-reload
//     and daemon-reexec: the verdict is read when it suits (TestOOMVerdict, TestUnitStays).
//   - A scope needs a process to begin with, before there is a container, and one to stay. A slice needs none, but
//     cannot be delegated: systemd would take the controllers back that a container hands to its own cgroups.
//   - Limits are plain files of directories that systemd never writes to: nothing is reset by a reload, and
//     changing them all-or-none needs no second party. The unit has none of its own and is alone in the pod's
//     slice, so weights compare containers, and memory.min and memory.low of the slice reach them, as systemd
//     mounts cgroup2 with memory_recursiveprot (Documentation/admin-guide/cgroup-v2.rst).
//   - systemd is asked twice in a pod's life and not at all when a container starts or ends.
//
// The container's own directory is named as with cgroupfs, by its id, which is what tools look for last in
// /proc/PID/cgroup. Slices that nobody has made are made with the unit and go with it.
//
// An exec's processes are in the container's own cgroup. On v2 nothing is enabled in that one's
// cgroup.subtree_control, which is why a container may make cgroups of its own below it and its
// processes stay beside them ("no internal process constraint",
// Documentation/admin-guide/cgroup-v2.rst, binds only cgroups that hand out controllers).
//
// Entering. On v1 the child writes "0" into the files Join names, which are "tasks", not
// "cgroup.procs": moving a whole process takes cgroup_threadgroup_rwsem for writing, that is an RCU
// grace period, measured at 5.6 ms on a machine that was idle, while a thread that moves itself takes no
// such lock (kernel commit 9a3284fad42f, "cgroup: Optimize single thread migration"): 0.06 ms. On v2
// there is no such file and the child has to be born in the cgroup: CLONE_INTO_CGROUP
// (clone(2)) with the directory Dir opens; it costs nothing measurable.
//
// In hybrid mode (v1 controllers and an empty v2 hierarchy beside them) and on v1, the
// hierarchies without controllers belong to systemd and are joined only where it is pid 1. The systemd
// driver is refused there: kubelets are about to refuse v1 altogether.
//
// Not here: what a container's limits should be, namespaces.
//
// Concurrency: a Tree may be used by any number of goroutines; calls on one Path or Group must not
// overlap, except Kill, Procs and OOM. A Meter is for any number of goroutines.
package cgroup
