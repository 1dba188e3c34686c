package server

import (
	"os"
	"sync/atomic"
	"time"

	"tare/keeper/proto"
	"tare/logs"
	"tare/nsutil"
)

// output is what a process writes, as far as it is the keeper's to read, and the log it goes to.
type output struct {
	log     *logs.Log
	failed  func(stream string, err error) // is told why a stream is read no further
	streams [3]*logs.Stream                // stdout, stderr, console; nil where there is none
	copying atomic.Int32
	done    chan struct{} // closed when all streams have ended
}

// material is what an output is made of.
type material struct {
	key     string
	serial  uint64 // of the process
	held    proto.Custody
	scratch [2]*os.File // of an inherited console; nil: to be made
}

// streamNames are those of an output's streams.
var streamNames = [3]string{"stdout", "stderr", "stdout"}

// newOutput prepares to copy the custody's streams into its log: start begins. It takes over the files, also when it fails.
func (s *Server) newOutput(m material) (*output, error) {
	o := &output{done: make(chan struct{})}
	o.failed = func(stream string, err error) {
		s.log.Error("read output: the rest is lost", "key", m.key, "stream", stream, "err", err)
	}
	o.log = logs.New(m.held.Log, logs.Host{
		Spool:    s.spool,
		Failed:   func(err error) { s.log.Error("write log: output is dropped", "key", m.key, "err", err) },
		Replaced: func(f *os.File) { s.journal.note(entry{Op: opLog, Key: m.key, FDs: []int{number(f)}}) },
	})
	for i, f := range []*os.File{m.held.Stdout, m.held.Stderr, m.held.Console} {
		if f == nil {
			continue
		}
		from := logs.Source{File: f, Name: streamNames[i], Owner: m.serial*uint64(len(streamNames)) + uint64(i)}
		from.Ended = func() { s.journal.note(entry{Op: opEnd, Key: m.key, Stream: i}) }
		if i == 2 {
			from.Scratch = m.scratch
		}
		stream, err := newStream(o.log, from, i == 2)
		if err != nil {
			m.held.Close()
			return nil, err
		}
		o.streams[i] = stream
		o.copying.Add(1)
	}
	return o, nil
}

// newStream takes over the source.
func newStream(l *logs.Log, from logs.Source, tty bool) (_ *logs.Stream, err error) {
	if tty && from.Scratch[0] == nil {
		if from.Scratch[0], from.Scratch[1], err = os.Pipe(); err != nil {
			from.Close()
			return nil, err
		}
	}
	if from.File, err = nsutil.Pollable(from.File); err != nil {
		nsutil.CloseAll(from.Scratch[:])
		return nil, err
	}
	return logs.NewStream(l, from)
}

// slots are the descriptors of the output in the order of the journal, the pidfd's left free.
func (o *output) slots() [runSlots]*os.File {
	c := o.files()
	all := [runSlots]*os.File{slotStdout: c.Stdout, slotStderr: c.Stderr, slotConsole: c.Console, slotLog: c.Log}
	if s := o.streams[2]; s != nil {
		all[slotScratchR], all[slotScratchW] = s.Source().Scratch[0], s.Source().Scratch[1]
	}
	return all
}

// start begins to copy.
func (o *output) start() {
	if o.copying.Load() == 0 {
		close(o.done)
	}
	for _, s := range o.streams {
		if s != nil {
			go o.copy(s)
		}
	}
}

// copy ends with the last writer of the stream, or by close. An error of reading is an end like
// any other: nothing more will come.
func (o *output) copy(s *logs.Stream) {
	if err := s.Copy(); err != nil {
		o.failed(s.Source().Name, err)
	}
	if o.copying.Add(-1) == 0 {
		close(o.done)
	}
}

// await returns when all streams have ended, or after the bound.
func (o *output) await(bound time.Duration) {
	select {
	case <-o.done: // spares a timer
		return
	default:
	}
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
}

// finish closes the log after the last stream has ended.
func (o *output) finish() {
	<-o.done
	o.log.Close()
}

// close ends the streams, though somebody may still be writing.
func (o *output) close() {
	for _, s := range o.streams {
		if s != nil {
			s.Close()
		}
	}
}

// files are those of the output; they stay its own.
func (o *output) files() proto.Custody {
	c := proto.Custody{Log: o.log.File()}
	for i, f := range []**os.File{&c.Stdout, &c.Stderr, &c.Console} {
		if s := o.streams[i]; s != nil {
			*f = s.Source().File
		}
	}
	return c
}
