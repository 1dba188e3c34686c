package server

import (
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"tare/keeper/proto"
	"tare/logs"
)

// output is what a process writes, as far as it is the keeper's to read, and the log it goes to.
type output struct {
	log     *logs.Log
	streams [3]*logs.Stream // stdout, stderr, console; nil where there is none
	copying atomic.Int32
	done    chan struct{} // closed when all streams have ended
}

// newOutput begins to copy the custody's streams into its log. It takes over these files, also when
// it fails.
func newOutput(c proto.Custody, log *slog.Logger, key string) (*output, error) {
	o := &output{done: make(chan struct{})}
	o.log = logs.New(c.Log, func(err error) {
		log.Error("write log: output is dropped", "key", key, "err", err)
	})
	for i, f := range []*os.File{c.Stdout, c.Stderr, c.Console} {
		if f == nil {
			continue
		}
		s, err := newStream(o.log, f, i)
		if err != nil {
			c.Close()
			return nil, err
		}
		o.streams[i] = s
		o.copying.Add(1)
	}
	o.start()
	return o, nil
}

// newStream makes the i-th stream of an output.
func newStream(l *logs.Log, f *os.File, i int) (*logs.Stream, error) {
	f, err := logs.Pollable(f)
	if err != nil {
		return nil, err
	}
	s, err := logs.NewStream(l, f, [3]string{"stdout", "stderr", "stdout"}[i], i == 2)
	if err != nil {
		f.Close()
	}
	return s, err
}

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
	_ = s.Copy()
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
			*f = s.File()
		}
	}
	return c
}
