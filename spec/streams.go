package spec

import "io"

// Streams are a client's ends of an exec or attach session; nil where it did not ask for one.
type Streams struct {
	Stdin  io.Reader // its end is the end of the input
	Stdout io.Writer
	Stderr io.Writer // nil with a terminal, which has one output
	TTY    bool
	// Resize brings the sizes of the client's window. It closes with the client's connection;
	// nil: the client cannot tell.
	Resize <-chan TerminalSize
}

// TerminalSize is the size of a terminal's window, in characters.
type TerminalSize struct {
	Width, Height uint16
}
