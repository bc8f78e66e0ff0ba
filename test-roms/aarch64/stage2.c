/* Stage 2: granules, levels, faults and what they report, permissions, both stages at once, VMIDs and maintenance. Code
 * runs at EL1 and EL0 as a guest; its faults come to EL2. */
#include "tables.h"

const char rom_name[] = "stage2";

#define VM 1ul
#define RW (1ul << 31)
/* Leaves of stage 2: readable, writable; normal memory. */
#define S2_READ (1ul << 6)
#define S2_WRITE (2ul << 6)
#define S2_MEMORY (0xful << 2)
#define S2_ALL (S2_READ | S2_WRITE | S2_MEMORY | AF)
#define DBM (1ul << 51)
#define XN (2ul << 53)

#define TABLES SCRATCH
#define TABLES1 (SCRATCH + 0x60000)
#define TARGET (SCRATCH + 0xf0000)
#define OTHER (SCRATCH + 0xd0000)
/* An intermediate address that is nothing else. */
#define IPA (0x9876540000ul & ((1ul << ipa_bits) - 1))
#define DATA 8
#define CODE 0x40
#define HALF_TCR (25ul | 1ul << 23 | 2ul << 32)

enum { READ, WRITE, FETCH };

static const struct granule *g;
static u64 start, ipa_bits;

static void stage2(u64 bits)
{
    u64 sl0 = g->page_bits == 12 ? 1 : 2 - (start == 2);
    write_sys("vtcr_el2", (64 - ipa_bits) | sl0 << 6 | g->tg0 << 14 | 2ul << 16 | 1ul << 31 | bits);
    tlbi("vmalls12e1");
}

static volatile u64 *map2(u64 ipa, u64 level, u64 leaf)
{
    for (u64 above = start; above < level; above++) {
        volatile u64 *entry = (volatile u64 *)(TABLES + (above - start) * 0x20000) +
                              ((ipa >> bits_below(g, above)) & (above == start ? 0x1fff : (1ul << (g->page_bits - 3)) - 1));
        *entry = (TABLES + (above + 1 - start) * 0x20000) | TABLE;
    }
    volatile u64 *entry = (volatile u64 *)(TABLES + (level - start) * 0x20000) +
                          ((ipa >> bits_below(g, level)) & (level == start ? 0x1fff : (1ul << (g->page_bits - 3)) - 1));
    *entry = leaf;
    tlbi("vmalls12e1");
    return entry;
}

static void access(u64 el, u64 kind, u64 va)
{
    static const u32 words[] = {LDR_X0_X0, STR_X1_X0, 0xd61f0000};
    run_insn(el ? EL1H : EL0T, words[kind], va + (kind == FETCH ? CODE : DATA), 0x1122334455667788);
    if (kind == FETCH)
        cpu->probe = va + CODE;
}

/* Of a load to x0 or a store of x1, with 64 bits: ISV, SAS, SRT, SF. */
static u64 access_syndrome(u64 kind) { return kind == FETCH ? 0 : 1ul << 24 | 3ul << 22 | (u64)(kind == WRITE) << 16 | 1ul << 15; }

static void expect_fault(const char *name, u64 el, u64 kind, u64 va, u64 ipa, u64 status)
{
    access(el, kind, va);
    u64 esr = EC(kind == FETCH ? IABORT : DABORT) | status | (kind == WRITE ? WNR : 0);
    if (status & S1PTW || kind == FETCH)
        check_abort(name, 2, esr, va + (kind == FETCH ? CODE : DATA));
    else
        check_abort(name, 2, esr | access_syndrome(kind), va + DATA);
    check_eq("HPFAR_EL2", last_trap()->hpfar, ipa >> 12 << 4);
}

static void expect(const char *name, u64 el, u64 va, u64 ipa, const char *rights, u64 status)
{
    for (u64 kind = READ; kind <= FETCH; kind++) {
        if (rights[kind] == '-') {
            expect_fault(name, el, kind, va, ipa, status);
            continue;
        }
        volatile u64 *data = (volatile u64 *)(TARGET + DATA);
        *data = 55;
        dsb();
        access(el, kind, va);
        check_no_trap(name);
        if (kind == READ)
            check_eq(name, last_trap()->x[0], 55);
        if (kind == WRITE)
            check_eq(name, *data, 0x1122334455667788);
    }
}

static void clear(void)
{
    for (u64 i = 0; i < 0x60000 / 8; i++)
        ((volatile u64 *)TABLES)[i] = 0;
}

/* All of the guest's memory as it is: by a block, or at the level below by as many. */
static void identity(void)
{
    u64 level = g->page_bits == 12 ? 1 : 2, size = 1ul << bits_below(g, level);
    for (u64 ipa = RAM; ipa < RAM + (128ul << 20); ipa += size)
        map2(ipa, level, ipa | S2_ALL | VALID);
}

