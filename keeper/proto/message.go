package proto

import (
	"fmt"
	"syscall"
	"time"
)

// Kind names a message.
type Kind uint16

// Requests of the client, each with the body, the files and the answer it has. Any of them may be
// answered with KindFault.
const (
	KindHello     Kind = iota + 1 // Hello → KindWelcome
	KindRun                       // Run + program's files, then those of Run.Parts → KindRan
	KindList                      // – → KindListing
	KindFetch                     // Key → KindHeld
	KindForget                    // Key → KindDone
	KindOpenLog                   // Key + file → KindDone, once the old file is let go
	KindPut                       // Key + files → KindDone
	KindGet                       // Key → KindFiles
	KindDrop                      // Key → KindDone
	KindAdopt                     // Held + files of Held.Parts → KindDone
	KindStop                      // Stop → KindDone
	KindSubscribe                 // Held + a status pipe's writing end, then pipes for Held.Parts → KindDone
	KindReplace                   // – + a program → the connection ends, when the keeper executes it; version 2
)

// Answers, and what the keeper sends by itself.
const (
	KindWelcome Kind = iota + 0x100 // Welcome
	KindDone                        // –
	KindFault                       // Fault
	KindRan                         // Held + pidfd, then the files the program gave
	KindListing                     // Listing
	KindHeld                        // Held + files of Held.Parts
	KindFiles                       // – + files
	KindExited                      // Exit; pushed
)

// Hello opens a connection. Events asks for exits of processes that are not tethered.
type Hello struct {
	Min, Max uint32
	Events   bool
}

// Append appends the encoded message.
func (m Hello) Append(b []byte) []byte {
	return appendBool(appendU32(appendU32(b, m.Min), m.Max), m.Events)
}

// ParseHello decodes a Hello. Bytes after it are those of a newer version: they are ignored, so
// that the versions can be compared at all.
func ParseHello(body []byte) (Hello, error) {
	d := decoder{rest: body}
	m := Hello{d.u32(), d.u32(), d.bool()}
	return m, d.err
}

// Welcome answers Hello. Pid is the keeper's own, Program the digest of what it executes; from version 2 on.
type Welcome struct {
	Version uint32
	Pid     uint32
	Program string
}

// Append appends the encoded message.
func (m Welcome) Append(b []byte) []byte {
	b = appendU32(appendU32(b, m.Version), m.Pid)
	if m.Version < versionReplace {
		return b
	}
	return appendString(b, m.Program)
}

// ParseWelcome decodes a Welcome. Bytes after it are those of a newer version.
func ParseWelcome(body []byte) (Welcome, error) {
	d := decoder{rest: body}
	m := Welcome{Version: d.u32(), Pid: d.u32()}
	if m.Version >= versionReplace {
		m.Program = d.string()
	}
	return m, d.err
}

// CanReplace says whether a version knows KindReplace.
func CanReplace(version uint32) bool { return version >= versionReplace }

// Run starts a program. Of Parts, stdout, stderr and log are passed after the program's own
// files; console says that the first descriptor the program gives back is one.
type Run struct {
	Key     string
	Parts   Parts
	Tether  bool
	Program []byte
}

// Append appends the encoded message.
func (m Run) Append(b []byte) []byte {
	b = appendBool(append(appendString(b, m.Key), byte(m.Parts)), m.Tether)
	return append(appendU32(b, uint32(len(m.Program))), m.Program...)
}

// ParseRun decodes a Run, whose Program is a part of body.
func ParseRun(body []byte) (Run, error) {
	d := decoder{rest: body}
	m := Run{Key: d.string(), Parts: d.parts(), Tether: d.bool(), Program: d.bytes()}
	return m, d.finish()
}

func (d *decoder) parts() Parts {
	p := Parts(d.u8())
	if p >= partsEnd {
		d.err = fmt.Errorf("%w: parts %#x", ErrGarbage, uint8(p))
	}
	return p
}

// Held is a process in custody with the files that accompany the message.
type Held struct {
	Key   string
	Pid   int
	Parts Parts
}

// Append appends the encoded message.
func (m Held) Append(b []byte) []byte {
	return append(appendU32(appendString(b, m.Key), uint32(m.Pid)), byte(m.Parts))
}

// ParseHeld decodes a Held.
func ParseHeld(body []byte) (Held, error) {
	d := decoder{rest: body}
	m := Held{d.string(), int(d.u32()), d.parts()}
	return m, d.finish()
}

// Key is the body of the requests that name one thing.
type Key string

// Append appends the encoded message.
func (m Key) Append(b []byte) []byte { return appendString(b, string(m)) }

// ParseKey decodes a Key.
func ParseKey(body []byte) (Key, error) {
	d := decoder{rest: body}
	m := Key(d.string())
	return m, d.finish()
}

// Stop ends the keeper. Force kills the processes that still run.
type Stop struct {
	Force bool
}

// Append appends the encoded message.
func (m Stop) Append(b []byte) []byte { return appendBool(b, m.Force) }

// ParseStop decodes a Stop.
func ParseStop(body []byte) (Stop, error) {
	d := decoder{rest: body}
	m := Stop{d.bool()}
	return m, d.finish()
}

// Exit is the end of a process.
type Exit struct {
	Key    string
	Pid    int
	Status syscall.WaitStatus
	// Known is false where the status is lost: the process was not the keeper's child any more, and
	// the kernel (before 6.15) tells such a parent nothing. Status is then that of exit code 255.
	Known bool
	Time  time.Time
	// Dropped counts the bytes of output that could not be written into the log.
	Dropped uint64
}

// Append appends the encoded message.
func (m Exit) Append(b []byte) []byte {
	b = appendU32(appendU32(appendString(b, m.Key), uint32(m.Pid)), uint32(m.Status))
	return appendU64(appendU64(appendBool(b, m.Known), uint64(m.Time.UnixNano())), m.Dropped)
}

func (d *decoder) exit() Exit {
	return Exit{
		Key: d.string(), Pid: int(d.u32()), Status: syscall.WaitStatus(d.u32()),
		Known: d.bool(), Time: time.Unix(0, int64(d.u64())), Dropped: d.u64(),
	}
}

// ParseExit decodes an Exit.
func ParseExit(body []byte) (Exit, error) {
	d := decoder{rest: body}
	m := d.exit()
	return m, d.finish()
}
