package logs

import (
	"bytes"
	"time"
)

// maxContent is the most content of one record; longer lines are cut into several.
const maxContent = 16 << 10

// format turns chunks of one stream into records.
type format struct {
	stream string
	tty    bool // strip the \r of \r\n

	head []byte // time and stream, of the chunk in work
	open bool   // the last record was P: a line has begun
}

// begin sets the time of the records to come. Fractions of a second are as short as they can be,
// time.RFC3339Nano, as containerd's.
func (f *format) begin(now time.Time) {
	f.head = now.UTC().AppendFormat(f.head[:0], time.RFC3339Nano)
	f.head = append(append(append(f.head, ' '), f.stream...), ' ')
}

// next appends the first record that data allows and returns how much of data it took: 0 when
// data holds no end of a line and less than a record's most.
func (f *format) next(out, data []byte) ([]byte, int) {
	window := data
	if len(window) > maxContent+1 {
		window = window[:maxContent+1]
	}
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		line := window[:i]
		if f.tty && i > 0 && line[i-1] == '\r' {
			line = line[:i-1]
		}
		return f.record(out, 'F', line), i + 1
	}
	if len(data) <= maxContent {
		return out, 0
	}
	piece := data[:maxContent]
	if f.tty && piece[maxContent-1] == '\r' {
		piece = piece[:maxContent-1] // its \n may be next
	}
	return f.record(out, 'P', piece), len(piece)
}

// rest appends what is left of data as a record whose line has no end yet.
func (f *format) rest(out, data []byte) []byte {
	if len(data) == 0 {
		return out
	}
	return f.record(out, 'P', data)
}

func (f *format) record(out []byte, tag byte, content []byte) []byte {
	f.open = tag == 'P'
	out = append(append(out, f.head...), tag, ' ')
	return append(append(out, content...), '\n')
}
