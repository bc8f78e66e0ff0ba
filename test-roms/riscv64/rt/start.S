/* Reset entry of every hart, the M and S trap entries, and the call into a lower privilege mode. */
#include "layout.h"

/* Save x1..x31 to \base(tp). The caller has put the hart pointer in tp and the interrupted tp in \scratch. */
.macro SAVE_ALL base, scratch
    sd x1, \base+8*1(tp)
    sd x2, \base+8*2(tp)
    sd x3, \base+8*3(tp)
    sd x5, \base+8*5(tp)
    sd x6, \base+8*6(tp)
    sd x7, \base+8*7(tp)
    sd x8, \base+8*8(tp)
    sd x9, \base+8*9(tp)
    sd x10, \base+8*10(tp)
    sd x11, \base+8*11(tp)
    sd x12, \base+8*12(tp)
    sd x13, \base+8*13(tp)
    sd x14, \base+8*14(tp)
    sd x15, \base+8*15(tp)
    sd x16, \base+8*16(tp)
    sd x17, \base+8*17(tp)
    sd x18, \base+8*18(tp)
    sd x19, \base+8*19(tp)
    sd x20, \base+8*20(tp)
    sd x21, \base+8*21(tp)
    sd x22, \base+8*22(tp)
    sd x23, \base+8*23(tp)
    sd x24, \base+8*24(tp)
    sd x25, \base+8*25(tp)
    sd x26, \base+8*26(tp)
    sd x27, \base+8*27(tp)
    sd x28, \base+8*28(tp)
    sd x29, \base+8*29(tp)
    sd x30, \base+8*30(tp)
    sd x31, \base+8*31(tp)
    csrr t0, \scratch
    sd t0, \base+8*4(tp)
    csrw \scratch, tp
.endm

.macro RESTORE_ALL base
    ld x1, \base+8*1(tp)
    ld x2, \base+8*2(tp)
    ld x3, \base+8*3(tp)
    ld x5, \base+8*5(tp)
    ld x6, \base+8*6(tp)
    ld x7, \base+8*7(tp)
    ld x8, \base+8*8(tp)
    ld x9, \base+8*9(tp)
    ld x10, \base+8*10(tp)
    ld x11, \base+8*11(tp)
    ld x12, \base+8*12(tp)
    ld x13, \base+8*13(tp)
    ld x14, \base+8*14(tp)
    ld x15, \base+8*15(tp)
    ld x16, \base+8*16(tp)
    ld x17, \base+8*17(tp)
    ld x18, \base+8*18(tp)
    ld x19, \base+8*19(tp)
    ld x20, \base+8*20(tp)
    ld x21, \base+8*21(tp)
    ld x22, \base+8*22(tp)
    ld x23, \base+8*23(tp)
    ld x24, \base+8*24(tp)
    ld x25, \base+8*25(tp)
    ld x26, \base+8*26(tp)
    ld x27, \base+8*27(tp)
    ld x28, \base+8*28(tp)
    ld x29, \base+8*29(tp)
    ld x30, \base+8*30(tp)
    ld x31, \base+8*31(tp)
    ld x4, \base+8*4(tp)
.endm

.section .text.start, "ax"
.globl _start
_start:
    /* a0 = hart id, a1 = flattened device tree. */
    csrw mie, zero
    csrw mip, zero
    csrw satp, zero
    csrw medeleg, zero
    csrw mideleg, zero
    li t0, MAX_HARTS
    bgeu a0, t0, park
    la tp, harts
    la t0, hart_size
    ld t0, 0(t0)
    mul t0, t0, a0
    add tp, tp, t0
    la t0, m_trap
    csrw mtvec, t0
    la t0, s_trap
    csrw stvec, t0
    csrw mscratch, tp
    csrw sscratch, tp
    li t0, HART_STACK + STACK_SIZE
    add sp, tp, t0
    li t0, TRAP_STACK
    add t1, sp, t0
    sd t1, HART_TRAP_SP(tp)
    add t1, t1, t0
    sd t1, HART_STRAP_SP(tp)
    add t1, t1, t0
    sd t1, HART_LOW_SP(tp)
    call hart_start
park:
    wfi
    j park

.section .text

.balign 256
.globl m_trap
m_trap:
    csrrw tp, mscratch, tp
    SAVE_ALL HART_X, mscratch
    ld sp, HART_TRAP_SP(tp)
    call m_trap_c
    bnez a0, run_return
    RESTORE_ALL HART_X
    mret

/* run() ends here: back in M-mode, with the registers that run() saved. */
run_return:
    ld sp, HART_RUN_SP(tp)
    sd zero, HART_RUN_SP(tp)
    ld ra, 0(sp)
    ld s0, 8(sp)
    ld s1, 16(sp)
    ld s2, 24(sp)
    ld s3, 32(sp)
    ld s4, 40(sp)
    ld s5, 48(sp)
    ld s6, 56(sp)
    ld s7, 64(sp)
    ld s8, 72(sp)
    ld s9, 80(sp)
    ld s10, 88(sp)
    ld s11, 96(sp)
    addi sp, sp, 112
    ret

.balign 256
.globl s_trap
s_trap:
    csrrw tp, sscratch, tp
    SAVE_ALL HART_SX, sscratch
    ld sp, HART_STRAP_SP(tp)
    call s_trap_c
    bnez a0, 1f
    RESTORE_ALL HART_SX
    sret
1:  ecall

/* void run(mode, pc, a0, a1, a2, a3): enter `pc` in `mode` (0 U, 1 S, 3 M); the next trap to M returns to the caller. */
.globl run
run:
    addi sp, sp, -112
    sd ra, 0(sp)
    sd s0, 8(sp)
    sd s1, 16(sp)
    sd s2, 24(sp)
    sd s3, 32(sp)
    sd s4, 40(sp)
    sd s5, 48(sp)
    sd s6, 56(sp)
    sd s7, 64(sp)
    sd s8, 72(sp)
    sd s9, 80(sp)
    sd s10, 88(sp)
    sd s11, 96(sp)
    sd sp, HART_RUN_SP(tp)
    csrw mepc, a1
    li t0, 3 << 11
    csrc mstatus, t0
    slli a0, a0, 11
    csrs mstatus, a0
    ld sp, HART_LOW_SP(tp)
    la ra, run_exit
    mv a0, a2
    mv a1, a3
    mv a2, a4
    mv a3, a5
    mret

/* Where code started by run() returns to. */
.balign 4
.globl run_exit
run_exit:
    ecall
    j run_exit

/* Vector tables for mtvec and stvec in vectored mode: note which entry was taken in hart->slot, go on as usual. */
.macro VECTORS name, scratch, common
.balign 256
.globl \name
\name:
    .option push
    .option norvc
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    j \name\()_\n
    .endr
    .option pop
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
\name\()_\n:
    csrrw tp, \scratch, tp
    sd t0, HART_SPILL(tp)
    li t0, \n
    sd t0, HART_SLOT(tp)
    ld t0, HART_SPILL(tp)
    csrrw tp, \scratch, tp
    j \common
    .endr
.endm

VECTORS m_vectors, mscratch, m_trap
VECTORS s_vectors, sscratch, s_trap
