/* What ROMs of all architectures share: text out, checks, many CPUs, parameters.
 *
 * An architecture's rt.h defines `this_cpu`, a pointer to the calling CPU's own structure, which has `id`, `checks`, `variant`
 * and `item`; CPU_WORD, how it calls a CPU; and relax(), which lets the host run another one. */
#ifndef COMMON_H
#define COMMON_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;
typedef int bool;
#define true 1
#define false 0

#define mmio8(a) (*(volatile u8 *)(a))
#define mmio16(a) (*(volatile u16 *)(a))
#define mmio32(a) (*(volatile u32 *)(a))
#define mmio64(a) (*(volatile u64 *)(a))

extern const char rom_name[];
void rom_main(void);

/* ---- what an architecture has ---- */

void put_char(char c);
/* End the program: 0 if all is well. */
void finish(u32 code) __attribute__((noreturn));
/* Print the exceptions that came last. */
void put_traps(void);
/* How many checks a CPU has done. */
u64 checks_of(u64 id);
/* A property of the device tree. */
void device_tree_property(const char *name, const char *value, u64 len);

/* ---- the machine, from the device tree ---- */

extern u64 n_cpus;
/* Find out about the machine from the device tree: before anything below. */
void read_device_tree(const u8 *fdt);
u32 be32(const u8 *p);
bool same(const char *a, const char *b);
/* True if `text` begins with `prefix`; gives the rest. */
const char *after(const char *text, const char *prefix);
/* The number given as NAME=N in /chosen/bootargs, or `otherwise`. */
u64 param(const char *name, u64 otherwise);
/* The bootargs contain `peer=qemu`: checks that QEMU is known to fail are left out. */
bool on_qemu(void);

/* ---- text and ending ---- */

void put(const char *text);
void put_hex(u64 value);
void put_dec(u64 value);
/* Print what happened and end with code 2. */
void die(const char *what) __attribute__((noreturn));
/* Print how many checks there were, and end. */
void summary(void);

/* ---- checks ---- */

void check_eq(const char *name, u64 found, u64 expected);
/* Of what belongs to an address: prints that, and the exceptions that came last. */
void check_eq_at(const char *name, u64 at, u64 found, u64 expected);
/* Checks memory, by 8 bytes; then takes over what it has, so that a mistake is told once. */
void check_memory(const char *name, u64 memory, u64 expected, u64 len);
/* Numbers for tests: the same for the same seed. */
u64 next_random(u64 *seed);
void check_one_of(const char *name, u64 found, u64 a, u64 b);
void check(const char *name, bool ok);
/* Print the beginning of a failure's line; false if there were too many. Then end_failure() must follow. */
bool begin_failure(const char *name);
void end_failure(void);

/* ---- many CPUs ---- */

void barrier(void);
void lock(u32 *l);
void unlock(u32 *l);

#endif
