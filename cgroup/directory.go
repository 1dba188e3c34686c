package cgroup

import "path"

// Directory is where a group is in one hierarchy of v1.
type Directory struct {
	Hierarchy   string   // the last part of where the host has it mounted: "memory", "cpu,cpuacct"
	Controllers []string // none: a hierarchy for book-keeping
	Path        string   // on the host
}

// Directories lists where the group is in each hierarchy of v1 that containers join; on v2, nothing.
func (g *Group) Directories() []Directory {
	var out []Directory
	for _, h := range g.tree.hierarchies {
		if !h.v2 {
			out = append(out, Directory{path.Base(h.mount), h.controllers, h.abs(g.dir)})
		}
	}
	return out
}
