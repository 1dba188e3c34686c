package images

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// pins tells which images are reported as not to be collected.
type pins struct {
	exact    map[string]bool // references in full
	patterns []*regexp.Regexp
}

// newPins reads what the configuration lists: references as people write them, or patterns, in which
// "*" is any text, slashes included. ErrInvalidArgument names the entry that is neither.
func newPins(entries []string) (pins, error) {
	p := pins{exact: map[string]bool{}}
	for i, entry := range entries {
		if strings.Contains(entry, "*") {
			p.patterns = append(p.patterns, pattern(entry))
			continue
		}
		named, err := parse(entry)
		if err != nil {
			return pins{}, fmt.Errorf("images.pinned[%d]: %w", i, err)
		}
		p.exact[named.String()] = true
	}
	return p, nil
}

// pattern makes an expression of a text with stars.
func pattern(text string) *regexp.Regexp {
	parts := strings.Split(text, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`\A` + strings.Join(parts, ".*") + `\z`)
}

// hold reports whether the image recorded as ref is pinned. Patterns may speak of its short name.
func (p pins) hold(ref string) bool {
	if p.exact[ref] {
		return true
	}
	short := ref
	if named, err := reference.ParseNamed(ref); err == nil {
		short = reference.FamiliarString(named)
	}
	for _, pattern := range p.patterns {
		if pattern.MatchString(ref) || pattern.MatchString(short) {
			return true
		}
	}
	return false
}
