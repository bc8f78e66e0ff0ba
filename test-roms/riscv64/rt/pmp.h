/* Access to the PMP registers by number, and probes of what a region lets each mode do. */
#ifndef PMP_H
#define PMP_H

#include "rt.h"

#define PMP_R 1u
#define PMP_W 2u
#define PMP_X 4u
#define PMP_OFF (0u << 3)
#define PMP_TOR (1u << 3)
#define PMP_NA4 (2u << 3)
#define PMP_NAPOT (3u << 3)
#define PMP_L 0x80u

#define EIGHT(m, n) m(n) m(n + 1) m(n + 2) m(n + 3) m(n + 4) m(n + 5) m(n + 6) m(n + 7)

static inline void pmp_set_addr(u64 entry, u64 value)
{
#define CASE(n)                                                                                                  \
    case n:                                                                                                      \
        csr_write(PMPADDR0 + (n), value);                                                                          \
        break;
    switch (entry) {
        EIGHT(CASE, 0) EIGHT(CASE, 8) EIGHT(CASE, 16) EIGHT(CASE, 24) EIGHT(CASE, 32) EIGHT(CASE, 40)
        EIGHT(CASE, 48) EIGHT(CASE, 56)
    }
#undef CASE
}

static inline u64 pmp_addr(u64 entry)
{
#define CASE(n)                                                                                                  \
    case n:                                                                                                      \
        return csr_read(PMPADDR0 + (n));
    switch (entry) {
        EIGHT(CASE, 0) EIGHT(CASE, 8) EIGHT(CASE, 16) EIGHT(CASE, 24) EIGHT(CASE, 32) EIGHT(CASE, 40)
        EIGHT(CASE, 48) EIGHT(CASE, 56)
    }
#undef CASE
    return 0;
}

static inline u64 pmp_cfg_register(u64 n, const u64 *value)
{
#define CASE(n)                                                                                                  \
    case n:                                                                                                      \
        if (value)                                                                                               \
            csr_write(PMPCFG0 + 2 * (n), *value);                                                                  \
        return csr_read(PMPCFG0 + 2 * (n));
    switch (n) { EIGHT(CASE, 0) }
#undef CASE
    return 0;
}

static inline u8 pmp_cfg(u64 entry) { return pmp_cfg_register(entry / 8, 0) >> entry % 8 * 8; }

static inline void pmp_set_cfg(u64 entry, u8 cfg)
{
    u64 all = pmp_cfg_register(entry / 8, 0);
    all &= ~(0xfful << entry % 8 * 8);
    all |= (u64)cfg << entry % 8 * 8;
    pmp_cfg_register(entry / 8, &all);
}

static inline void pmp_napot(u64 entry, u64 base, u64 size, u8 rwx)
{
    pmp_set_cfg(entry, 0);
    pmp_set_addr(entry, base >> 2 | (size / 8 - 1));
    pmp_set_cfg(entry, PMP_NAPOT | rwx);
}

static inline void pmp_tor(u64 entry, u64 base, u64 top, u8 rwx)
{
    pmp_set_cfg(entry, 0);
    pmp_set_addr(entry - 1, base >> 2);
    pmp_set_addr(entry, top >> 2);
    pmp_set_cfg(entry, PMP_TOR | rwx);
}

#endif
