/* Offsets of `struct trap` and `struct cpu` that assembly uses; rt.c asserts each against the C structures. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define TRAP_X      0 /* x0..x30 of the code that was interrupted */
#define TRAP_SP0    248
#define TRAP_CPU    256
#define TRAP_STACK  264
#define TRAP_VECTOR 272
#define TRAP_ESR    280
#define TRAP_ELR    288
#define TRAP_FAR    296
#define TRAP_SPSR   304
#define TRAP_HPFAR  312
#define TRAP_SIZE   336

#define CPU_RESUME  (3 * TRAP_SIZE)
#define CPU_PROBE   (CPU_RESUME + 8)
#define CPU_RUN_SP  (CPU_RESUME + 16)
#define CPU_LOW_SP  (CPU_RESUME + 24)
#define CPU_STACK   (CPU_RESUME + 32)

#define MAX_CPUS    8
#define STACK_SIZE  8192
#define LEVEL_STACK 4096
/* What code below the home level ends with, and what handlers below it tell the home level with. */
#define END_CALL    0xeee

#endif
