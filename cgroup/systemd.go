package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/godbus/dbus/v5"
)

// systemdSocket is where systemd speaks D-Bus to root without a bus daemon between, as systemctl(1) does. It
// sends its signals there unasked.
const systemdSocket = "/run/systemd/private"

// systemd's names on D-Bus, org.freedesktop.systemd1(5).
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = systemdName + ".Manager"

	errUnitExists = systemdName + ".UnitExists"
	errNoSuchUnit = systemdName + ".NoSuchUnit"
)

// systemd is a connection to the service manager. Each operation has its own: one that were kept would not
// outlive a daemon-reexec, and two calls a pod are worth no pool.
type systemd struct {
	conn    *dbus.Conn
	manager dbus.BusObject
	signals chan *dbus.Signal
}

// dialSystemd connects. ErrUnavailable if nobody answers; the caller closes the connection.
func dialSystemd(ctx context.Context) (*systemd, error) {
	conn, err := dbus.Dial("unix:path="+systemdSocket, dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w: %w", err, errdefs.ErrUnavailable)
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to systemd at %s: %w: %w", systemdSocket, err, errdefs.ErrUnavailable)
	}
	s := &systemd{conn: conn, manager: conn.Object(systemdName, systemdPath), signals: make(chan *dbus.Signal, 16)}
	conn.Signal(s.signals)
	return s, nil
}

// Close ends the connection.
func (s *systemd) Close() { s.conn.Close() }

const (
	// systemdTimeout bounds one talk with systemd and the jobs it starts: nothing that is asked of it here
	// runs a program.
	systemdTimeout = 30 * time.Second
	// probeTimeout is the same for finding out whether there is anybody to talk to.
	probeTimeout = 5 * time.Second
	// reexecPause is between two attempts to reach a systemd that is executing itself anew.
	reexecPause = 50 * time.Millisecond
)

// withSystemd has f talk to systemd, and start over, with another connection, if that executed itself anew
// meanwhile. So all that f asks for has to mean the same a second time.
func withSystemd(ctx context.Context, f func(context.Context, *systemd) error) error {
	ctx, cancel := context.WithTimeout(ctx, systemdTimeout)
	defer cancel()
	for {
		err := talk(ctx, f)
		if !ofReexec(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reexecPause):
		}
	}
}

// ofReexec reports whether an error is one that "systemctl daemon-reexec" leads to. Systemd closes its
// connections and its socket, and opens them again without telling anybody; and a slice that was about to
// be stopped is a unit without a file to it for as long as it takes to forget it.
func ofReexec(err error) bool { return errdefs.IsUnavailable(err) || isError(err, errNoSuchUnit) }

// talk is one attempt of withSystemd.
func talk(ctx context.Context, f func(context.Context, *systemd) error) error {
	s, err := dialSystemd(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(ctx, s)
}

// startTransient makes and starts a unit and the slices it needs, unless it is active already.
func (s *systemd) startTransient(ctx context.Context, name string, properties []unitProperty, slices []transientUnit) error {
	start := func(slices []transientUnit) error {
		return s.job(ctx, "StartTransientUnit", name, "replace", properties, slices)
	}
	err := start(slices)
	if len(slices) > 0 && isError(err, errUnitExists) {
		err = start([]transientUnit{}) // a slice exists by now, or as a file
	}
	if isError(err, errUnitExists) { // by an attempt that was not waited for
		return s.job(ctx, "StartUnit", name, "replace")
	}
	return err
}

// stop stops a unit. One that systemd does not know is stopped.
func (s *systemd) stop(ctx context.Context, name string) error {
	err := s.job(ctx, "StopUnit", name, "replace")
	if isError(err, errNoSuchUnit) {
		return nil
	}
	return err
}

// setProperty changes a property of a unit until it stops.
func (s *systemd) setProperty(ctx context.Context, name string, p unitProperty) error {
	return s.call(ctx, "SetUnitProperties", name, true, []unitProperty{p}).Err
}

func (s *systemd) call(ctx context.Context, method string, args ...any) *dbus.Call {
	call := s.manager.CallWithContext(ctx, systemdManager+"."+method, 0, args...)
	if e, ok := errors.AsType[dbus.Error](call.Err); ok {
		call.Err = fmt.Errorf("%s: %s: %w", method, e.Name, call.Err)
	} else if call.Err != nil {
		call.Err = fmt.Errorf("%s: %w: %w", method, call.Err, errdefs.ErrUnavailable)
	}
	return call
}

// job calls a method that starts a job and waits for its end. Its signal cannot be missed: they are
// kept from before the call.
func (s *systemd) job(ctx context.Context, method string, args ...any) error {
	var job dbus.ObjectPath
	if err := s.call(ctx, method, args...).Store(&job); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: job %s: %w", method, job, context.Cause(ctx))
		case signal, ok := <-s.signals:
			if !ok {
				return fmt.Errorf("%s: job %s: the connection ended: %w", method, job, errdefs.ErrUnavailable)
			}
			if result, ok := jobResult(signal, job); ok && result != "done" {
				return fmt.Errorf("%s: job %s: %s: %w", method, job, result, errdefs.ErrFailedPrecondition)
			} else if ok {
				return nil
			}
		}
	}
}

// jobResult is what became of a job, if that is what the signal is about.
func jobResult(signal *dbus.Signal, job dbus.ObjectPath) (result string, ok bool) {
	if signal.Name != systemdManager+".JobRemoved" {
		return "", false
	}
	var id uint32
	var path dbus.ObjectPath
	var unit string
	if dbus.Store(signal.Body, &id, &path, &unit, &result) != nil {
		return "", false
	}
	return result, path == job
}

// isError reports whether systemd answered with this error.
func isError(err error, name string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == name
}

// ProbeSystemd tells why the systemd driver cannot work here, nil if it can: systemd has to be pid 1, to
// answer, and to keep its units at the root of the one hierarchy.
func ProbeSystemd(ctx context.Context) error {
	mode, _, err := Detect()
	if err != nil {
		return err
	}
	if !systemdBooted() {
		return fmt.Errorf("pid 1 is not systemd: %w", errdefs.ErrFailedPrecondition)
	}
	if mode != Unified {
		return fmt.Errorf("it works on cgroup v2 only, and this host has %s: %w", mode, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return withSystemd(ctx, checkRoot)
}

// checkRoot demands that systemd keeps its units at the root of the hierarchy.
func checkRoot(ctx context.Context, s *systemd) error {
	var root dbus.Variant
	get := s.manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, systemdManager, "ControlGroup")
	if err := get.Store(&root); err != nil {
		return fmt.Errorf("ask systemd for its cgroup: %w: %w", err, errdefs.ErrUnavailable)
	}
	if at, _ := root.Value().(string); at != "" && at != "/" {
		return fmt.Errorf("systemd keeps its units at %s of the hierarchy, not at its root: %w", at, errdefs.ErrFailedPrecondition)
	}
	return nil
}
