package nsutil

import "golang.org/x/sys/unix"

const (
	pauseMachine = 62 // EM_X86_64
	pauseArch    = unix.AUDIT_ARCH_X86_64
	pauseCall    = unix.SYS_PAUSE
)

// pauseCode is: again: mov $34, %eax (pause); syscall; jmp again.
var pauseCode = []byte{0xb8, 0x22, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xf7}
