package nsutil

const pauseMachine = 62 // EM_X86_64

// pauseCode is: again: mov $34, %eax (pause); syscall; jmp again.
var pauseCode = []byte{0xb8, 0x22, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xf7}
