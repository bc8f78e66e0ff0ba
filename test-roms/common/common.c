/* What ROMs of all architectures share. See common.h. */
#include "rt.h"

u64 n_cpus;

/* Which sources this ROM was built from: `build.sh` passes the hash, a test of the crate reads it. */
__attribute__((section(".source"), used)) static const char source_hash[] = "source-sha256=" SOURCE_HASH;

static u32 text_lock;
static u64 failures;

/* ---- text and ending ---- */

void put(const char *text)
{
    for (; *text; text++) {
        put_char(*text);
    }
}

void put_hex(u64 value)
{
    char text[19] = "0x";
    int n = 2;
    for (int shift = 60; shift >= 0; shift -= 4) {
        u64 digit = value >> shift & 15;
        if (digit || n > 2 || shift == 0)
            text[n++] = "0123456789abcdef"[digit];
    }
    text[n] = 0;
    put(text);
}

void put_dec(u64 value)
{
    char text[21];
    int n = 20;
    text[n] = 0;
    do
        text[--n] = '0' + value % 10;
    while (value /= 10);
    put(text + n);
}

/* Print only so many failures: each further one only counts. */
#define MAX_PRINTED 40

bool begin_failure(const char *name)
{
    lock(&text_lock);
    if (failures++ >= MAX_PRINTED) {
        unlock(&text_lock);
        return false;
    }
    put("FAIL ");
    put(rom_name);
    put(" " CPU_WORD " ");
    put_dec(this_cpu->id);
    put(": ");
    if (this_cpu->variant) {
        put(this_cpu->variant);
        put(": ");
    }
    if (this_cpu->item) {
        put("case ");
        put_dec(this_cpu->item);
        put(": ");
    }
    put(name);
    return true;
}

void end_failure(void)
{
    put("\n");
    unlock(&text_lock);
}

void die(const char *what)
{
    failures = 0;
    begin_failure(what);
    put_traps();
    put("\n");
    finish(2);
}

/* ---- checks ---- */

void check_eq(const char *name, u64 found, u64 expected)
{
    this_cpu->checks++;
    if (found == expected)
        return;
    if (!begin_failure(name))
        return;
    put(": expected ");
    put_hex(expected);
    put(", found ");
    put_hex(found);
    end_failure();
}

void check_eq_at(const char *name, u64 at, u64 found, u64 expected)
{
    this_cpu->checks++;
    if (found == expected || !begin_failure(name))
        return;
    put(": at ");
    put_hex(at);
    put(", expected ");
    put_hex(expected);
    put(", found ");
    put_hex(found);
    put_traps();
    end_failure();
}

void check_memory(const char *name, u64 memory, u64 expected, u64 len)
{
    this_cpu->checks++;
    for (u64 i = 0; i < len; i += 8)
        if (mmio64(memory + i) != mmio64(expected + i)) {
            check_eq_at(name, memory + i, mmio64(memory + i), mmio64(expected + i));
            mmio64(expected + i) = mmio64(memory + i);
        }
}

u64 next_random(u64 *seed)
{
    u64 s = *seed = *seed * 6364136223846793005ul + 1442695040888963407ul;
    return s >> 33 ^ s << 20;
}

void check_one_of(const char *name, u64 found, u64 a, u64 b)
{
    this_cpu->checks++;
    if (found == a || found == b)
        return;
    if (!begin_failure(name))
        return;
    put(": expected ");
    put_hex(a);
    put(" or ");
    put_hex(b);
    put(", found ");
    put_hex(found);
    end_failure();
}

void check(const char *name, bool ok)
{
    this_cpu->checks++;
    if (!ok && begin_failure(name))
        end_failure();
}

/* ---- many CPUs ---- */

void lock(u32 *l)
{
    while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(l, __ATOMIC_RELAXED))
            relax();
    }
}

void unlock(u32 *l) { __atomic_store_n(l, 0, __ATOMIC_RELEASE); }

void barrier(void)
{
    static u64 arrived, round;
    u64 now = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == n_cpus) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&round, now + 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&round, __ATOMIC_ACQUIRE) == now)
        relax();
}

/* ---- the device tree ---- */

static const char *bootargs = "";

u32 be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

bool same(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++) {
    }
    return *a == *b;
}

/* True if `text` begins with `prefix`; gives the rest. */
const char *after(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if (*text != *prefix)
            return 0;
    return text;
}

void read_device_tree(const u8 *fdt)
{
    enum { BEGIN = 1, END = 2, PROPERTY = 3, NOTHING = 4 };
    if (be32(fdt) != 0xd00dfeed)
        die("there is no device tree");
    const u8 *p = fdt + be32(fdt + 8);
    const char *strings = (const char *)fdt + be32(fdt + 12);
    for (;;) {
        u32 token = be32(p);
        p += 4;
        if (token == BEGIN) {
            const char *name = (const char *)p;
            if (after(name, "cpu@"))
                n_cpus++;
            u64 len = 0;
            while (name[len])
                len++;
            p += (len + 4) & ~3ul;
        } else if (token == PROPERTY) {
            u32 len = be32(p);
            const char *name = strings + be32(p + 4);
            const char *value = (const char *)p + 8;
            if (same(name, "bootargs"))
                bootargs = value;
            device_tree_property(name, value, len);
            p += 8 + ((len + 3) & ~3u);
        } else if (token != END && token != NOTHING) {
            break;
        }
    }
}

/* The text after NAME= in the bootargs. */
static const char *argument(const char *name)
{
    for (const char *p = bootargs; *p; p++) {
        const char *rest = p == bootargs || p[-1] == ' ' ? after(p, name) : 0;
        if (rest && *rest == '=')
            return rest + 1;
    }
    return 0;
}

u64 param(const char *name, u64 otherwise)
{
    const char *p = argument(name);
    u64 value = 0;
    if (!p)
        return otherwise;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (*p - '0');
    return value;
}

bool on_qemu(void)
{
    const char *p = argument("peer");
    return p && after(p, "qemu");
}

/* ---- the end ---- */

void summary(void)
{
    u64 checks = 0;
    for (u64 h = 0; h < n_cpus; h++)
        checks += checks_of(h);
    if (failures) {
        put("ROM ");
        put(rom_name);
        put(": ");
        put_dec(failures);
        put(" of ");
        put_dec(checks);
        put(" checks FAILED\n");
        finish(1);
    }
    put("ROM ");
    put(rom_name);
    put(": ");
    put_dec(checks);
    put(" checks passed\n");
    finish(0);
}

/* The compiler calls these for structures and arrays. */
void *memcpy(void *to, const void *from, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memset(void *to, int value, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((u8 *)to)[i] = value;
    return to;
}
