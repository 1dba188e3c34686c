package proto

// State of a process in custody.
type State uint8

// Launching processes have been asked for; their program has not come to its execve yet.
const (
	Launching State = iota + 1
	Running
	Exited
)

// Process is one entry of a Listing. Of Exit, only Key, Pid and Dropped have a meaning before the
// process has exited.
type Process struct {
	Exit
	State State
	Parts Parts // what is held of it
}

// Listing is all that a keeper holds.
type Listing struct {
	Processes []Process
	Stored    []string // keys of the file store
}

// exitSize is the least size of an encoded Exit.
const exitSize = 4 + 4 + 4 + 1 + 8 + 8

// Append appends the encoded message.
func (m Listing) Append(b []byte) []byte {
	b = appendU32(b, uint32(len(m.Processes)))
	for _, p := range m.Processes {
		b = append(p.Exit.Append(b), byte(p.State), byte(p.Parts))
	}
	b = appendU32(b, uint32(len(m.Stored)))
	for _, k := range m.Stored {
		b = appendString(b, k)
	}
	return b
}

// ParseListing decodes a Listing.
func ParseListing(body []byte) (Listing, error) {
	d := decoder{rest: body}
	m := Listing{Processes: make([]Process, d.count(exitSize+2))}
	for i := range m.Processes {
		m.Processes[i] = Process{d.exit(), State(d.u8()), d.parts()}
	}
	m.Stored = make([]string, d.count(4))
	for i := range m.Stored {
		m.Stored[i] = d.string()
	}
	return m, d.finish()
}
