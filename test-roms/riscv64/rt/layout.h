/* Offsets of `struct hart` that assembly uses; rt.c asserts each against the C structure. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define HART_X        0    /* x1..x31 of the code that trapped to M */
#define HART_SX       256  /* x1..x31 of the code that trapped to S */
#define HART_RESUME   512
#define HART_PROBE    520
#define HART_RUN_SP   528
#define HART_TRAP_SP  536
#define HART_STRAP_SP 544
#define HART_LOW_SP   552
#define HART_SLOT     560
#define HART_SPILL    568
#define HART_STACK    576

#define MAX_HARTS     8
#define STACK_SIZE    8192
#define TRAP_STACK    4096

#endif
