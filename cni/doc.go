// Package cni is the node's side of the Container Network Interface (CNI): it gives pods their
// network by running CNI plugins, and takes it away again.
//
// The nouns: a configuration is a list of plugins, from the configuration directory or the
// embedded default; a plugin is a program, or package cni/bridge called in process; an
// attachment is one pod's connection, made by ADD and ended by DEL; its record is a file that
// is written before ADD, holds all that DEL needs, and goes after DEL has succeeded. What ADD
// answered is kept beside it by libcni.
//
// Whatever happens to an ADD (it fails, hangs, the daemon dies), its record leads to a DEL:
// at once, by Del, by the retries behind it, or by GC at the next start.
//
// Concurrency: calls for different pods run in parallel. Calls for one pod take turns; the
// caller orders them. GC leaves attachments alone that came up since its caller looked.
// Not here: network namespaces (made and pinned by package sandbox) and what a pod's
// resolv.conf says.
package cni
