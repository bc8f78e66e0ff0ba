/* Stage 1 of EL1&0: granules, levels, faults, permissions, flags that the hardware sets, address spaces, TLB maintenance.
 * The lower half is memory as it is, the upper half what is tested. */
#include "tables.h"

const char rom_name[] = "paging";

#define USER (1ul << 6)
#define READ_ONLY (1ul << 7)
#define NOT_GLOBAL (1ul << 11)
#define DBM (1ul << 51)
#define CONTIGUOUS (1ul << 52)
#define PXN (1ul << 53)
#define UXN (1ul << 54)

#define TABLES (SCRATCH)
#define TARGET (SCRATCH + 0xf0000)
#define VA 0xffff812345670000ul
/* Where there is data, and where code that comes back. */
#define DATA 8
#define CODE 0x40

enum { READ, WRITE, FETCH };

#define TCR_BASE (25ul | 16ul << 16 | 2ul << 32)
#define SCTLR_BASE (0x30d00800ul | 1)

static const struct granule *g;

/* Controls that the rest of the checks begin with. */
static void control(u64 tcr)
{
    write_sys("tcr_el1", TCR_BASE | g->tg1 << 30 | tcr);
    tlbi("vmalle1");
}

static void access(u64 el, u64 kind, u64 va)
{
    u64 pstate = el ? EL1H : EL0T;
    static const u32 words[] = {LDR_X0_X0, STR_X1_X0, 0xd61f0000};
    run_insn(pstate, words[kind], va + (kind == FETCH ? CODE : DATA), 0x1122334455667788);
    if (kind == FETCH)
        cpu->probe = va + CODE;
}

static void expect_fault(const char *name, u64 el, u64 kind, u64 va, u64 status)
{
    access(el, kind, va);
    u64 esr = EC((kind == FETCH ? IABORT : DABORT) + (el == 1)) | status | (kind == WRITE ? WNR : 0);
    check_abort(name, 1, esr, va + (kind == FETCH ? CODE : DATA));
}

static void expect_good(const char *name, u64 el, u64 kind, u64 va)
{
    volatile u64 *data = (volatile u64 *)(TARGET + DATA);
    u64 id = cpu->id + 77;
    *data = id;
    dsb();
    access(el, kind, va);
    check_no_trap(name);
    if (kind == READ)
        check_eq(name, last_trap()->x[0], id);
    if (kind == WRITE)
        check_eq(name, *data, 0x1122334455667788);
}

static void expect(const char *name, u64 el, u64 va, const char *rights, u64 status)
{
    for (u64 kind = READ; kind <= FETCH; kind++)
        if (rights[kind] != '-')
            expect_good(name, el, kind, va);
        else
            expect_fault(name, el, kind, va, status);
}

static volatile u64 *map_page(u64 bits)
{
    volatile u64 *entry = map(g, TABLES, g->start, 3, VA, 0, TARGET | AF | PAGE | bits);
    tlbi("vmalle1");
    return entry;
}

/* ---- levels ---- */

