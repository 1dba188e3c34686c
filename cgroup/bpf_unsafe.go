package cgroup

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfLoadAttr and bpfAttachAttr are the beginnings of union bpf_attr for two commands, linux/bpf.h.
type bpfLoadAttr struct {
	kind, count           uint32
	instructions, license unsafe.Pointer
	logLevel, logSize     uint32
	log                   unsafe.Pointer
	kernelVersion, flags  uint32
	name                  [unix.BPF_OBJ_NAME_LEN]byte
}

type bpfAttachAttr struct {
	target, program, kind, flags uint32
}

// bpfLoad has the kernel verify a device filter and returns its descriptor, close-on-exec.
func bpfLoad(code []instruction) (int, error) {
	license := [...]byte{0} // no helper is called that would ask for one
	attr := bpfLoadAttr{
		kind:         unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		count:        uint32(len(code)),
		instructions: unsafe.Pointer(unsafe.SliceData(code)),
		license:      unsafe.Pointer(&license),
	}
	copy(attr.name[:], "tare_devices")
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	return int(fd), err
}

// bpfAttach puts a device filter on an open cgroup directory.
func bpfAttach(dir, program int) error {
	attr := bpfAttachAttr{uint32(dir), uint32(program), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (uintptr, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		switch errno {
		case 0:
			return r, nil
		case unix.EINTR, unix.EAGAIN: // bpf(2): the verifier was interrupted
		default:
			return 0, os.NewSyscallError("bpf", errno)
		}
	}
}