static void levels(void)
{
    u64 first = g->page_bits == 12 ? 1 : 2;
    for (u64 level = first; level <= 3; level++) {
        cpu->item = level;
        u64 size = 1ul << bits_below(g, level), base = TARGET & ~(size - 1);
        u64 ipa = (IPA & ~(size - 1)) | (TARGET - base), kind = level == 3 ? PAGE : VALID;
        map2(ipa, level, base | S2_ALL | kind);
        expect("leaf", 1, ipa, ipa, "rwx", 0);
        map2(ipa, level, (base | S2_ALL | kind) & ~AF);
        for (u64 k = READ; k <= FETCH; k++)
            expect_fault("no access flag", 1, k, ipa, ipa, AF_FAULT | level);
        static const struct {
            u64 bits;
            const char *rights;
        } cases[] = {
            {S2_READ, "r-x"}, {S2_READ | S2_WRITE | XN, "rw-"}, {XN, "---"},
        };
        for (u64 i = 0; i < 3; i++) {
            map2(ipa, level, base | cases[i].bits | S2_MEMORY | AF | kind);
            expect("permissions", 1, ipa, ipa, cases[i].rights, PERMISSION_FAULT | level);
            expect("permissions of EL0", 0, ipa, ipa, cases[i].rights, PERMISSION_FAULT | level);
        }
        map2(ipa, level, 1ul << 41 | S2_ALL | kind);
        expect_fault("output too large", 1, READ, ipa, ipa, SIZE_FAULT | level);
        map2(ipa, level, 0);
        for (u64 k = READ; k <= FETCH; k++)
            expect_fault("not valid", 1, k, ipa, ipa, TRANSLATION_FAULT | level);
    }
    cpu->item = 0;
    expect_fault("too large", 1, READ, 1ul << ipa_bits, 1ul << ipa_bits, TRANSLATION_FAULT);
}

/* What a hypervisor learns of the instruction. */
static void syndromes(void)
{
    static const struct {
        u32 word;
        u64 iss;
    } cases[] = {
        {0x39400001, 1ul << 24 | 0ul << 22 | 1ul << 16},                          /* ldrb w1, [x0] */
        {0x79400002, 1ul << 24 | 1ul << 22 | 2ul << 16},                          /* ldrh w2, [x0] */
        {0xb9400003, 1ul << 24 | 2ul << 22 | 3ul << 16},                          /* ldr w3, [x0] */
        {0x39800004, 1ul << 24 | 0ul << 22 | 1ul << 21 | 4ul << 16 | 1ul << 15},  /* ldrsb x4, [x0] */
        {0x39c00005, 1ul << 24 | 0ul << 22 | 1ul << 21 | 5ul << 16},              /* ldrsb w5, [x0] */
        {0xb9800006, 1ul << 24 | 2ul << 22 | 1ul << 21 | 6ul << 16 | 1ul << 15},  /* ldrsw x6, [x0] */
        {0xb9000007, 1ul << 24 | 2ul << 22 | 7ul << 16 | WNR},                    /* str w7, [x0] */
        {0x3900001f, 1ul << 24 | 31ul << 16 | WNR},                               /* strb wzr, [x0] */
        {0xf8400008, 1ul << 24 | 3ul << 22 | 8ul << 16 | 1ul << 15},              /* ldur x8, [x0] */
        {0xf8616809, 1ul << 24 | 3ul << 22 | 9ul << 16 | 1ul << 15},              /* ldr x9, [x0, x1] */
        {0x88dffc0a, 1ul << 24 | 2ul << 22 | 10ul << 16 | 1ul << 14},             /* ldar w10, [x0] */
        {0xf8408400 | 11, 0},                                                     /* ldr x11, [x0], #8 */
        {0xa9400000 | 12 | 13ul << 10, 0},                                        /* ldp x12, x13, [x0] */
    };
    map2(IPA, 3, 0);
    for (u64 i = 0; i < sizeof cases / sizeof *cases; i++) {
        cpu->item = i + 1;
        run_insn(EL1H, cases[i].word, IPA, 0);
        check_abort("syndrome", 2, EC(DABORT) | TRANSLATION_FAULT | 3 | cases[i].iss, IPA);
    }
    cpu->item = 0;
}

#define VA 0xffff812345670000ul

