#include "textflag.h"

#define SYS_clone3 435
#define SIZE_clone_args 88
#define SYS_write 64
#define SYS_exit_group 94
#define SIZE_report 16
#define farewell_value 8
#define farewell_status 16

// func clone3(args *cloneArgs, size uintptr, run uintptr, c *child) (pid, errno uintptr)
//
// R19 and R20 survive the system call, on both sides (clone(2), "C library/kernel differences"). run is
// called as Go calls it: arguments are in R0 to R2, results in the same, no register is preserved
// (cmd/compile/abi-internal.md).
TEXT ·clone3(SB),NOSPLIT,$0-48
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	run+16(FP), R20
	MOVD	c+24(FP), R19
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCC	started
	NEG	R0, R0
	MOVD	ZR, pid+32(FP)
	MOVD	R0, errno+40(FP)
	RET
started:
	MOVD	R0, pid+32(FP)
	MOVD	ZR, errno+40(FP)
	RET
child:	// on a stack of its own, which is empty
	MOVD	ZR, R1
run:	// run(c, R1, R2); it returns when the program forks, with the arguments, a new R2, and a farewell or nil
	MOVD	ZR, R29
	MOVD	ZR, g
	SUB	$64, RSP	// below: room to spill the arguments
	MOVD	R19, 40(RSP)
	MOVD	R20, 48(RSP)
	MOVD	R19, R0
	CALL	(R20)
	MOVD	40(RSP), R19
	MOVD	48(RSP), R20
	MOVD	R1, R21
	MOVD	R2, R22
	CBZ	R22, again
	MOVD	farewell_status(R22), R23
again:
	MOVD	$SIZE_clone_args, R1
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	TBNZ	$63, R0, return
	CBNZ	R22, end
return:
	MOVD	R21, R2
	MOVD	R0, R1
	B	run
end:	// no stack from here on, and no memory but for the kernel to read: others may write to it
	MOVD	R0, farewell_value(R22)
	MOVD	R23, R0
	MOVD	R22, R1
	MOVD	$SIZE_report, R2
	MOVD	$SYS_write, R8
	SVC
	MOVD	ZR, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK	// not reached
