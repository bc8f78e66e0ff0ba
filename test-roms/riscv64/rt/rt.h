/* The runtime that all ROMs share: harts, traps, checks, text out.
 *
 * A ROM defines `rom_name` and `rom_main(void)`; every hart calls rom_main, and hart 0 ends the program when all
 * have returned. Inside, `tp` points to the calling hart's `struct hart` in every privilege mode. */
#ifndef RT_H
#define RT_H

#include "csr.h"
#include "layout.h"
#include "common.h"

#define U 0ul
#define S 1ul
#define M 3ul

/* What a trap left in the CSRs. */
struct trap {
    u64 count; /* traps since trap_clear() */
    u64 cause;
    u64 tval;
    u64 epc;
    u64 status; /* mstatus or sstatus as the handler found it */
};

/* Outcome of a trap hook. */
enum action {
    PASS,   /* not handled: do what would be done without a hook */
    RESUME, /* return from the trap, to xepc as the hook left it */
    END_RUN /* S hook: ecall; M hook: return from run() */
};

struct hart {
    u64 x[32];
    u64 sx[32];
    u64 resume;   /* where to go on after the trap that TRY expects, 0 for none */
    u64 probe;    /* address of the instruction that TRY expects to trap */
    u64 run_sp;   /* stack of the caller of run(), 0 outside */
    u64 trap_sp;  /* stack tops */
    u64 strap_sp;
    u64 low_sp;   /* for code in S and U mode */
    u64 slot;     /* entry of m_vectors or s_vectors that was taken last */
    u64 spill;
    u8 stacks[STACK_SIZE + 3 * TRAP_STACK] __attribute__((aligned(16)));
    u64 id;
    u64 checks;
    const char *variant; /* which variant of the checks is running: put in front of failure messages */
    u64 item;            /* its number in a loop of the ROM, the same */
    struct trap m; /* the last trap to M */
    struct trap s; /* the last trap to S */
    enum action (*m_hook)(void);
    enum action (*s_hook)(void);
    u64 s_resume; /* where the S handler goes on, once; 0: it ends the run by an ecall */
    u32 code[64] __attribute__((aligned(64))); /* run_insns() puts its program here */
    u64 data[64] __attribute__((aligned(64))); /* for the program to work on */
} __attribute__((aligned(4096)));

extern struct hart harts[MAX_HARTS];
register struct hart *hart __asm__("tp");
#define this_cpu hart
#define CPU_WORD "hart"

/* ---- the machine, from the device tree ---- */

/* True if `riscv,isa-extensions` names `ext`. Optional features must work if named, and be absent if not. */
bool has(const char *ext);
/* Of the largest translation mode, from `mmu-type`: 3 for Sv39 to 5 for Sv57. */
u64 page_table_levels(void);

/* ---- checks ---- */

/* The last TRY or run_insns trapped to M, once, at the probed instruction, with this cause and tval. */
void check_trap(const char *name, u64 cause, u64 tval);
/* As check_trap, for a tval that the architecture lets be either zero or `tval`. */
void check_trap_or0(const char *name, u64 cause, u64 tval);
/* The last TRY did not trap. */
void check_no_trap(const char *name);

/* ---- traps ---- */

#define NO_CAUSE (~0ul)
void trap_clear(void);
/* Enter `pc` in a lower mode; returns at the next trap to M. The registers are then in hart->x. */
void run(u64 mode, const void *pc, u64 a0, u64 a1, u64 a2, u64 a3);
void run_exit(void);
extern const char m_trap[], s_trap[], m_vectors[], s_vectors[];
/* Run up to 62 instruction words in `mode`, ended by an ecall; hart->probe is the address of the first. */
u64 run_insns(u64 mode, const u32 *words, u64 n, u64 a0, u64 a1);
/* The same for a single one (16-bit ones have zero in the upper half); gives a0 afterwards. */
u64 run_insn(u64 mode, u32 insn, u64 a0, u64 a1);
/* The cause of an environment call in `mode`. */
static inline u64 ecall_from(u64 mode) { return ECALL_U + mode; }

/* Run `insn` (assembly text), catching the trap it may take; `before` and `after` must not trap. */
#define TRY3(before, insn, after, outs, ...)                                                                     \
    do {                                                                                                         \
        trap_clear();                                                                                            \
        __asm__ volatile(".option push\n.option norvc\nla t6, 9f\nsd t6, %[h_resume](tp)\n"                      \
                         "la t6, 8f\nsd t6, %[h_probe](tp)\n.option pop\n" before "\n8: " insn "\n9: " after     \
                         "\nsd zero, %[h_resume](tp)\n"                                                          \
                         : outs                                                                                  \
                         : __VA_ARGS__ __VA_OPT__(, )[h_resume] "i"(HART_RESUME), [h_probe] "i"(HART_PROBE)     \
                         : "t6", "memory");                                                                      \
    } while (0)
#define NO_OUT
#define TRY(insn, ...) TRY3("", insn, "", , __VA_ARGS__)

/* ---- CSRs and instructions ---- */

#define csr_read(n)                                                                                              \
    ({                                                                                                           \
        u64 v_;                                                                                                  \
        __asm__ volatile("csrr %0, %1" : "=r"(v_) : "i"(n) : "memory");                                          \
        v_;                                                                                                      \
    })