static void both(void)
{
    static u64 lower[MAX_CPUS][512] __attribute__((aligned(4096)));
    const struct granule *first = granules;
    u64 *identity1 = lower[cpu->id];
    identity1[1] = RAM | INNER | AF | VALID;
    for (u64 i = 0; i < 0x40000 / 8; i++)
        ((volatile u64 *)TABLES1)[i] = 0;
    map(first, TABLES1, 0, 3, VA, 0, IPA | AF | PAGE);
    map2(IPA, 3, TARGET | S2_ALL | PAGE);
    write_sys("mair_el1", MAIR);
    write_sys("tcr_el1", 25ul | 16ul << 16 | 2ul << 30 | 2ul << 32);
    write_sys("ttbr0_el1", (u64)identity1);
    write_sys("ttbr1_el1", TABLES1);
    write_sys("sctlr_el1", 0x30d00801ul);
    tlbi("vmalls12e1");
    expect("both stages", 1, VA, IPA, "rwx", 0);
    /* Rights are those that both give; the first stage is asked first. */
    map2(IPA, 3, TARGET | S2_READ | S2_MEMORY | AF | PAGE);
    expect("read-only in the second", 1, VA, IPA, "r-x", PERMISSION_FAULT | 3);
    map(first, TABLES1, 0, 3, VA, 0, IPA | AF | 1ul << 7 | PAGE);
    tlbi("vmalls12e1");
    access(1, WRITE, VA);
    check_abort("read-only in the first", 1, EC(DABORT + 1) | PERMISSION_FAULT | 3 | WNR, VA + DATA);
    map(first, TABLES1, 0, 3, VA, 0, IPA | AF | PAGE);
    map2(IPA, 3, 0);
    expect("not in the second", 1, VA, IPA, "---", TRANSLATION_FAULT | 3);
    /* A table that the second stage does not have. */
    volatile u64 *entry = entry_of(first, TABLES1, 0, 2, VA);
    u64 table = *entry, at3 = (u64)entry_of(first, IPA, 3, 3, VA);
    *entry = IPA | TABLE;
    tlbi("vmalls12e1");
    expect("a table not in the second", 1, VA, at3, "---", TRANSLATION_FAULT | 3 | S1PTW);
    *entry = table;
    /* AT from EL1 and from EL2. */
    map2(IPA, 3, TARGET | S2_ALL | PAGE);
    run_insn(EL1H, MSR_X0(1, 0, 7, 8, 0), VA, 0);
    check_eq("AT S1E1R gives the intermediate address", read_sys("par_el1") & 0xfffffffff001, IPA);
    at("s12e1r", VA);
    check_eq("AT S12E1R gives the address", read_sys("par_el1") & 0xfffffffff001, TARGET);
    map2(IPA, 3, 0);
    at("s12e1r", VA);
    check_eq("AT S12E1R of nothing", read_sys("par_el1") & 0xfff, 1 | (TRANSLATION_FAULT | 3) << 1 | 1ul << 9 | 1ul << 11);
    /* Maintenance by intermediate address, by virtual address, of all. */
    for (u64 way = 0; way < 3; way++) {
        cpu->item = way + 1;
        volatile u64 *leaf = map2(IPA, 3, TARGET | S2_ALL | PAGE);
        mmio64(TARGET + DATA) = 1;
        mmio64(OTHER + DATA) = 2;
        access(1, READ, VA);
        check_eq("before", last_trap()->x[0], 1);
        *leaf = OTHER | S2_ALL | PAGE;
        if (way == 0) {
            tlbi_va("ipas2e1is", IPA >> 12);
            tlbi("vmalle1is");
        } else if (way == 1) {
            tlbi("vmalls12e1is");
        } else {
            tlbi("alle1is");
        }
        access(1, READ, VA);
        check_eq("after", last_trap()->x[0], 2);
    }
    cpu->item = 0;
    /* Another guest has never seen the page. */
    volatile u64 *leaf = map2(IPA, 3, TARGET | S2_ALL | PAGE);
    write_sys("vttbr_el2", TABLES | 5ul << 48);
    access(1, READ, VA);
    check_eq("guest 5", last_trap()->x[0], 1);
    *leaf = OTHER | S2_ALL | PAGE;
    dsb();
    write_sys("vttbr_el2", TABLES | 6ul << 48);
    access(1, READ, VA);
    check_eq("guest 6", last_trap()->x[0], 2);
    write_sys("vttbr_el2", TABLES);
    write_sys("sctlr_el1", 0x30d00800ul);
    tlbi("alle1");
}

static void flags(void)
{
    u64 hafdbs = field(read_sys("id_aa64mmfr1_el1"), 0);
    if (hafdbs >= 2) {
        stage2(3ul << 21);
        volatile u64 *entry = map2(IPA, 3, TARGET | S2_READ | S2_MEMORY | DBM | PAGE);
        access(1, READ, IPA);
        check_no_trap("clean");
        check_eq("accessed", *entry, TARGET | S2_READ | S2_MEMORY | DBM | AF | PAGE);
        access(1, WRITE, IPA);
        check_no_trap("first write");
        check_eq("dirty", *entry, TARGET | S2_READ | S2_WRITE | S2_MEMORY | DBM | AF | PAGE);
        stage2(0);
    }
}

void rom_main(void)
{
    if (cpu->home < 2)
        return;
    u64 hcr = read_sys("hcr_el2");
    write_sys("sctlr_el1", 0x30d00800ul);
    for (u64 i = 0; i < 3; i++) {
        if (!has_granule(granules + i))
            continue;
        g = granules + i;
        barrier();
        cpu->variant = g->name;
        /* 4 KiB: from level 1, with two tables side by side. */
        start = g->page_bits == 12 ? 1 : 2;
        ipa_bits = g->page_bits == 14 ? 36 : 40;
        clear();
        mmio32(TARGET + CODE) = SVC_(END_CALL);
        sync_code((const void *)(TARGET + CODE), 4);
        write_sys("vttbr_el2", TABLES);
        stage2(0);
        identity();
        write_sys("hcr_el2", hcr | VM);
        levels();
        syndromes();
        flags();
        both();
        write_sys("hcr_el2", hcr);
        tlbi("alle1");
        barrier();
    }
    cpu->variant = 0;
}
