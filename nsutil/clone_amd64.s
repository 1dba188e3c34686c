#include "textflag.h"

#define SYS_clone3 435
#define SIZE_clone_args 88
#define SYS_write 1
#define SYS_exit_group 231
#define SIZE_report 16
#define farewell_value 8
#define farewell_status 16

// func clone3(args *cloneArgs, size uintptr, run uintptr, c *child) (pid, errno uintptr)
//
// R12 and R13 survive the system call, on both sides (clone(2), "C library/kernel differences"). run is
// called as Go calls it, not by an ABI0 wrapper, which would ask the thread for its goroutine: arguments are in AX,
// BX and CX, results in the same, no register is preserved, X15 is zero (cmd/compile/abi-internal.md).
TEXT ·clone3(SB),NOSPLIT,$0-48
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	run+16(FP), R13
	MOVQ	c+24(FP), R12
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	MOVQ	AX, pid+32(FP)
	MOVQ	$0, errno+40(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+32(FP)
	MOVQ	AX, errno+40(FP)
	RET
child:	// on a stack of its own, which is empty
	XORL	BX, BX
run:	// run(c, BX, CX); it returns when the program forks, with the arguments, a new CX, and a farewell or nil
	XORL	BP, BP
	XORL	R14, R14
	XORPS	X15, X15
	SUBQ	$64, SP	// below: room to spill the arguments
	MOVQ	R12, 40(SP)
	MOVQ	R13, 48(SP)
	MOVQ	R12, AX
	CALL	R13
	MOVQ	40(SP), R12
	MOVQ	48(SP), R13
	MOVQ	CX, R14
	TESTQ	R14, R14
	JZ	again
	MOVQ	farewell_status(R14), R15
again:
	MOVQ	AX, DI	// BX survives the system call, CX does not
	MOVQ	$SIZE_clone_args, SI
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	JLT	return
	TESTQ	R14, R14
	JNZ	end
return:
	MOVQ	BX, CX
	MOVQ	AX, BX
	JMP	run
end:	// no stack from here on, and no memory but for the kernel to read: others may write to it
	MOVQ	AX, farewell_value(R14)
	MOVQ	R15, DI
	MOVQ	R14, SI
	MOVQ	$SIZE_report, DX
	MOVQ	$SYS_write, AX
	SYSCALL
	XORL	DI, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	INT	$3	// not reached
