/* Translation tables with any granule. */
#ifndef TABLES_H
#define TABLES_H

#include "rt.h"

struct granule {
    const char *name;
    u64 page_bits;
    u64 tg0, tg1;     /* TCR_ELx.TG0 (and VTCR_EL2.TG0), TG1 */
    u64 start;        /* level at which 48 bits begin */
    u64 first_block;  /* lowest level with blocks */
    u64 id_shift;     /* field of ID_AA64MMFR0_EL1 */
    u64 id_absent;    /* its value if the granule is not there */
};

static const struct granule granules[] = {
    {"4 KiB", 12, 0, 2, 0, 1, 28, 15},
    {"16 KiB", 14, 2, 1, 0, 2, 20, 0},
    {"64 KiB", 16, 1, 3, 1, 2, 24, 15},
};

static inline bool has_granule(const struct granule *g)
{
    return field(read_sys("id_aa64mmfr0_el1"), g->id_shift) != g->id_absent;
}

/* Bits of addresses below what an entry of `level` maps. */
static inline u64 bits_below(const struct granule *g, u64 level)
{
    return g->page_bits + (g->page_bits - 3) * (3 - level);
}

#define TABLE_STEP 0x10000ul

/* The entry of `level` that maps `va`, in tables from `root`, one for each level from `start`. */
static inline volatile u64 *entry_of(const struct granule *g, u64 root, u64 start, u64 level, u64 va)
{
    u64 index = (va & ((1ul << 48) - 1)) >> bits_below(g, level) & ((1ul << (g->page_bits - 3)) - 1);
    return (volatile u64 *)(root + (level - start) * TABLE_STEP + 8 * index);
}

/* Maps `va` by `leaf` at `level`; table entries have these attributes. The caller cleans the TLB. */
static inline volatile u64 *map(const struct granule *g, u64 root, u64 start, u64 level, u64 va, u64 tables, u64 leaf)
{
    for (u64 above = start; above < level; above++)
        *entry_of(g, root, start, above, va) = (root + (above + 1 - start) * TABLE_STEP) | tables | TABLE;
    volatile u64 *entry = entry_of(g, root, start, level, va);
    *entry = leaf;
    dsb();
    return entry;
}

#endif
