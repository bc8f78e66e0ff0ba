/* The runtime that all ROMs share: CPUs, exceptions, registers of the board.
 *
 * A ROM defines `rom_name` and `rom_main(void)`; every CPU calls rom_main at the exception level at which the machine has
 * entered the program (its home), and CPU 0 ends the program when all have returned. The stage 1 translation of that level
 * is off until mmu_on(). */
#ifndef RT_H
#define RT_H

#include "common.h"
#include "layout.h"

/* What an exception has left. */
struct trap {
    u64 x[31];
    u64 sp0;
    struct cpu *cpu;
    u8 *stack;
    u64 vector; /* number of the entry: 4 * where from + kind */
    u64 esr, elr, far, spsr, hpfar;
    u64 count; /* synchronous exceptions and SErrors since trap_clear() */
    u64 pc;    /* elr as the exception has left it; elr is where a handler goes on */
} __attribute__((aligned(16)));

struct cpu {
    struct trap t[3]; /* of EL1 to EL3 */
    u64 resume;       /* where to go on after the exception that TRY expects, 0 for none */
    u64 probe;        /* address of the instruction that is expected to raise one */
    u64 run_sp;       /* stack of the caller of run(), 0 outside */
    u64 low_sp;       /* stack top for code that run() starts */
    u8 stacks[STACK_SIZE + 4 * LEVEL_STACK] __attribute__((aligned(16)));
    u64 id;
    u64 home; /* exception level */
    u64 checks;
    const char *variant; /* which variant of the checks is running: put in front of failure messages */
    u64 item;            /* its number in a loop of the ROM, the same */
    u64 last;            /* the level of the last exception */
    /* Handles an interrupt or an exception at a level: true if the interrupted code goes on at t->elr. */
    bool (*hook)(struct trap *t, u64 level);
    u32 code[64] __attribute__((aligned(64))); /* run_insns() puts its program here */
    u64 data[64] __attribute__((aligned(64))); /* for the program to work on */
} __attribute__((aligned(4096)));

extern struct cpu cpus[MAX_CPUS];
register struct cpu *cpu __asm__("x18");
#define this_cpu cpu
#define CPU_WORD "cpu"

/* False in a ROM in which CPU 0 begins alone. */
extern bool rom_starts_all;
void _start(void);

/* ---- the machine ---- */

extern u64 gic_version;
/* How PSCI is called: 'h' or 's'; 0 if there is none. */
extern u8 psci_conduit;
i64 psci(u64 function, u64 a, u64 b, u64 c);
#define PSCI_VERSION 0x84000000ul
#define PSCI_SUSPEND 0xc4000001ul
#define PSCI_CPU_OFF 0x84000002ul
#define PSCI_CPU_ON 0xc4000003ul
#define PSCI_AFFINITY 0xc4000004ul
#define PSCI_OFF 0x84000008ul
#define PSCI_RESET 0x84000009ul
#define PSCI_FEATURES 0x8400000aul
/* Begin a CPU at _start; waits until it is in rom_main if `rom_starts_all`. */
void start_cpu(u64 id);

/* ---- exceptions ---- */

#define EC(class) ((u64)(class) << 26 | 1ul << 25)
#define UNKNOWN 0x00
#define WFX 0x01
#define FP_ACCESS 0x07
#define ILLEGAL_STATE 0x0e
#define SVC 0x15
#define HVC 0x16
#define SMC 0x17
#define SYSTEM 0x18
#define IABORT 0x20 /* from a lower level; from the same one it is one more, as with the other pairs */
#define PC_ALIGNMENT 0x22
#define DABORT 0x24
#define SP_ALIGNMENT 0x26
#define BREAKPOINT 0x30
#define STEP 0x32
#define WATCHPOINT 0x34
#define BRK 0x3c
#define WNR (1ul << 6)
#define S1PTW (1ul << 7)
/* Fault status codes, to which the level is added. */
#define SIZE_FAULT 0x00
#define TRANSLATION_FAULT 0x04
#define AF_FAULT 0x08
#define PERMISSION_FAULT 0x0c
#define EXTERNAL 0x10
#define ALIGNMENT 0x21
/* The syndrome of a trapped access to a system register. */
#define SYSTEM_ISS(op0, op1, crn, crm, op2, rt, read)                                                            \
    ((u64)(op0) << 20 | (op2) << 17 | (op1) << 14 | (crn) << 10 | (rt) << 5 | (crm) << 1 | (read))

/* PSTATE for run(): interrupts masked. */
#define DAIF (15ul << 6)
#define F_MASK (1ul << 6)
#define I_MASK (1ul << 7)
#define A_MASK (1ul << 8)
#define D_MASK (1ul << 9)
#define EL0T (DAIF | 0)
#define EL1T (DAIF | 4)
#define EL1H (DAIF | 5)
#define EL2T (DAIF | 8)
#define EL2H (DAIF | 9)
#define EL3H (DAIF | 13)

