#!/bin/bash
# QEMU 7.2 (TCG, x86-64): after LOCK CMPXCHG16B the flags other than ZF are not those from before it, as the instruction's definition
# says, but are computed from a stale note of which operation set them last. Where the last one noted was POPF, the source operand of
# the addition in between is taken for the flags: here its bits 0x400 and 0x800 appear as DF and OF.
#
# Seen: qemu-user-static 1:7.2+dfsg-7 of Debian 12 prints e42; a processor, and QEMU 10.0 of Debian 13, print 242.
# Cause, read in target/i386/tcg of 7.2: the translation of CMPXCHG16B does not store the pending cc_op before it calls the helper,
# which computes all flags from the stored one.
# Why it matters: a kernel tests ZF only and does not notice, until an interrupt arrives right after the instruction and puts the flags
# on its stack. A machine emulated by 7.2 then dies in kmem_cache_alloc, once in some hundred boots, with bits above 0xffff in EFLAGS.
# A processor model without the feature (-cpu max,-cx16) avoids it.
set -euo pipefail
. "$(dirname "$0")/debian"

debian bookworm qemu-user-static=1:7.2+dfsg-7+deb12u18+b3
debian trixie qemu-user=1:10.0.13+ds-0+deb13u1

cat >"$work/flags.s" <<'ASM'
	.globl main
	.text
main:
	subq $56, %rsp
	andq $-16, %rsp
	movq $1, (%rsp)
	movq $2, 8(%rsp)
	movl $1, %eax
	movl $2, %edx
	movl $1, %ebx
	movl $2, %ecx
	pushq $2
	popfq
	movl $0x40, %r8d
	movl $0xc00, %r9d
	addl %r9d, %r8d
	lock cmpxchg16b (%rsp)
	pushfq
	popq %rsi
	cld
	leaq format(%rip), %rdi
	xorl %eax, %eax
	call printf
	xorl %edi, %edi
	call exit
	.section .rodata
format:	.asciz "%lx\n"
	.section .note.GNU-stack,"",@progbits
ASM
gcc -static -o "$work/flags" "$work/flags.s"

expect 'this processor' "$("$work/flags")" 242
expect 'QEMU 7.2' "$("$work/bookworm/usr/bin/qemu-x86_64-static" "$work/flags")" e42
expect 'QEMU 10.0' "$("$work/trixie/usr/bin/qemu-x86_64" "$work/flags")" 242
