package nsutil

import (
	"golang.org/x/sys/unix"
)

// NestUserNS moves the program into a new user namespace inside the one it is in, whose root it has to
// be, and stays root there. The maps name ids of the present namespace.
//
// They can be written by a process that is in the present namespace and has power over it, and by
// none outside of it, the launcher least of all (user_namespaces(7); map_write, kernel/user_namespace.c:
// the opener has to be in the new namespace or in its parent). The program gives up that power as it enters;
// so it leaves a helper behind, which writes the maps when told so, and ends. last is what the program does with that
// power when the helper is there.
func (b *Builder) NestUserNS(m IDMaps, last func()) {
	b.Dumpable() // else its files in /proc are the host's root's alone, proc(5)
	self := b.Open("/proc/self", unix.O_PATH|unix.O_DIRECTORY)
	entered, enter := b.pipe("entered")
	helper := b.slot("helper")
	clone := b.here()
	b.add("fork", "helper", uintptr(opHelper)).into(helper)
	last()
	b.Unshare(unix.CLONE_NEWUSER)
	b.Write(enter.FD(), "1")
	wait := b.here()
	b.add("wait4", "helper", unix.SYS_WAIT4, helper.arg(), Imm(0), Imm(0), Imm(0))
	b.skipTo(clone, false)
	b.writeMaps(self.FD(), m, entered, enter)
	b.skipTo(wait, true)
	b.SetIDs(0, 0, nil) // fails if the helper has
	b.add("prctl", "PR_SET_DUMPABLE 0", unix.SYS_PRCTL, Imm(unix.PR_SET_DUMPABLE), Imm(0))
}

// writeMaps is the helper's part: proc is the /proc directory of the process it works for. Should that
// one end before it has entered its namespace, the pipe does, too.
func (b *Builder) writeMaps(proc FD, m IDMaps, entered, enter Slot) {
	b.add("close", enter.label, unix.SYS_CLOSE, enter.arg())
	b.add("read", entered.label, unix.SYS_READ, entered.arg(), blobArg(b.reserve(8, 8)), Imm(1)).nonzero = true
	for _, f := range []struct{ name, data string }{{"uid_map", m.UID}, {"gid_map", m.GID}} {
		s := b.slot(f.name)
		b.add("openat", "/proc/self/"+f.name, unix.SYS_OPENAT, proc.arg, b.str(f.name), Imm(unix.O_WRONLY|unix.O_CLOEXEC), Imm(0)).into(s)
		b.Write(s.FD(), f.data)
	}
	b.Exit()
}

// pipe makes a pipe, pipe2(2).
func (b *Builder) pipe(label string) (read, write Slot) {
	fds := b.reserve(8, 4)
	b.add("pipe2", label, unix.SYS_PIPE2, blobArg(fds), Imm(unix.O_CLOEXEC))
	return Slot{fds, label}, Slot{fds + 4, label}
}
