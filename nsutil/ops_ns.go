package nsutil

import (
	"golang.org/x/sys/unix"
)

// maxGive bounds the descriptors of one Give.
const maxGive = 8

// SetNS joins namespaces: nsfd is a namespace file with its one kind, or a pidfd with any set of
// kinds (setns(2), Linux 5.8), joined in the right order by the kernel, all or none.
func (b *Builder) SetNS(nsfd FD, kinds uint64) {
	b.add("setns", nsfd.label+" "+flagNames(kinds, cloneNames), unix.SYS_SETNS, nsfd.arg, Imm(kinds))
}

// Unshare makes new namespaces (unshare(2)).
func (b *Builder) Unshare(kinds uint64) {
	b.add("unshare", flagNames(kinds, cloneNames), unix.SYS_UNSHARE, Imm(kinds))
}

// Fork lets the program go on in a child that has the same parent; needed after a PID namespace
// was joined or unshared.
func (b *Builder) Fork() {
	b.add("fork", "CLONE_PARENT", uintptr(opFork))
}

// AwaitMaps stops the program, right after it made a user namespace, until the launcher has
// written the id maps: only a process outside may map more than its own id (user_namespaces(7)).
func (b *Builder) AwaitMaps(m IDMaps) {
	b.p.Maps = &m
	b.add("write", "status: awaiting id maps", unix.SYS_WRITE, Arg{argStatus, 0}, blobArg(b.reportMsg(reportMaps)), Imm(uint64(reportSize)))
	reply := b.reserve(8, 8)
	b.add("read", "status: id maps written", unix.SYS_READ, Arg{argStatus, 0}, blobArg(reply), Imm(1)).nonzero = true
}

// reportMsg appends a constant message for the status channel.
func (b *Builder) reportMsg(kind uint32) uint32 {
	off := b.reserve(reportSize, 8)
	b.putU32(off, kind)
	return off
}

// Give sends descriptors that the program made to its launcher, which returns them in
// Started.Given; at most maxGive at once.
func (b *Builder) Give(label string, slots ...Slot) {
	const cmsgHeader = unix.SizeofCmsghdr
	cmsg := b.reserve(unix.CmsgSpace(4*len(slots)), 8)
	b.putU64(cmsg, uint64(unix.CmsgLen(4*len(slots))))
	b.putU32(cmsg+8, unix.SOL_SOCKET)
	b.putU32(cmsg+12, unix.SCM_RIGHTS)
	for i, s := range slots {
		// A result that is sent lives where it is sent from: move it there by dup'ing into place.
		b.add("dup", s.label, unix.SYS_FCNTL, s.arg(), Imm(unix.F_DUPFD_CLOEXEC), Imm(0)).into(Slot{cmsg + cmsgHeader + uint32(4*i), s.label})
	}
	iov := b.reserve(unix.SizeofIovec, 8)
	b.reloc(iov, argBlob, b.reportMsg(reportGive))
	b.putU64(iov+8, uint64(reportSize))
	hdr := b.reserve(unix.SizeofMsghdr, 8)
	b.reloc(hdr+16, argBlob, iov)
	b.putU64(hdr+24, 1)
	b.reloc(hdr+32, argBlob, cmsg)
	b.putU64(hdr+40, uint64(unix.CmsgSpace(4*len(slots))))
	b.add("sendmsg", "status: "+label, unix.SYS_SENDMSG, Arg{argStatus, 0}, blobArg(hdr), Imm(0))
}

// SetHostname names the UTS namespace, sethostname(2).
func (b *Builder) SetHostname(name string) {
	b.add("sethostname", name, unix.SYS_SETHOSTNAME, b.str(name), Imm(uint64(len(name))))
}

// LoopbackUp sets the loopback device of the network namespace up (netdevice(7)), which also
// gives it its addresses.
func (b *Builder) LoopbackUp() {
	sock := b.slot("socket")
	b.add("socket", "AF_INET", unix.SYS_SOCKET, Imm(unix.AF_INET), Imm(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), Imm(0)).into(sock)
	ifreq := b.reserve(40, 8)
	copy(b.p.blob[ifreq:], "lo")
	b.putU32(ifreq+16, unix.IFF_UP|unix.IFF_RUNNING)
	b.add("ioctl", "lo SIOCSIFFLAGS UP", unix.SYS_IOCTL, sock.arg(), Imm(unix.SIOCSIFFLAGS), blobArg(ifreq))
}

// Exit ends a program that executes nothing.
func (b *Builder) Exit() {
	b.add("exit_group", "0", unix.SYS_EXIT_GROUP, Imm(0))
}
