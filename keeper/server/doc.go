// Package server is the keeper's side of its protocol: custody of processes, output and files.
//
// A Server runs programs (nsutil.Launch) and is the parent of what they become; it copies their output into
// log files (package logs), records how they end, and stores files under keys. It knows nothing of
// pods, containers or CRI. What it holds belongs to a key that the client chose: a process until
// Forget, a file until Drop, whether or not a client is connected.
//
// Three kinds of goroutines: one reads each connection (session.go), one reaps children
// (reaper.go), one copies each output (package logs). Requests that take time get one of their own.
// A process that runs and says nothing costs none but those of its two pipes.
//
// Whoever kills a keeper takes nothing from its heir. A guard (guard.go) shares the table of descriptors and does nothing; a
// journal (journal.go), in a memory file, says at any moment which descriptor is what. The next keeper inherits them
// (inherit.go), and so does a newer program that this process executes (replace.go).
//
// Processes are signalled through pidfds only, never by number.
//
// Concurrency: Server.mu guards the tables and the fields of what is in them; it is held for no
// system call that can block. The reaper has a mutex of its own, taken after it, and so has the journal, taken last.
package server