void trap_clear(void);
void run(u64 pstate, const void *pc, u64 x0, u64 x1, u64 x2, u64 x3);
extern const u8 run_exit[], vectors_el1[], vectors_el2[], vectors_el3[];
/* Run up to 62 instruction words, ended by SVC; cpu->probe is the address of the first. Gives x0 afterwards. */
u64 run_insns(u64 pstate, const u32 *words, u64 n, u64 x0, u64 x1);
u64 run_insn(u64 pstate, u32 word, u64 x0, u64 x1);
/* The last exception. */
struct trap *last_trap(void);
/* The last TRY or run_insns has raised one exception, at the probed instruction, taken to `level` with this syndrome. */
void check_trap(const char *name, u64 level, u64 esr);
/* The same, and the fault address. */
void check_abort(const char *name, u64 level, u64 esr, u64 far);
/* The last TRY has raised none, the program of the last run_insns has come to its end. */
void check_no_trap(const char *name);
/* Lets the CPU execute what was written at `at`. */
void sync_code(const void *at, u64 bytes);

/* Run `insn` (assembly text) here, catching the exception it may raise. */
#define TRY(insn, outs, ...)                                                                                     \
    do {                                                                                                         \
        trap_clear();                                                                                            \
        __asm__ volatile("adr x16, 9f\nstr x16, [x18, %[h_resume]]\nadr x16, 8f\nstr x16, [x18, %[h_probe]]\n"   \
                         "8: " insn "\n9: str xzr, [x18, %[h_resume]]\n"                                         \
                         : outs                                                                                  \
                         : __VA_ARGS__ __VA_OPT__(, )[h_resume] "i"(CPU_RESUME), [h_probe] "i"(CPU_PROBE)       \
                         : "x16", "memory");                                                                     \
    } while (0)
#define NO_OUT

/* ---- registers and instructions ---- */

#define read_sys(name)                                                                                           \
    ({                                                                                                           \
        u64 v_;                                                                                                  \
        __asm__ volatile("mrs %0, " name : "=r"(v_)::"memory");                                                  \
        v_;                                                                                                      \
    })
#define write_sys(name, v) __asm__ volatile("msr " name ", %0\nisb" ::"r"((u64)(v)) : "memory")
#define isb() __asm__ volatile("isb" ::: "memory")
#define dsb() __asm__ volatile("dsb sy" ::: "memory")
#define relax() __asm__ volatile("yield" ::: "memory")
#define wfe() __asm__ volatile("wfe" ::: "memory")
#define wfi() __asm__ volatile("wfi" ::: "memory")
#define sev() __asm__ volatile("sev" ::: "memory")
#define tlbi(what) __asm__ volatile("dsb sy\ntlbi " what "\ndsb sy\nisb" ::: "memory")
#define tlbi_va(what, v) __asm__ volatile("dsb sy\ntlbi " what ", %0\ndsb sy\nisb" ::"r"((u64)(v)) : "memory")
#define at(what, va) __asm__ volatile("at " what ", %0\nisb" ::"r"((u64)(va)) : "memory")

/* Field of an identification register. */
static inline u64 field(u64 value, u64 shift) { return value >> shift & 15; }

/* Encodings for run_insns. */
#define NOP 0xd503201fu
#define RET 0xd65f03c0u
#define SVC_(n) (0xd4000001u | (n) << 5)
#define HVC_(n) (0xd4000002u | (n) << 5)
#define SMC_(n) (0xd4000003u | (n) << 5)
#define BRK_(n) (0xd4200000u | (n) << 5)
#define LDR_X0_X0 0xf9400000u
#define STR_X1_X0 0xf9000001u
#define MRS_X0(op0, op1, crn, crm, op2)                                                                          \
    (0xd5200000u | (op0) << 19 | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)
#define MSR_X0(op0, op1, crn, crm, op2) (MRS_X0(op0, op1, crn, crm, op2) & ~(1u << 21))

/* ---- translation ---- */

/* Turns stage 1 of the home level on: memory as it is, devices below 1 GiB; EL0 may access nothing. */
void mmu_on(void);
#define VALID 1ul
#define TABLE 3ul
#define PAGE 3ul
#define AF (1ul << 10)
#define INNER (3ul << 8)
#define DEVICE_MEMORY (1ul << 2) /* attribute 1 of MAIR */
#define MAIR 0x00fful

/* ---- memory-mapped registers of the board ---- */

#define FDT 0x40000000ul
#define UART 0x09000000ul
#define RTC 0x09010000ul
#define GICD 0x08000000ul
#define GICC 0x08010000ul
#define GITS 0x08080000ul
#define GICR 0x080a0000ul
#define RAM 0x40000000ul
/* 1 MiB of RAM for each CPU that no ROM's image reaches, aligned to its size. */
#define SCRATCH (RAM + (64ul << 20) + (cpu->id << 20))
/* Nothing answers here. */
#define HOLE 0x0d000000ul

#endif
