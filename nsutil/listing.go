package nsutil

import (
	"fmt"
	"strings"
)

// String lists the program, one operation a line: index, name, what it works on, which failures
// it takes and where it goes then. Golden tests hold these listings.
func (p *Program) String() string {
	var s strings.Builder
	if p.CloneFlags != 0 {
		fmt.Fprintf(&s, "     %-18s %s\n", "clone", flagNames(p.CloneFlags, cloneNames))
	}
	if p.IntoPIDs >= 0 {
		fmt.Fprintf(&s, "     %-18s %s\n", "clone", "into pid namespace of "+p.intoPIDs)
	}
	for i := range p.Ops {
		o := &p.Ops[i]
		fmt.Fprintf(&s, "%3d  %-18s %s", i, o.Name, o.Detail)
		for _, e := range o.tolerate {
			if e != 0 {
				fmt.Fprintf(&s, " [%s ok]", errnoName(e))
			}
		}
		if o.skipOK > 0 {
			fmt.Fprintf(&s, " [then %d]", i+1+int(o.skipOK))
		}
		if o.skipErr > 0 {
			fmt.Fprintf(&s, " [else %d]", i+1+int(o.skipErr))
		}
		s.WriteByte('\n')
	}
	return strings.ReplaceAll(s.String(), " \n", "\n")
}