static void levels(void)
{
    for (u64 level = g->start; level <= 3; level++) {
        cpu->item = level + 1;
        u64 size = 1ul << bits_below(g, level), base = TARGET & ~(size - 1);
        u64 va = (VA & ~(size - 1)) | (TARGET - base);
        bool leaf = level == 3 || level >= g->first_block;
        u64 kind = level == 3 ? PAGE : VALID;
        volatile u64 *entry = map(g, TABLES, g->start, level, va, 0, base | AF | kind);
        tlbi("vmalle1");
        if (leaf) {
            expect("leaf", 1, va, "rwx", 0);
            *entry = base | kind;
            tlbi("vmalle1");
            for (u64 k = READ; k <= FETCH; k++)
                expect_fault("no access flag", 1, k, va, AF_FAULT | level);
            *entry = base | AF | READ_ONLY | PXN | kind;
            tlbi("vmalle1");
            expect("permissions", 1, va, "r--", PERMISSION_FAULT | level);
            *entry = 1ul << 41 | AF | kind;
            tlbi("vmalle1");
            expect_fault("output too large", 1, READ, va, SIZE_FAULT | level);
        } else if (g->page_bits != 16 || level != 1 || field(read_sys("id_aa64mmfr0_el1"), 0) < 6) {
            /* With 52 bits of physical addresses there are larger blocks. */
            expect_fault("no block here", 1, READ, va, TRANSLATION_FAULT | level);
        }
        *entry = (base | AF | kind) & ~1ul;
        tlbi("vmalle1");
        for (u64 k = READ; k <= FETCH; k++)
            expect_fault("not valid", 1, k, va, TRANSLATION_FAULT | level);
        if (level < 3) {
            *entry = 1ul << 41 | TABLE;
            tlbi("vmalle1");
            expect_fault("table too far", 1, READ, va, SIZE_FAULT | level);
            *entry = HOLE | TABLE;
            tlbi("vmalle1");
            access(1, READ, va);
            check_eq("no memory at the table", last_trap()->esr & ~(1ul << 9), EC(DABORT + 1) | 0x14 | (level + 1));
        } else {
            *entry = base | AF | VALID;
            tlbi("vmalle1");
            expect_fault("reserved", 1, READ, va, TRANSLATION_FAULT | 3);
        }
        *entry = 0;
        tlbi("vmalle1");
    }
    cpu->item = 0;
    /* Pages side by side that say so. */
    u64 count = g->page_bits == 12 ? 16 : g->page_bits == 14 ? 128 : 32;
    u64 span = count << g->page_bits;
    if (span <= 0x80000 && TARGET % span == 0) {
        for (u64 i = 0; i < count; i++)
            map(g, TABLES, g->start, 3, (VA & ~(span - 1)) + (i << g->page_bits), 0,
                (TARGET + (i << g->page_bits)) | AF | CONTIGUOUS | PAGE);
        tlbi("vmalle1");
        expect("contiguous", 1, VA & ~(span - 1), "rwx", 0);
        for (u64 i = 0; i < count; i++)
            map(g, TABLES, g->start, 3, (VA & ~(span - 1)) + (i << g->page_bits), 0, 0);
        tlbi("vmalle1");
    }
}

static void ranges(void)
{
    map_page(0);
    expect_fault("below the upper half", 1, READ, VA & ~(1ul << 48), TRANSLATION_FAULT);
    expect_fault("a tag", 1, READ, VA & ~(1ul << 60), TRANSLATION_FAULT);
    control(1ul << 38);
    expect_good("TBI1", 1, READ, VA & ~(0x5aul << 56));
    expect_good("TBI1", 1, WRITE, VA & ~(0x5aul << 56));
    control(1ul << 23);
    expect_fault("EPD1", 1, READ, VA, TRANSLATION_FAULT);
    /* A smaller half. The first level has what is left. */
    write_sys("tcr_el1", (TCR_BASE & ~(63ul << 16)) | 25ul << 16 | g->tg1 << 30);
    tlbi("vmalle1");
    u64 start = 4 - (39 - g->page_bits + g->page_bits - 4) / (g->page_bits - 3), va = 0xffffff8000000000ul | (VA & 0x7fffff0000ul);
    map(g, TABLES, start, 3, va & ((1ul << 39) - 1), 0, TARGET | AF | PAGE);
    tlbi("vmalle1");
    expect("39 bits", 1, va, "rwx", 0);
    expect_fault("more than 39 bits", 1, WRITE, va & ~(1ul << 39), TRANSLATION_FAULT);
    for (u64 i = 0; i < 8192; i++)
        ((volatile u64 *)TABLES)[i] = 0;
    control(0);
}

/* ---- rights ---- */

