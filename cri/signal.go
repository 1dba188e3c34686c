package cri

import (
	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The first and last real-time signals as every C library counts them: glibc and musl keep 32
// and 33 for themselves (signal(7)).
const (
	sigRTMin unix.Signal = 34
	sigRTMax unix.Signal = 64
)

// signals are those with a name, which differ by number between architectures.
var signals = map[runtime.Signal]unix.Signal{
	runtime.Signal_SIGNAL_SIGABRT:   unix.SIGABRT,
	runtime.Signal_SIGNAL_SIGALRM:   unix.SIGALRM,
	runtime.Signal_SIGNAL_SIGBUS:    unix.SIGBUS,
	runtime.Signal_SIGNAL_SIGCHLD:   unix.SIGCHLD,
	runtime.Signal_SIGNAL_SIGCONT:   unix.SIGCONT,
	runtime.Signal_SIGNAL_SIGFPE:    unix.SIGFPE,
	runtime.Signal_SIGNAL_SIGHUP:    unix.SIGHUP,
	runtime.Signal_SIGNAL_SIGILL:    unix.SIGILL,
	runtime.Signal_SIGNAL_SIGINT:    unix.SIGINT,
	runtime.Signal_SIGNAL_SIGIO:     unix.SIGIO,
	runtime.Signal_SIGNAL_SIGKILL:   unix.SIGKILL,
	runtime.Signal_SIGNAL_SIGPIPE:   unix.SIGPIPE,
	runtime.Signal_SIGNAL_SIGPROF:   unix.SIGPROF,
	runtime.Signal_SIGNAL_SIGPWR:    unix.SIGPWR,
	runtime.Signal_SIGNAL_SIGQUIT:   unix.SIGQUIT,
	runtime.Signal_SIGNAL_SIGSEGV:   unix.SIGSEGV,
	runtime.Signal_SIGNAL_SIGSTKFLT: unix.SIGSTKFLT,
	runtime.Signal_SIGNAL_SIGSTOP:   unix.SIGSTOP,
	runtime.Signal_SIGNAL_SIGSYS:    unix.SIGSYS,
	runtime.Signal_SIGNAL_SIGTERM:   unix.SIGTERM,
	runtime.Signal_SIGNAL_SIGTRAP:   unix.SIGTRAP,
	runtime.Signal_SIGNAL_SIGTSTP:   unix.SIGTSTP,
	runtime.Signal_SIGNAL_SIGTTIN:   unix.SIGTTIN,
	runtime.Signal_SIGNAL_SIGTTOU:   unix.SIGTTOU,
	runtime.Signal_SIGNAL_SIGURG:    unix.SIGURG,
	runtime.Signal_SIGNAL_SIGUSR1:   unix.SIGUSR1,
	runtime.Signal_SIGNAL_SIGUSR2:   unix.SIGUSR2,
	runtime.Signal_SIGNAL_SIGVTALRM: unix.SIGVTALRM,
	runtime.Signal_SIGNAL_SIGWINCH:  unix.SIGWINCH,
	runtime.Signal_SIGNAL_SIGXCPU:   unix.SIGXCPU,
	runtime.Signal_SIGNAL_SIGXFSZ:   unix.SIGXFSZ,
}

// aliases are second names of the same signals.
var aliases = map[runtime.Signal]runtime.Signal{
	runtime.Signal_SIGNAL_SIGCLD:  runtime.Signal_SIGNAL_SIGCHLD,
	runtime.Signal_SIGNAL_SIGIOT:  runtime.Signal_SIGNAL_SIGABRT,
	runtime.Signal_SIGNAL_SIGPOLL: runtime.Signal_SIGNAL_SIGIO,
}

// signal converts the wire's enum; 0 for the runtime's default.
func signal(wire runtime.Signal, at field) (unix.Signal, error) {
	if wire == runtime.Signal_SIGNAL_RUNTIME_DEFAULT {
		return 0, nil
	}
	if canonical, ok := aliases[wire]; ok {
		wire = canonical
	}
	if s, ok := signals[wire]; ok {
		return s, nil
	}
	// The enum numbers the real-time signals without a gap, RTMIN+n and RTMAX-n.
	if wire >= runtime.Signal_SIGNAL_SIGRTMIN && wire <= runtime.Signal_SIGNAL_SIGRTMAX {
		return sigRTMin + unix.Signal(wire-runtime.Signal_SIGNAL_SIGRTMIN), nil
	}
	return 0, at.errorf("%d is not known", wire)
}

// wireSignal is signal backwards; a signal the enum lacks is the runtime's default.
func wireSignal(s unix.Signal) runtime.Signal {
	for wire, known := range signals {
		if known == s {
			return wire
		}
	}
	if s >= sigRTMin && s <= sigRTMax {
		return runtime.Signal_SIGNAL_SIGRTMIN + runtime.Signal(s-sigRTMin)
	}
	return runtime.Signal_SIGNAL_RUNTIME_DEFAULT
}
