package nsutil

import "golang.org/x/sys/unix"

// LSM is a security module that labels processes, by its number in linux/lsm.h.
type LSM uint64

// The modules.
const (
	SELinux  LSM = 101 // LSM_ID_SELINUX
	AppArmor LSM = 104 // LSM_ID_APPARMOR
)

// lsmAttr is one of a process's labels, by its number in linux/lsm.h.
type lsmAttr uint64

const (
	attrExec      lsmAttr = 101 // LSM_ATTR_EXEC
	attrKeyCreate lsmAttr = 103 // LSM_ATTR_KEYCREATE
)

var (
	lsmNames     = map[LSM]string{SELinux: "selinux", AppArmor: "apparmor"}
	lsmAttrNames = map[lsmAttr]string{attrExec: "exec", attrKeyCreate: "keycreate"}
)

// OpSetLabel is the name of the operation that sets a label.
const OpSetLabel = "lsm_set_self_attr"

// ExecLabel has the program that is executed at the end run under a label: an AppArmor profile's
// name or an SELinux context. It is about the calling process, and its children have it from there
// (aa_dup_task_ctx, security/apparmor/include/task.h; SELinux's is among the credentials). It comes
// before SetIDs, NoNewPrivs and Seccomp, each of which may take the right to it.
func (b *Builder) ExecLabel(m LSM, label string) {
	value := label
	if m == AppArmor { // it takes commands, do_setattr in security/apparmor/lsm.c
		value = "exec " + label
	}
	b.setLabel(m, attrExec, label, value)
}

// KeyLabel gives keyrings that are made from here on a label, until execve.
func (b *Builder) KeyLabel(m LSM, label string) { b.setLabel(m, attrKeyCreate, label, label) }

// setLabel is what writing into /proc/thread-self/attr/MODULE/ATTR is, by a system call
// (Linux 6.8, Documentation/userspace-api/lsm.rst): there is no path that a mount in the container
// could have replaced (CVE-2019-16884, CVE-2025-52881), and it works where no /proc is.
func (b *Builder) setLabel(m LSM, attr lsmAttr, label, value string) {
	// struct lsm_ctx: id, flags, len, ctx_len, ctx[ctx_len].
	const head = 4 * 8
	size := uint64(head + len(value))
	ctx := b.reserve(int(size), 8)
	for i, v := range []uint64{uint64(m), 0, size, uint64(len(value))} {
		b.putU64(ctx+uint32(8*i), v)
	}
	copy(b.p.blob[ctx+head:], value)
	b.add(OpSetLabel, lsmNames[m]+" "+lsmAttrNames[attr]+" "+label, unix.SYS_LSM_SET_SELF_ATTR, Imm(uint64(attr)), blobArg(ctx), Imm(size), Imm(0))
}
