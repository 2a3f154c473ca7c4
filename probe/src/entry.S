/* Where redirected calls and the starts of functions arrive: entries, then one way into vmon_hook() and out of it. The
 * host writes what only it knows: the jumps from an entry to the function that was called and from vmon_k_* to the
 * kernel, and the nop that stood at a function's start. A hook is reached by its entry of one kind or of the other.
 */
#include "vmon_abi.h"

/* Most calls end at the gate: nobody wants to know of them. Goes on at 0 where the call may go on. */
	.macro judge number, refusal
	cmpb $0, VMON_WINDOW + VMON_CONFIG_AT + VMON_GATES + \number
	je 0f
	push $\number
	call enter
	lea 8(%rsp), %rsp
	test %r11, %r11
	.byte 0x0f, 0x85 /* jne rel32: never the short form, so that all entries are alike */
	.long \refusal - . - 4
	.endm

	.section .text.hooks, "ax"
	.globl vmon_hooks
vmon_hooks:
	.set number, 0
	.rept VMON_HOOKS
	.org vmon_hooks + number * VMON_HOOK_SIZE, 0xcc
	judge number, refuse
	/* jmp rel32 to the original function; until the host has written it, back to the caller with 0. */
0:	xor %eax, %eax
	ret
	.byte 0xcc, 0xcc
	.set number, number + 1
	.endr
	.org vmon_hooks + VMON_HOOKS * VMON_HOOK_SIZE, 0xcc

	.section .text.kfuncs, "ax"
	.balign VMON_KFUNC_SIZE, 0xcc
	.globl vmon_kfuncs
vmon_kfuncs:
	.rept VMON_KFUNCS
	.balign VMON_KFUNC_SIZE, 0xcc
	xor %eax, %eax
	ret
	.endr
	.balign VMON_KFUNC_SIZE, 0xcc

/* In the order of enum vmon_kfunc. */
	.set number, 0
	.irp name, clock, find_pid, pid_task, kill_pid, send_sig, get_pages, copy_user, sleep
	.globl vmon_k_\name
	.set vmon_k_\name, vmon_kfuncs + number * VMON_KFUNC_SIZE
	.set number, number + 1
	.endr

	/* Called where a compiler calls __fentry__, in place of its nop: the stack holds where the function goes on, above
	 * it where its caller does. All arguments are live, %rax too; nothing else is (as ftrace has it).
	 */
	.section .text.entries, "ax"
	.globl vmon_entries
vmon_entries:
	.set number, 0
	.rept VMON_HOOKS
	.org vmon_entries + number * VMON_ENTRY_SIZE, 0xcc
	judge number, refuse_function
0:	.byte 0x0f, 0x1f, 0x44, 0x00, 0x00 /* the nop of the function, as it stood there */
	ret
	.set number, number + 1
	.endr
	.org vmon_entries + VMON_HOOKS * VMON_ENTRY_SIZE, 0xcc

	.section .text.enter, "ax"
refuse_function: /* it is never entered: its caller goes on */
	lea 8(%rsp), %rsp
refuse:
	mov %r11, %rax
	ret

/* Everything that the called function may expect is kept; r10 and r11 are anybody's. */
enter:
	push %rax
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %r8
	push %r9
	mov 64(%rsp), %edi
	mov %rsp, %rsi
	cld
	call vmon_hook
	mov %rax, %r11
	pop %r9
	pop %r8
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	pop %rax
	ret

	.section .note.GNU-stack, "", @progbits
