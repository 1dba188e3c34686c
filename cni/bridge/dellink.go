package bridge

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// parallelDeletes bounds the threads that wait in the kernel for the end of a deletion.
	parallelDeletes = 16
	// deleteTimeout is far beyond what a deletion takes until it is seen.
	deleteTimeout = 10 * time.Second
)

// deleteLink deletes the link of this name and returns once it is out of the namespace's list
// and off its bridge; no such link is success.
//
// The kernel acknowledges only after rcu_barrier() (netdev_run_todo, net/core/dev.c): 20 to
// 50 ms in which nobody can see the link any more. NLM_F_ECHO has it tell the requester of
// the removal when that happens, 0.5 ms after the start (since Linux 6.2, commit
// d88e136cab37; before, the acknowledgement comes first, and late). The rest of the call is
// spent by a goroutine that ends with sendto(2), and that Close waits for.
func (p *Plugin) deleteLink(name string) error {
	sock, err := rtnetlink()
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK|unix.NLM_F_ECHO)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))

	p.deleting <- struct{}{}
	verdict, answered := make(chan error, 1), make(chan struct{})
	p.wg.Go(func() { // ends with the first answer, or at the deadline
		defer close(answered)
		verdict <- awaitDeletion(sock, req.Seq)
	})
	p.wg.Go(func() { // ends when the kernel is done
		defer func() { <-p.deleting }()
		defer sock.Close()
		if err := send(sock, req.Serialize()); err != nil {
			sock.SetReadDeadline(time.Unix(1, 0)) // no answer will come
		}
		<-answered
	})
	if err := <-verdict; err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// rtnetlink opens a socket whose reads the runtime's poller waits for.
func rtnetlink() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	sock := os.NewFile(uintptr(fd), "rtnetlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), sock.Close())
	}
	return sock, nil
}

// send passes one request to the kernel, which works on it before sendto(2) returns.
func send(sock *os.File, request []byte) error {
	conn, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = conn.Control(func(fd uintptr) {
		sendErr = unix.Sendto(int(fd), request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	return errors.Join(err, os.NewSyscallError("sendto", sendErr))
}

// awaitDeletion reads until the kernel has told that the link is gone, or why not.
func awaitDeletion(sock *os.File, seq uint32) error {
	if err := sock.SetReadDeadline(time.Now().Add(deleteTimeout)); err != nil {
		return err
	}
	buf := make([]byte, 1<<14) // one link message with statistics is about 2 KiB
	for {
		n, err := sock.Read(buf)
		if err != nil {
			return err
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range msgs {
			switch {
			case m.Header.Seq != seq:
			case m.Header.Type == unix.RTM_DELLINK:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR:
				return errno(m.Data)
			}
		}
	}
}

// errno reads the payload of NLMSG_ERROR, netlink(7); 0 acknowledges.
func errno(data []byte) error {
	if len(data) < 4 {
		return unix.EBADMSG
	}
	if n := int32(nl.NativeEndian().Uint32(data)); n != 0 {
		return os.NewSyscallError("rtnetlink", syscall.Errno(-n))
	}
	return nil
}
