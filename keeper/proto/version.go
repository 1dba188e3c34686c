package proto

// Versions spoken by this build. A new message or field means a new Max; Min follows one
// version behind, so that a daemon and a keeper of neighbouring versions work together.
const (
	MinVersion = newest - 1
	MaxVersion = newest - behind
)

const (
	newest = 2
	// versionReplace is the first one with KindReplace, and with the program's digest in Welcome.
	versionReplace = 2
)