#define csr_write(n, v) __asm__ volatile("csrw %1, %0" ::"rK"((u64)(v)), "i"(n) : "memory")
#define csr_set(n, v) __asm__ volatile("csrs %1, %0" ::"rK"((u64)(v)), "i"(n) : "memory")
#define csr_clear(n, v) __asm__ volatile("csrc %1, %0" ::"rK"((u64)(v)), "i"(n) : "memory")
#define csr_swap(n, v)                                                                                           \
    ({                                                                                                           \
        u64 v_;                                                                                                  \
        __asm__ volatile("csrrw %0, %2, %1" : "=r"(v_) : "r"((u64)(v)), "i"(n) : "memory");                      \
        v_;                                                                                                      \
    })

/* pause: lets the host run another hart. */
#define relax() __asm__ volatile(".word 0x0100000f" ::: "memory")
#define fence() __asm__ volatile("fence rw, rw" ::: "memory")
#define fence_i() __asm__ volatile("fence.i" ::: "memory")
#define sfence_all() __asm__ volatile("sfence.vma" ::: "memory")
#define sfence_va(va) __asm__ volatile("sfence.vma %0, zero" ::"r"(va) : "memory")
#define sfence_asid(asid) __asm__ volatile("sfence.vma zero, %0" ::"r"(asid) : "memory")
#define sfence_va_asid(va, asid) __asm__ volatile("sfence.vma %0, %1" ::"r"(va), "r"(asid) : "memory")

/* An M-mode load or store of eight bytes with MPRV set and MPP = mode; catches the trap. */
static inline u64 mprv_load(u64 mode, u64 at)
{
    u64 value;
    csr_clear(MSTATUS, MSTATUS_MPP);
    TRY3("csrs mstatus, %[on]", "ld %[value], 0(%[at])", "csrc mstatus, %[off]", [value] "=&r"(value),
         [at] "r"(at), [on] "r"(mode << 11 | MSTATUS_MPRV), [off] "r"(MSTATUS_MPRV));
    return value;
}

static inline void mprv_store(u64 mode, u64 at, u64 value)
{
    csr_clear(MSTATUS, MSTATUS_MPP);
    TRY3("csrs mstatus, %[on]", "sd %[value], 0(%[at])", "csrc mstatus, %[off]", NO_OUT, [value] "r"(value),
         [at] "r"(at), [on] "r"(mode << 11 | MSTATUS_MPRV), [off] "r"(MSTATUS_MPRV));
}

/* ---- encodings for run_insns ---- */

#define A0 10u
#define A1 11u
#define A2 12u
#define A3 13u
#define CSRRW(rd, csr, rs1) ((u32)(csr) << 20 | (rs1) << 15 | 1u << 12 | (rd) << 7 | 0x73u)
#define CSRRS(rd, csr, rs1) ((u32)(csr) << 20 | (rs1) << 15 | 2u << 12 | (rd) << 7 | 0x73u)
#define CSRRC(rd, csr, rs1) ((u32)(csr) << 20 | (rs1) << 15 | 3u << 12 | (rd) << 7 | 0x73u)
#define CSRRSI(rd, csr, imm) ((u32)(csr) << 20 | (imm) << 15 | 6u << 12 | (rd) << 7 | 0x73u)
#define LOAD(f3, rd, rs1, imm) ((u32)(imm) << 20 | (rs1) << 15 | (f3) << 12 | (rd) << 7 | 0x03u)
#define LD(rd, rs1) LOAD(3u, rd, rs1, 0)
#define STORE(f3, rs2, rs1) ((rs2) << 20 | (rs1) << 15 | (f3) << 12 | 0x23u)
#define SD(rs2, rs1) STORE(3u, rs2, rs1)
#define AMO(f5, f3, rd, rs2, rs1) ((f5) << 27 | (rs2) << 20 | (rs1) << 15 | (f3) << 12 | (rd) << 7 | 0x2fu)
#define ECALL 0x00000073u
#define EBREAK 0x00100073u
#define C_EBREAK 0x9002u
#define SRET 0x10200073u
#define MRET 0x30200073u
#define WFI 0x10500073u
#define NOP 0x00000013u
#define JR(rs1) ((rs1) << 15 | 0x67u)
#define FENCE_I 0x0000100fu
#define SFENCE_VMA(rs1, rs2) (9u << 25 | (rs2) << 20 | (rs1) << 15 | 0x73u)
#define SINVAL_VMA(rs1, rs2) (11u << 25 | (rs2) << 20 | (rs1) << 15 | 0x73u)
#define SFENCE_W_INVAL 0x18000073u
#define SFENCE_INVAL_IR 0x18100073u
#define CBO(op, rs1) ((u32)(op) << 20 | (rs1) << 15 | 2u << 12 | 0x0fu)
#define CBO_INVAL 0
#define CBO_CLEAN 1
#define CBO_FLUSH 2
#define CBO_ZERO 4

/* ---- memory-mapped registers of the board ---- */

#define FINISHER 0x100000ul
#define CLINT 0x2000000ul
#define PLIC 0xc000000ul
#define UART 0x10000000ul
#define RAM 0x80000000ul
/* 1 MiB of RAM for each hart that no ROM's image reaches, aligned to its size. */
#define SCRATCH (RAM + (64ul << 20) + (hart->id << 20))
/* Nothing answers here: between the RTC and the CLINT. */
#define HOLE 0x1000000ul


static inline volatile u32 *msip(u64 h) { return (volatile u32 *)(CLINT + 4 * h); }
static inline volatile u64 *mtimecmp(u64 h) { return (volatile u64 *)(CLINT + 0x4000 + 8 * h); }
#define MTIME mmio64(CLINT + 0xbff8)

#endif
