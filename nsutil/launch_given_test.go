package nsutil

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLaunchGivenTooMuch: who traces a child in a container has its end of the status channel, and gives descriptors without end.
// They are the launcher's only as far as the program gives some.
func TestLaunchGivenTooMuch(t *testing.T) {
	b := NewBuilder()
	b.Give("one", b.Open("/dev/null", unix.O_RDONLY))
	p := b.Program()
	parent, child, err := statusPair()
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	report := binary.NativeEndian.AppendUint32(nil, reportGive)
	report = append(report, make([]byte, reportSize-len(report))...)
	sent := make(chan int, 1)
	go func() { // ends with the channel, or when there is enough
		defer child.Close()
		n := 0
		for ; n < 100; n++ {
			if unix.Sendmsg(int(child.Fd()), report, unix.UnixRights(0, 0, 0, 0), nil, unix.MSG_NOSIGNAL) != nil {
				break
			}
		}
		sent <- n
	}()
	var st Started
	err = follow(p, parent, Watch{}, &st)
	if !errors.Is(err, errTooMuch) || len(st.Given) > 2*maxGive {
		t.Errorf("%d descriptors are taken, and the launch: %v", len(st.Given), err)
	}
	st.close()
	parent.Close()
	<-sent
}
