/* Entry of every CPU, the vectors of all exception levels, and the call into a lower exception level.
 *
 * The runtime's own code runs at the level at which it was entered, its home, with SP_EL0 for a stack. SP_EL1 to SP_EL3
 * point to the CPU's `struct trap` of that level. */
#include "layout.h"

.section .text.start, "ax"
.globl _start
_start:
    msr daifset, #15
    mrs x0, mpidr_el1
    and x0, x0, #0xff
    cmp x0, #MAX_CPUS
    b.hs park
    adrp x18, cpus
    add x18, x18, :lo12:cpus
    adrp x1, cpu_size
    ldr x1, [x1, :lo12:cpu_size]
    madd x18, x0, x1, x18
    add x3, x18, #TRAP_SIZE
    add x4, x18, #2*TRAP_SIZE
    adr x5, vectors_el1
    mrs x2, CurrentEL
    cmp x2, #8
    b.eq 2f
    b.hi 3f
    mov sp, x18
    b 1f
3:  mov sp, x4
    msr sp_el2, x3
    msr sp_el1, x18
    adr x6, vectors_el3
    msr vbar_el3, x6
    adr x6, vectors_el2
    msr vbar_el2, x6
    b 1f
2:  mov sp, x3
    msr sp_el1, x18
    adr x6, vectors_el2
    msr vbar_el2, x6
1:  msr vbar_el1, x5
    isb
    msr spsel, #0
    mov x5, #CPU_STACK + STACK_SIZE
    add x5, x18, x5
    mov sp, x5
    bl cpu_start
park:
    wfi
    b park

.section .text

.macro LEVEL el
.balign 2048
.globl vectors_el\el
vectors_el\el:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    stp x0, x1, [sp, #TRAP_X]
    mov x0, #\n
    b common_el\el
    .endr

common_el\el:
    stp x2, x3, [sp, #TRAP_X+16]
    stp x4, x5, [sp, #TRAP_X+32]
    stp x6, x7, [sp, #TRAP_X+48]
    stp x8, x9, [sp, #TRAP_X+64]
    stp x10, x11, [sp, #TRAP_X+80]
    stp x12, x13, [sp, #TRAP_X+96]
    stp x14, x15, [sp, #TRAP_X+112]
    stp x16, x17, [sp, #TRAP_X+128]
    stp x18, x19, [sp, #TRAP_X+144]
    stp x20, x21, [sp, #TRAP_X+160]
    stp x22, x23, [sp, #TRAP_X+176]
    stp x24, x25, [sp, #TRAP_X+192]
    stp x26, x27, [sp, #TRAP_X+208]
    stp x28, x29, [sp, #TRAP_X+224]
    mrs x1, sp_el0
    stp x30, x1, [sp, #TRAP_X+240]
    ldr x18, [sp, #TRAP_CPU]
    mrs x1, esr_el\el
    stp x0, x1, [sp, #TRAP_VECTOR]
    mrs x0, elr_el\el
    mrs x1, far_el\el
    stp x0, x1, [sp, #TRAP_ELR]
    mrs x0, spsr_el\el
    .if \el == 2
    mrs x1, hpfar_el2
    .else
    mov x1, #0
    .endif
    stp x0, x1, [sp, #TRAP_SPSR]
    mov x19, sp
    ldr x1, [sp, #TRAP_STACK]
    mov sp, x1
    mov x0, x19
    mov x1, #\el
    bl trap_c
    mov sp, x19
    cbz x0, 1f
    cmp x0, #2
    b.lo run_return
    b.hi 3f
    hvc #END_CALL
3:  smc #END_CALL
1:  ldr x0, [sp, #TRAP_ELR]
    msr elr_el\el, x0
    ldr x0, [sp, #TRAP_SPSR]
    msr spsr_el\el, x0
    ldp x30, x1, [sp, #TRAP_X+240]
    msr sp_el0, x1
    ldp x0, x1, [sp, #TRAP_X]
    ldp x2, x3, [sp, #TRAP_X+16]
    ldp x4, x5, [sp, #TRAP_X+32]
    ldp x6, x7, [sp, #TRAP_X+48]
    ldp x8, x9, [sp, #TRAP_X+64]
    ldp x10, x11, [sp, #TRAP_X+80]
    ldp x12, x13, [sp, #TRAP_X+96]
    ldp x14, x15, [sp, #TRAP_X+112]
    ldp x16, x17, [sp, #TRAP_X+128]
    ldp x18, x19, [sp, #TRAP_X+144]
    ldp x20, x21, [sp, #TRAP_X+160]
    ldp x22, x23, [sp, #TRAP_X+176]
    ldp x24, x25, [sp, #TRAP_X+192]
    ldp x26, x27, [sp, #TRAP_X+208]
    ldp x28, x29, [sp, #TRAP_X+224]
    eret
.endm

LEVEL 1
LEVEL 2
LEVEL 3

/* run() ends here, at home, with the registers that run() has saved. */
run_return:
    msr spsel, #0
    ldr x0, [x18, #CPU_RUN_SP]
    str xzr, [x18, #CPU_RUN_SP]
    mov sp, x0
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    add sp, sp, #96
    ret

/* void run(pstate, pc, x0, x1, x2, x3): go on at `pc` with this PSTATE; the next exception that no hook handles returns to
   the caller. */
.globl run
run:
    sub sp, sp, #96
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    mov x9, sp
    str x9, [x18, #CPU_RUN_SP]
    mrs x9, CurrentEL
    cmp x9, #8
    b.eq 2f
    b.hi 3f
    msr elr_el1, x1
    msr spsr_el1, x0
    b 1f
2:  msr elr_el2, x1
    msr spsr_el2, x0
    b 1f
3:  msr elr_el3, x1
    msr spsr_el3, x0
1:  mov x0, x2
    mov x1, x3
    mov x2, x4
    mov x3, x5
    ldr x9, [x18, #CPU_LOW_SP]
    mov sp, x9
    adr x30, run_exit
    eret

/* Where a function that was started by run() returns to. */
.globl run_exit
run_exit:
    svc #END_CALL
    b run_exit
