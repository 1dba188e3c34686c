//go:build !formerkeeper

package proto

// behind is how many versions this build is behind.
const behind = 0