static void rights(void)
{
    static const struct {
        u64 bits;
        const char *user, *kernel;
    } cases[] = {
        {0, "--x", "rwx"},
        {USER, "rwx", "rw-"},
        {READ_ONLY, "--x", "r-x"},
        {USER | READ_ONLY, "r-x", "r-x"},
        {UXN, "---", "rwx"},
        {PXN, "--x", "rw-"},
        {USER | UXN | PXN, "rw-", "rw-"},
        {USER | READ_ONLY | UXN, "r--", "r-x"},
        {USER | READ_ONLY | PXN, "r-x", "r--"},
    };
    u64 mmfr1 = read_sys("id_aa64mmfr1_el1");
    for (u64 i = 0; i < sizeof cases / sizeof *cases; i++) {
        cpu->item = i + 1;
        u64 bits = cases[i].bits;
        map_page(bits);
        expect("rights of EL0", 0, VA, cases[i].user, PERMISSION_FAULT | 3);
        expect("rights of EL1", 1, VA, cases[i].kernel, PERMISSION_FAULT | 3);
        if (field(mmfr1, 20)) {
            /* PAN: privileged data accesses only to what EL0 cannot access. */
            static const u32 load[] = {0xd500419f, LDR_X0_X0}; /* msr pan, #1 */
            run_insns(EL1H, load, 2, VA + DATA, 0);
            cpu->probe += 4;
            if (bits & USER)
                check_abort("PAN", 1, EC(DABORT + 1) | PERMISSION_FAULT | 3, VA + DATA);
            else
                check_no_trap("PAN");
            /* LDTR is not concerned. */
            static const u32 user[] = {0xd500419f, 0xf8400800};
            run_insns(EL1H, user, 2, VA + DATA, 0);
            cpu->probe += 4;
            if (bits & USER)
                check_no_trap("LDTR with PAN");
            else
                check_abort("LDTR with PAN", 1, EC(DABORT + 1) | PERMISSION_FAULT | 3, VA + DATA);
            __asm__ volatile(".inst 0xd500409f");
        }
        if (field(read_sys("id_aa64mmfr2_el1"), 4)) {
            /* UAO: LDTR and STTR as others. msr uao, #1 */
            static const u32 user[] = {0xd500417f, 0xf8400800, 0xd500407f};
            run_insns(EL1H, user, 3, VA + DATA, 0);
            check_no_trap("LDTR with UAO");
        }
    }
    cpu->item = 0;
    /* Table entries take rights away. */
    static const struct {
        u64 bits;
        const char *user, *kernel;
    } tables[] = {
        {1ul << 59, "rwx", "rw-"}, {1ul << 60, "rw-", "rw-"}, {1ul << 61, "--x", "rwx"},
        {2ul << 61, "r-x", "r-x"}, {3ul << 61, "--x", "r-x"},
    };
    for (u64 i = 0; i < sizeof tables / sizeof *tables; i++) {
        cpu->item = i + 1;
        map(g, TABLES, g->start, 3, VA, tables[i].bits, TARGET | AF | PAGE | USER);
        tlbi("vmalle1");
        /* Pages that EL0 may write are not executed at EL1, but what tables forbid counts first. */
        const char *kernel = tables[i].bits == 1ul << 59 || tables[i].bits == 1ul << 60 ? "rw-" : tables[i].kernel;
        expect("table rights of EL0", 0, VA, tables[i].user, PERMISSION_FAULT | 3);
        expect("table rights of EL1", 1, VA, kernel, PERMISSION_FAULT | 3);
        if (field(mmfr1, 12)) {
            control(1ul << 42);
            expect("HPD1, EL0", 0, VA, "rwx", PERMISSION_FAULT | 3);
            expect("HPD1, EL1", 1, VA, "rw-", PERMISSION_FAULT | 3);
            control(0);
        }
    }
    cpu->item = 0;
    map_page(USER);
    if (field(read_sys("id_aa64mmfr2_el1"), 60)) {
        control(1ul << 56);
        expect_fault("E0PD1", 0, READ, VA, TRANSLATION_FAULT);
        expect_good("E0PD1 at EL1", 1, READ, VA);
        control(0);
    }
}

static void flags(void)
{
    u64 hafdbs = field(read_sys("id_aa64mmfr1_el1"), 0);
    if (hafdbs >= 1) {
        volatile u64 *entry = map_page(0);
        control(1ul << 39);
        *entry = TARGET | PAGE;
        tlbi("vmalle1");
        expect_good("HA", 1, READ, VA);
        check_eq("HA sets the flag", *entry, TARGET | PAGE | AF);
    }
    if (hafdbs >= 2) {
        volatile u64 *entry = map_page(0);
        control(3ul << 39);
        *entry = TARGET | PAGE | AF | READ_ONLY | DBM;
        tlbi("vmalle1");
        expect_good("clean", 1, READ, VA);
        check_eq("it stays clean", *entry, TARGET | PAGE | AF | READ_ONLY | DBM);
        expect_good("first write", 1, WRITE, VA);
        check_eq("it is dirty", *entry, TARGET | PAGE | AF | DBM);
        *entry = TARGET | PAGE | READ_ONLY | DBM | AF;
        tlbi("vmalle1");
        expect_fault("write of EL0", 0, WRITE, VA, PERMISSION_FAULT | 3);
        check_eq("it stays clean", *entry, TARGET | PAGE | AF | READ_ONLY | DBM);
    }
    control(0);
}

