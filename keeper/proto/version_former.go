//go:build formerkeeper

package proto

// behind makes a build that speaks the version before, for tests of what neighbours have to say to each other.
const behind = 1
