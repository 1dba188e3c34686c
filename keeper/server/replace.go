package server

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"

	"tare/keeper/proto"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// Kept are the descriptors that a keeper keeps for the program it executes, beside those its journal names.
type Kept struct{ Journal, Lock, Socket int }

// String is Kept for the command line.
func (k Kept) String() string { return fmt.Sprintf("%d,%d,%d", k.Journal, k.Lock, k.Socket) }

// Set reads what String has written, flag.Value.
func (k *Kept) Set(text string) error {
	_, err := fmt.Sscanf(text, "%d,%d,%d", &k.Journal, &k.Lock, &k.Socket)
	return err
}

// ownDigest is that of the program this process executes.
func ownDigest(log *slog.Logger) string {
	digest, err := nsutil.FileDigest("/proc/self/exe")
	if err != nil {
		log.Error("read the keeper's program", "err", err)
	}
	return digest
}

// replace has this process execute another program, a newer keeper: its children stay its children, clients that come wait at
// the socket, and the rest is as if it had been killed. It returns if that fails.
func (s *Server) replace(p *proto.Packet) *proto.Fault {
	if len(p.Files) != 1 {
		return faultf(proto.Malformed, "replace: one program wanted")
	}
	if s.listener == nil {
		return faultf(proto.Precondition, "replace: there is no socket to hand on")
	}
	if f := s.quiesce(); f != nil {
		return f
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.replacing = false
	}()
	// A status that was taken is noted before: no heir could have it again (waitid(2)).
	s.reaper.mu.Lock()
	defer s.reaper.mu.Unlock()
	s.log.Info("executing another program")
	return fault("replace", s.journal.execute(p.Files[0], s.listener))
}

// quiesce begins nothing new, and is refused while a launch is under way.
func (s *Server) quiesce() *proto.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.processes {
		if p.state == proto.Launching {
			return faultf(proto.Precondition, "replace: %q is being launched", key)
		}
	}
	if s.unwatched > 0 { // an exit status could be lost
		return faultf(proto.Precondition, "replace: %d processes have just been launched", s.unwatched)
	}
	s.replacing = true
	return nil
}

// execute keeps what the journal names, and executes. Meanwhile nothing that is to be kept is opened, since that is noted, and
// no child is forked.
func (j *journal) execute(program *os.File, l *Listener) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	kept := Kept{Journal: number(j.file), Lock: number(l.lock), Socket: number(l.sock)}
	fds := append(j.now.descriptors(), kept.Journal, kept.Lock, kept.Socket)
	closeOnExec(fds, 0)
	path := fmt.Sprintf("/proc/self/fd/%d", program.Fd())
	err := unix.Exec(path, []string{"keeper", "--state", l.path, "--kept", kept.String()}, nil)
	closeOnExec(fds, unix.FD_CLOEXEC)
	runtime.KeepAlive(program)
	return os.NewSyscallError("execve", err)
}

func closeOnExec(fds []int, flag int) {
	for _, fd := range fds {
		// One that is closed by now is noted to be.
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
	}
}

// descriptors are all that the heritage names.
func (h *heritage) descriptors() (all []int) {
	add := func(fds []int) {
		for _, fd := range fds {
			if fd >= 0 {
				all = append(all, fd)
			}
		}
	}
	for _, p := range h.processes {
		add(p.FDs)
	}
	for _, fds := range h.stored {
		add(fds)
	}
	for fd := range h.buffers {
		add([]int{fd})
	}
	return all
}