/* ---- address spaces and maintenance ---- */

static void set_asid(u64 asid) { write_sys("ttbr1_el1", TABLES | asid << 48); }

#define OTHER (TARGET - 0x20000)

static void spaces(void)
{
    volatile u64 *data = (volatile u64 *)(TARGET + DATA), *other = (volatile u64 *)(OTHER + DATA);
    /* A1: the upper half has the ASID. */
    control(1ul << 22);
    volatile u64 *entry = map_page(NOT_GLOBAL);
    *data = 1;
    *other = 2;
    set_asid(5);
    access(1, READ, VA);
    check_eq("address space 5", last_trap()->x[0], 1);
    /* Another space that has never seen the page sees the new one. */
    *entry = OTHER | AF | PAGE | NOT_GLOBAL;
    dsb();
    set_asid(6);
    access(1, READ, VA);
    check_eq("address space 6", last_trap()->x[0], 2);
    static const struct {
        const char *name;
        u64 operand;
    } ways[] = {
        {"VAE1", 5ul << 48 | (VA >> 12 & 0xffffffffffful)},
        {"VALE1", 5ul << 48 | (VA >> 12 & 0xffffffffffful)},
        {"VAAE1", VA >> 12 & 0xffffffffffful},
        {"VAALE1", VA >> 12 & 0xffffffffffful},
        {"ASIDE1", 5ul << 48},
        {"VMALLE1", 0},
        {"VAE1IS", 5ul << 48 | (VA >> 12 & 0xffffffffffful)},
        {"ASIDE1IS", 5ul << 48},
        {"VMALLE1IS", 0},
    };
    for (u64 i = 0; i < sizeof ways / sizeof *ways; i++) {
        u64 v = ways[i].operand;
        set_asid(5);
        *entry = TARGET | AF | PAGE | NOT_GLOBAL;
        tlbi("vmalle1");
        access(1, READ, VA);
        check_eq("before", last_trap()->x[0], 1);
        *entry = OTHER | AF | PAGE | NOT_GLOBAL;
        switch (i) {
        case 0: tlbi_va("vae1", v); break;
        case 1: tlbi_va("vale1", v); break;
        case 2: tlbi_va("vaae1", v); break;
        case 3: tlbi_va("vaale1", v); break;
        case 4: tlbi_va("aside1", v); break;
        case 5: tlbi("vmalle1"); break;
        case 6: tlbi_va("vae1is", v); break;
        case 7: tlbi_va("aside1is", v); break;
        case 8: tlbi("vmalle1is"); break;
        }
        access(1, READ, VA);
        check_eq(ways[i].name, last_trap()->x[0], 2);
    }
    /* Through a tag the same page is seen, and dropped with it. */
    control(1ul << 22 | 1ul << 38);
    *entry = TARGET | AF | PAGE | NOT_GLOBAL;
    tlbi("vmalle1");
    access(1, READ, VA & ~(0x5aul << 56));
    check_eq("through a tag", last_trap()->x[0], 1);
    *entry = OTHER | AF | PAGE | NOT_GLOBAL;
    tlbi_va("vae1is", 5ul << 48 | (VA >> 12 & 0xffffffffffful));
    access(1, READ, VA & ~(0x5aul << 56));
    check_eq("VAE1IS of what was seen through a tag", last_trap()->x[0], 2);
    if (field(read_sys("id_aa64isar0_el1"), 56) >= 2) {
        /* RVAE1IS: two pages from the one before. */
        *entry = TARGET | AF | PAGE | NOT_GLOBAL;
        tlbi("vmalle1");
        access(1, READ, VA);
        *entry = OTHER | AF | PAGE | NOT_GLOBAL;
        u64 tg = g->page_bits == 12 ? 1 : g->page_bits == 14 ? 2 : 3;
        u64 base = (VA >> g->page_bits) & 0x1ffffffffful;
        dsb();
        __asm__ volatile("sys #0, c8, c2, #1, %0\ndsb sy\nisb" ::"r"(5ul << 48 | tg << 46 | base) : "memory");
        access(1, READ, VA);
        check_eq("RVAE1IS", last_trap()->x[0], 2);
    }
    set_asid(0);
    control(0);
}

