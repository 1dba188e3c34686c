// Command keeper has custody of a node's containers while the daemon comes and goes: it is their
// parent, writes their logs, records their exits and stores their files (package keeper/server).
//
// It is started by the daemon (package keeper), one for a state directory:
//
//	keeper --state DIR [--ready FD]
//
// and serves DIR/keeper.sock until a Stop request. Signals do not end it, except SIGKILL: what a
// service manager or a terminal sends by accident must not cost a node its containers. With
// --ready, it writes a byte to that descriptor when clients can connect, and closes it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"tare/crash"
	"tare/keeper/proto"
	"tare/keeper/server"
)

func main() {
	state := flag.String("state", "/run/tare", "directory of the socket and the lock")
	ready := flag.Int("ready", -1, "descriptor to write to when clients can connect")
	var kept *server.Kept
	flag.Func("kept", "descriptors that this process kept when it executed this program", func(text string) error {
		kept = &server.Kept{}
		return kept.Set(text)
	})
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "keeper has custody of containers. tare serve starts it, and tare stop --all ends it: there is nothing to do by hand.")
		flag.PrintDefaults()
	}
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(*state, *ready, kept, log); err != nil {
		log.Error("keeper", "err", err)
		if errors.Is(err, server.ErrRunning) {
			os.Exit(proto.ExitRunning)
		}
		os.Exit(1)
	}
}

func run(state string, ready int, kept *server.Kept, log *slog.Logger) error {
	if err := harden(log); err != nil {
		return err
	}
	l, err := listen(state, kept)
	if err != nil {
		return err
	}
	crash.Arm(state)
	s, err := server.New(log)
	if err != nil {
		return err
	}
	if err := s.Inherit(l); err != nil {
		return err
	}
	if ready >= 0 {
		f := os.NewFile(uintptr(ready), "ready")
		if _, err := f.Write([]byte{1}); err != nil {
			log.Warn("tell starter", "err", err) // it has gone; others may come
		}
		f.Close()
	}
	return s.Serve(l)
}

// listen opens the state directory's socket, or goes on with the one that this process had.
func listen(state string, kept *server.Kept) (*server.Listener, error) {
	if kept != nil {
		return server.Relisten(state, *kept)
	}
	return server.Listen(state)
}
