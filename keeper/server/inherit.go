package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"tare/crash"
	"tare/keeper/proto"
	"tare/nsutil"

	"golang.org/x/sys/unix"
)

// Inherit takes over what an earlier keeper of the state directory has left with its guard when it was killed, or what this
// process held before it executed another program, and has all that is held guarded from now on. It comes before Serve.
//
// Nothing is begun before the new guard is there: an heir killed on the way leaves the old guard's things as they were.
func (s *Server) Inherit(l *Listener) error {
	s.listener = l
	old, err := findGuard(l.path)
	if err != nil {
		return err
	}
	in := inheritance{Server: s}
	if l.journal != nil {
		in.take = takeOwn
		err = in.all(l.journal)
	} else if old != nil {
		in.take = old.take
		err = in.fromGuard(old)
	}
	if err != nil {
		// The daemon may have duplicates.
		s.log.Error("inherit from the keeper before", "err", err)
	}
	crash.Point("keeper-inherit.taken")
	if err := s.protect(l); err != nil {
		s.log.Error("no guard: what is held is lost with this process", "err", err)
	}
	crash.Point("keeper-inherit.guarded")
	if old != nil {
		if err := old.end(); err != nil {
			s.log.Error("end the guard of the keeper before", "err", err)
		}
	}
	in.begin()
	crash.Point("keeper-inherit.begun")
	return nil
}

// takeOwn is take for descriptors that this process has kept over execve.
func takeOwn(fd int, name string) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("fcntl F_SETFD", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inheritance is what is being taken over.
type inheritance struct {
	*Server
	take    func(fd int, name string) (*os.File, error)
	taken   []*process
	watches []func()
}

func (in *inheritance) fromGuard(old *left) error {
	f, err := in.take(old.journal, journalName)
	if err != nil {
		return err
	}
	return in.all(f)
}

// all takes what the journal names, and closes it. What cannot be taken is missed alone.
func (in *inheritance) all(journal *os.File) error {
	defer journal.Close()
	h, err := readHeritage(io.NewSectionReader(journal, 0, 1<<62))
	if err != nil {
		return err
	}
	in.serial = h.serial
	in.journal.note(entry{Op: opSerial, Serial: h.serial})
	var errs []error
	for fd := range h.buffers {
		f, err := in.take(fd, "container output")
		if err == nil {
			err = in.spool.Inherit(f)
		}
		errs = append(errs, err)
	}
	for _, e := range h.processes {
		if err := in.process(e); err != nil {
			errs = append(errs, fmt.Errorf("process %s: %w", e.Key, err))
		}
	}
	for key, fds := range h.stored {
		files, err := in.files(fds)
		if err != nil {
			errs = append(errs, fmt.Errorf("files of %s: %w", key, err))
			continue
		}
		in.store[key] = files
		in.journal.note(entry{Op: opPut, Key: key, FDs: numbers(files)})
	}
	return errors.Join(errs...)
}

// files takes descriptors; -1 is nil.
func (in *inheritance) files(fds []int) ([]*os.File, error) {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		if fd < 0 {
			continue
		}
		var err error
		if files[i], err = in.take(fd, "inherited"); err != nil {
			nsutil.CloseAll(files)
			return nil, err
		}
	}
	return files, nil
}

// process takes a process over. Who waited for one that is tethered has gone: it is killed.
func (in *inheritance) process(e *entry) error {
	f, err := in.files(e.FDs)
	if err != nil {
		return err
	}
	if e.Tether {
		defer nsutil.CloseAll(f)
		if f[slotPidFD] == nil {
			return nil
		}
		return nsutil.PidfdKillTree(f[slotPidFD])
	}
	out, err := in.newOutput(material{
		key: e.Key, serial: e.Serial, scratch: [2]*os.File{f[slotScratchR], f[slotScratchW]},
		held: proto.Custody{Stdout: f[slotStdout], Stderr: f[slotStderr], Console: f[slotConsole], Log: f[slotLog]},
	})
	if err != nil {
		if f[slotPidFD] != nil {
			f[slotPidFD].Close()
		}
		return err
	}
	p := &process{Exit: proto.Exit{Key: e.Key, Pid: e.Pid}, state: proto.Running, serial: e.Serial, pidfd: f[slotPidFD], out: out}
	if err := in.watch(p, e); err != nil {
		return err
	}
	in.processes[p.Key] = p
	in.journal.note(p.entry())
	in.taken = append(in.taken, p)
	return nil
}

// watch prepares for the process's end, unless that is known.
func (in *inheritance) watch(p *process, e *entry) error {
	if e.Exit != nil {
		p.Exit, p.state = *e.Exit, proto.Exited
		if p.pidfd != nil { // its end was not reported yet
			p.pidfd.Close()
			p.pidfd = nil
		}
		return nil
	}
	// This process may have launched it before it executed this program, or have inherited it then, too.
	if child := in.reaper.claim(e.Pid, p.pidfd); child != nil {
		in.watches = append(in.watches, func() { in.awaitChild(p, child) })
		return nil
	}
	watch, err := nsutil.PidfdWatch(p.pidfd)
	if err == nil {
		in.watches = append(in.watches, func() { go in.awaitAdopted(p, watch) })
	}
	return err
}

// begin goes on with what was taken over. Of a process that has ended, the output is waited for before any client hears of that: as after
// any other end, it is only then forgotten, with what its pipes hold.
func (in *inheritance) begin() {
	drained := time.Now().Add(drainBound)
	for _, p := range in.taken {
		p.out.start()
		if p.state == proto.Exited {
			go p.out.finish() // ends with the output
		}
	}
	for _, watch := range in.watches {
		watch()
	}
	for _, p := range in.taken {
		if p.state == proto.Exited {
			p.out.await(time.Until(drained))
		}
	}
}
