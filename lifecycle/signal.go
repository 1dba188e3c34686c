package lifecycle

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare/spec"
)

// stopSignal is the one in force: the request's, else the image's, else SIGTERM.
func stopSignal(c *spec.Container, img spec.Image) unix.Signal {
	if c.StopSignal != 0 {
		return c.StopSignal
	}
	if sig := parseSignal(img.Config.StopSignal); sig != 0 {
		return sig
	}
	return unix.SIGTERM
}

// Real-time signals as libc counts them, signal(7): the first two are its own.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// parseSignal reads "SIGQUIT", "quit", "3", "RTMIN+3" as images have them; 0 for what is none.
func parseSignal(s string) unix.Signal {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= sigRTMax {
		return unix.Signal(n)
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if off, ok := strings.CutPrefix(name, "RTMIN"); ok {
		return realTime(sigRTMin, off)
	}
	if off, ok := strings.CutPrefix(name, "RTMAX"); ok {
		return realTime(sigRTMax, off)
	}
	return unix.SignalNum("SIG" + name)
}

func realTime(base int, offset string) unix.Signal {
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil {
			return 0
		}
	}
	if sig := base + n; sig >= sigRTMin && sig <= sigRTMax {
		return unix.Signal(sig)
	}
	return 0
}