static void queries(void)
{
    map_page(READ_ONLY);
    run_insn(EL1H, MSR_X0(1, 0, 7, 8, 0), VA + 0x123, 0); /* AT S1E1R */
    check_no_trap("AT");
    u64 par = read_sys("par_el1");
    check_eq("AT S1E1R", par & 0xfffffffff001, (TARGET + 0x123) & ~0xffful);
    check_eq("its attributes", par >> 56, 0xff);
    run_insn(EL1H, MSR_X0(1, 0, 7, 8, 1), VA, 0);
    check_eq("AT S1E1W", read_sys("par_el1") & 0xfff, 1 | (PERMISSION_FAULT | 3) << 1 | 1ul << 11);
    run_insn(EL1H, MSR_X0(1, 0, 7, 8, 2), VA, 0);
    check_eq("AT S1E0R", read_sys("par_el1") & 0xfff, 1 | (PERMISSION_FAULT | 3) << 1 | 1ul << 11);
    run_insn(EL1H, MSR_X0(1, 0, 7, 8, 0), VA & ~(1ul << 48), 0);
    check_eq("AT of no address", read_sys("par_el1") & 0xfff, 1 | TRANSLATION_FAULT << 1 | 1ul << 11);
}

static void devices(void)
{
    /* Attribute 1 is a device: accesses must be aligned. */
    map_page(DEVICE_MEMORY);
    run_insn(EL1H, LDR_X0_X0, VA + 9, 0);
    check_abort("misaligned access to a device", 1, EC(DABORT + 1) | ALIGNMENT, VA + 9);
    map_page(0);
    run_insn(EL1H, LDR_X0_X0, VA + 9, 0);
    check_no_trap("misaligned access to memory");
    write_sys("sctlr_el1", SCTLR_BASE | 2);
    run_insn(EL1H, LDR_X0_X0, VA + 9, 0);
    check_abort("SCTLR_EL1.A", 1, EC(DABORT + 1) | ALIGNMENT, VA + 9);
    write_sys("sctlr_el1", SCTLR_BASE);
    /* Over the end of the mapping: the address of the second page. */
    u64 end = VA + (1ul << g->page_bits);
    run_insn(EL1H, LDR_X0_X0, end - 4, 0);
    check_abort("over the end", 1, EC(DABORT + 1) | TRANSLATION_FAULT | 3, end);
}

void rom_main(void)
{
    static u64 identity[MAX_CPUS][512] __attribute__((aligned(4096)));
    u64 *lower = identity[cpu->id];
    lower[0] = DEVICE_MEMORY | AF | VALID;
    lower[1] = RAM | INNER | AF | VALID;
    for (u64 i = 0; i < 0x100000 / 8; i++)
        ((volatile u64 *)SCRATCH)[i] = 0;
    mmio32(TARGET + CODE) = SVC_(END_CALL);
    sync_code((const void *)(TARGET + CODE), 4);
    write_sys("mair_el1", MAIR);
    write_sys("ttbr0_el1", (u64)lower);
    write_sys("ttbr1_el1", TABLES);
    g = granules;
    control(0);
    write_sys("sctlr_el1", SCTLR_BASE);
    for (u64 i = 0; i < 3; i++) {
        if (!has_granule(granules + i))
            continue;
        barrier();
        g = granules + i;
        cpu->variant = g->name;
        for (u64 n = 0; n < 0xc0000 / 8; n++)
            ((volatile u64 *)SCRATCH)[n] = 0;
        control(0);
        levels();
        rights();
        flags();
        spaces();
        queries();
        devices();
        ranges();
        barrier();
    }
    write_sys("sctlr_el1", SCTLR_BASE & ~1ul);
}
