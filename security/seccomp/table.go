package seccomp

import (
	"cmp"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// decision is what happens to one call: the first case whose conditions hold, else the rest.
type decision struct {
	cases []choice
	rest  action
}

// choice is a rule of one call.
type choice struct {
	conditions []specs.LinuxSeccompArg
	action     action
}

// span is a run of numbers with one decision.
type span struct {
	first    uint32
	decision decision
	narrow   bool
}

// table has the decision of every number of an architecture: spans in ascending order, each up to the
// next.
type table []span

// table collects what the rules say about an ABI's calls.
//
// A rule without conditions decides alone, whatever others say of the call, and of several the first;
// conditional ones are tried in order; a rule that does what is done by default is ignored: all as in
// libseccomp with runc before it. Names the ABI does not have are passed over, as they
// have to be in a profile for more than one.
//
// A number beyond the last one the profile mentions is a call its author could not know. It gets ENOSYS instead of
// the default error, so that a C library falls back to the older call it knows; EPERM would make it
// give up (runc's pull request 2750).
func (p *profile) table(a abi) table {
	decisions, last := make(map[uint32]decision), a.first
	numbers := a.numbers()
	for _, r := range p.rules {
		for _, name := range r.names {
			for _, number := range numbers[name] {
				if a.regular(number) {
					last = max(last, number)
				}
				p.decide(decisions, number, r)
			}
		}
	}
	rest := decision{rest: p.defaultAction}
	t := table{{a.first, rest, a.narrow}}
	for _, number := range slices.Sorted(maps.Keys(decisions)) {
		t = append(t, span{number, decisions[number], a.narrow}, span{number + 1, rest, a.narrow})
	}
	if last > a.first {
		t = append(t, span{last + 1, decision{rest: p.newer}, a.narrow})
	}
	beyond := decision{rest: unix.SECCOMP_RET_KILL_PROCESS} // of x86_64: x32, unless its table follows
	if a.last == skipped-1 {
		beyond.rest = p.defaultAction
	}
	return append(t, span{a.last + 1, beyond, a.narrow})
}

// decide adds a rule to the decision of a call.
func (p *profile) decide(decisions map[uint32]decision, number uint32, r rule) {
	if r.action == p.defaultAction {
		return
	}
	d, ok := decisions[number]
	if !ok {
		d.rest = p.defaultAction
	}
	decisions[number] = d.with(r, p.defaultAction)
}

// with adds a rule to a decision.
func (d decision) with(r rule, defaultAction action) decision {
	switch {
	case len(d.cases) == 0 && d.rest != defaultAction: // decided
	case len(r.conditions) == 0:
		d.cases, d.rest = nil, r.action
	default:
		d.cases = append(slices.Clip(d.cases), choice{r.conditions, r.action})
	}
	return d
}

// equal reports whether both decisions lead to the same code.
func (d decision) equal(o decision) bool {
	return d.rest == o.rest && slices.EqualFunc(d.cases, o.cases, func(a, b choice) bool {
		return a.action == b.action && slices.Equal(a.conditions, b.conditions)
	})
}

// merge sorts the spans, lets later ones replace those that begin at the same number, and joins
// neighbours that decide alike.
func (t table) merge() table {
	slices.SortStableFunc(t, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var out table
	for i, s := range t {
		if i+1 < len(t) && t[i+1].first == s.first {
			continue
		}
		if n := len(out); n > 0 && out[n-1].decision.equal(s.decision) && out[n-1].narrow == s.narrow {
			continue
		}
		out = append(out, s)
	}
	return out
}

// search makes the program that finds a number's decision. It begins with the number in the accumulator.
func (t table) search(defaultAction action) []instruction {
	t = t.merge()
	if t[len(t)-1].first < skipped {
		t = append(t, span{first: skipped, decision: decision{rest: defaultAction}})
	}
	return t.tree()
}

// tree is a binary search; each leaf ends in a return.
func (t table) tree() []instruction {
	if len(t) == 1 {
		return t[0].decision.code(t[0].narrow)
	}
	half := len(t) / 2
	low, high := t[:half].tree(), t[half:].tree()
	return append(jumpUnless(unix.BPF_JGE, t[half].first, low), high...)
}
