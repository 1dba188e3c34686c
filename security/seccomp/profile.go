package seccomp

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// action is what a filter returns, SECCOMP_RET_… with its data.
type action uint32

// permissive reports whether the call is made.
func (a action) permissive() bool {
	class := uint32(a) & unix.SECCOMP_RET_ACTION_FULL
	return class == unix.SECCOMP_RET_ALLOW || class == unix.SECCOMP_RET_LOG || class == unix.SECCOMP_RET_TRACE
}

// rule says what happens to the named calls, if all conditions hold.
type rule struct {
	names      []string
	action     action
	conditions []specs.LinuxSeccompArg
}

// profile is a profile whose every part can be compiled.
type profile struct {
	defaultAction action
	newer         action // for numbers beyond the last one the profile knows; see table
	rules         []rule
}

// parse checks a profile. A rule with several conditions on one argument means any of them, the others
// all: that is how runc has read profiles ever since (its issue 2735). A rule that does what is done anyway
// is left out.
func parse(p *specs.LinuxSeccomp) (*profile, error) {
	if p.ListenerPath != "" || p.ListenerMetadata != "" {
		return nil, fmt.Errorf("listenerPath is not supported")
	}
	out := &profile{}
	var err error
	if out.defaultAction, err = actionOf(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	out.newer = out.defaultAction
	if !out.defaultAction.permissive() {
		out.newer = unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)
	}
	for i, s := range p.Syscalls {
		a, err := actionOf(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		if err := checkConditions(s.Args); err != nil {
			return nil, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		if len(s.Names) == 0 {
			return nil, fmt.Errorf("syscalls[%d]: no names", i)
		}
		for _, conditions := range split(s.Args) {
			out.rules = append(out.rules, rule{s.Names, a, conditions})
		}
	}
	return out, nil
}

// split makes alternatives of conditions on the same argument.
func split(conditions []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	var seen [maxArguments]bool
	for _, c := range conditions {
		if seen[c.Index] {
			var each [][]specs.LinuxSeccompArg
			for _, c := range conditions {
				each = append(each, []specs.LinuxSeccompArg{c})
			}
			return each
		}
		seen[c.Index] = true
	}
	return [][]specs.LinuxSeccompArg{conditions}
}

// maxArguments is how many arguments a system call has.
const maxArguments = 6

func checkConditions(conditions []specs.LinuxSeccompArg) error {
	for _, c := range conditions {
		if c.Index >= maxArguments {
			return fmt.Errorf("argument %d: a call has %d", c.Index, maxArguments)
		}
		if !slices.Contains([]specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
			specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual}, c.Op) {
			return fmt.Errorf("unknown operator %q", c.Op)
		}
	}
	return nil
}

// maxErrno is the largest error number a filter can return; the kernel cuts others down to it
// (MAX_ERRNO in kernel/seccomp.c).
const maxErrno = 4095

// actionOf translates an action; without a number, an error is EPERM.
func actionOf(name specs.LinuxSeccompAction, number *uint) (action, error) {
	data := action(unix.EPERM)
	if number != nil {
		if *number > maxErrno {
			return 0, fmt.Errorf("errnoRet %d is larger than %d", *number, maxErrno)
		}
		data = action(*number)
	}
	switch name {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, fmt.Errorf("action %q is not supported", name)
}
