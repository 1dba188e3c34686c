package bridge

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBatchNamesWhatFailed(t *testing.T) {
	sock, err := rtnetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	var b batch
	b.look("lo")
	b.look("tarenosuch")
	b.look("lo")
	if _, err := b.do(sock); !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "look at tarenosuch: ") {
		t.Errorf("error %v", err)
	}
}

func TestBatchAnswersInOrder(t *testing.T) {
	sock, err := rtnetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	for range 2 { // a socket is used again
		var b batch
		b.look("lo")
		b.look("lo")
		links, err := b.do(sock)
		if err != nil {
			t.Fatal(err)
		}
		if len(links) != 2 || links[0].index != 1 || links[1].index != 1 { // lo is the first of a namespace (net_dev_init)
			t.Errorf("links %v", links)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for _, row := range [][2]string{{"10.88.3.7/16", "10.88.255.255"}, {"192.0.2.66/26", "192.0.2.127"}, {"192.0.2.1/30", "192.0.2.3"}} {
		got, _ := netip.AddrFromSlice(broadcast(netip.MustParsePrefix(row[0])))
		if got.String() != row[1] {
			t.Errorf("broadcast of %s is %s, not %s", row[0], got, row[1])
		}
	}
}
