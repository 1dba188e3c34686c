//go:build !crashpoints

package crash

// Arm says in which state directory orders are looked for. Here it does nothing.
func Arm(stateDir string) {}

// Point is a moment to be killed at. Here it does nothing.
func Point(name string) {}
