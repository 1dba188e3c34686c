// Command demo shows what the runtime does: it starts a daemon and a registry on this machine, runs
// a pod with two containers, and shows their network, logs and namespaces. Then it stays, for
// playing with crictl, until Ctrl-C, and removes everything it made.
//
//	demo                       on unix:///run/tare/tare.sock
//	demo --once                ends by itself; also with DEMO_ONCE=1
//	demo --once --dir DIR      beside a runtime that is in use: everything below DIR
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	once := flag.Bool("once", os.Getenv("DEMO_ONCE") == "1", "do not wait for Ctrl-C")
	dir := flag.String("dir", "", "keep everything below this directory instead of /run/tare and /var/lib/tare")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, *dir, *once); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// run shows everything and removes it again, however far it came.
func run(ctx context.Context, dir string, once bool) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers need root: run it with sudo, or as root")
	}
	p, err := newPlace(dir)
	if err != nil {
		return err
	}
	d := &demo{place: p}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	if err := d.show(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C on the way is not a failure
		}
		return err
	}
	if !once {
		d.invite()
		<-ctx.Done()
	}
	return nil
}
