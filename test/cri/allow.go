package cri

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Outcomes of a spec, as allow.txt and the table name them.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// An exception is one line of allow.txt: the outcome, other than passing, that a
// spec is expected to have, and why.
type exception struct {
	outcome string // failed or skipped
	spec    string // full name
	reason  string // "machine: …" or "next issue: …"
}

var reasons = []string{"machine: ", "next issue: "}

// parseAllow reads lines of the form
//
//	fail|skip SPEC<tab># REASON
//
// Empty lines and lines that begin with # are comments.
func parseAllow(r io.Reader) ([]exception, error) {
	var list []exception
	var errs []error
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseException(line)
		if err == nil && seen[e.spec] {
			err = fmt.Errorf("%q is listed twice", e.spec)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		seen[e.spec] = true
		list = append(list, e)
	}
	return list, errors.Join(append(errs, lines.Err())...)
}

func parseException(line string) (exception, error) {
	head, reason, ok := strings.Cut(line, "\t# ")
	outcome, spec, ok2 := strings.Cut(head, " ")
	if !ok || !ok2 {
		return exception{}, fmt.Errorf("want \"fail|skip SPEC<tab># REASON\", got %q", line)
	}
	if outcome != failed && outcome != skipped {
		return exception{}, fmt.Errorf("outcome %q is neither %q nor %q", outcome, failed, skipped)
	}
	for _, prefix := range reasons {
		if rest, ok := strings.CutPrefix(reason, prefix); ok && strings.TrimSpace(rest) != "" {
			return exception{outcome, strings.TrimSpace(spec), reason}, nil
		}
	}
	return exception{}, fmt.Errorf("reason %q begins with none of %q", reason, reasons)
}

// judge returns a sentence for each spec whose outcome is not the expected one,
// and for each exception that names no spec. Specs that were not selected to run
// are not judged.
func judge(specs []spec, allowed []exception) []string {
	var faults []string
	byName := map[string]exception{}
	for _, e := range allowed {
		byName[e.spec] = e
	}
	for _, s := range specs {
		e, listed := byName[s.name]
		delete(byName, s.name)
		want := passed
		if listed {
			want = e.outcome
		}
		if s.selected && s.outcome != want {
			faults = append(faults, fault(s, e, listed))
		}
	}
	for name := range byName {
		faults = append(faults, fmt.Sprintf("listed, but critest has no such spec: %s", name))
	}
	slices.Sort(faults)
	return faults
}

func fault(s spec, e exception, listed bool) string {
	switch {
	case !listed && s.outcome == failed:
		return "failed: " + s.name
	case !listed:
		return fmt.Sprintf("skipped, but not listed: %s (%s)", s.name, s.message)
	case s.outcome == passed:
		return fmt.Sprintf("passed, so its line has to go: %s (%s)", s.name, e.reason)
	}
	return fmt.Sprintf("listed as %s, but the outcome is %s: %s", e.outcome, s.outcome, s.name)
}
