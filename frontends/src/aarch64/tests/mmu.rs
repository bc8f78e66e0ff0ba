//! Address translation.

use emu_core::exec::{Access, Perms, Translation};
use emu_core::ir::{MemAttr, Ty, View};

use super::super::bits::sctlr;
use super::super::mmu::{Found, Purpose, Rights, find};
use super::super::syndrome::{ALIGNMENT_FAULT, CM, S1PTW, WNR, target};
use super::*;

const VALID: u64 = 1;
const TABLE: u64 = 2;
const PAGE: u64 = 3;
const USER: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const AF: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const DBM: u64 = 1 << 51;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// Stage 2: readable and writable.
const S2_ALL: u64 = 3 << 6 | AF | 0xf << 2;

/// Tables of stage 1; each takes 64 KiB.
const ROOT: u64 = RAM + 0x10_0000;
/// Tables of stage 2.
const ROOT2: u64 = RAM + 0x20_0000;
/// What the leaves under test map.
const TARGET: u64 = RAM + 0x30_0000;
const STEP: u64 = 0x1_0000;

/// Granules: log2 of the page size, `TG0`, `TG1`, the level at which 48 bits begin, and the levels with blocks.
const GRANULES: [(u32, u64, u64, u32, &[u32]); 3] =
    [(12, 0, 2, 0, &[1, 2]), (14, 2, 1, 0, &[2]), (16, 1, 3, 1, &[2])];

const LOWER: u64 = 0x0000_5432_1098_7000;
const UPPER: u64 = 0xffff_a987_6543_2000;

fn poke(cpu: &Cpu, pa: u64, value: u64) {
    let ram = cpu.bus.ram();
    ram.store::<u64>(ram.offset_of(pa, 8).unwrap(), value);
}

fn peek(cpu: &Cpu, pa: u64) -> u64 {
    let ram = cpu.bus.ram();
    ram.load(ram.offset_of(pa, 8).unwrap())
}

/// Bits of addresses below what an entry of `level` maps.
fn bits_below(page_bits: u32, level: u32) -> u32 {
    page_bits + (page_bits - 3) * (3 - level)
}

/// Where the entry of `level` is that maps `va`, of tables from `root` that begin at level `start`.
fn entry(root: u64, page_bits: u32, start: u32, level: u32, va: u64) -> u64 {
    let index = va >> bits_below(page_bits, level) & ((1 << (page_bits - 3)) - 1);
    // The first table has what is left of 48 bits.
    let index = if level == start { index & ((1 << (48 - bits_below(page_bits, start))) - 1) } else { index };
    root + u64::from(level - start) * STEP + index * 8
}

/// Maps `va` by `leaf` at `level`, with table entries that have these attributes.
fn map(cpu: &Cpu, root: u64, [page_bits, start, level]: [u32; 3], va: u64, tables: u64, leaf: u64) {
    for above in start..level {
        let below = root + u64::from(above + 1 - start) * STEP;
        poke(cpu, entry(root, page_bits, start, above, va), below | tables | TABLE | VALID);
    }
    poke(cpu, entry(root, page_bits, start, level, va), leaf);
}

/// `TCR_EL1` for 48 bits in both halves.
fn control(tg0: u64, tg1: u64) -> u64 {
    16 | tg0 << 14 | 16 << 16 | tg1 << 30 | 5 << 32
}

/// A processor at EL1 with stage 1 on, 48 bits, and the same tables for both halves.
fn paged(tg0: u64, tg1: u64) -> Cpu {
    let mut cpu = cpu_at(1);
    set(&mut cpu, Reg::MAIR_EL1, 0xff);
    set(&mut cpu, Reg::TCR_EL1, control(tg0, tg1));
    set(&mut cpu, Reg::TTBR0_EL1, ROOT);
    set(&mut cpu, Reg::TTBR1_EL1, ROOT);
    set(&mut cpu, Reg::SCTLR_EL1, sctlr::M | sctlr::SPAN);
    cpu
}

/// The same with pages of 4 KiB, and `leaf` as the last entry for [`LOWER`].
fn with_page(leaf: u64) -> Cpu {
    let cpu = paged(0, 2);
    map(&cpu, ROOT, [12, 0, 3], LOWER, 0, leaf);
    cpu
}

fn translate(cpu: &mut Cpu, va: u64, access: Access) -> Result<Translation, Exception> {
    Aarch64::translate(cpu, va, 1, access, View::Current)
}

fn allowed(cpu: &mut Cpu, va: u64) -> [bool; 3] {
    ACCESSES.map(|access| translate(cpu, va, access).is_ok())
}

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];

/// The abort of an access with this fault status.
fn abort(va: u64, access: Access, status: u32) -> Exception {
    let (class, direction) = match access {
        Access::Fetch => (class::INSTRUCTION_ABORT, 0),
        Access::Read => (class::DATA_ABORT, 0),
        Access::Write => (class::DATA_ABORT, WNR),
    };
    Exception::new(syndrome(class, status | direction).into(), va)
}

/// Checks that every access to `va` fails with this status.
fn expect_faults(cpu: &mut Cpu, va: u64, status: u32, why: &str) {
    for access in ACCESSES {
        assert_eq!(translate(cpu, va, access), Err(abort(va, access, status)), "{why}, {access:?}");
    }
}

#[test]
fn leaves_at_every_level_of_every_granule() {
    for (page_bits, tg0, tg1, start, blocks) in GRANULES {
        for level in blocks.iter().copied().chain([3]) {
            for va in [LOWER, UPPER] {
                let mut cpu = paged(tg0, tg1);
                let size = 1u64 << bits_below(page_bits, level);
                let base = TARGET & !(size - 1);
                let kind = if level == 3 { PAGE } else { VALID };
                map(&cpu, ROOT, [page_bits, start, level], va, 0, base | AF | kind);
                for access in ACCESSES {
                    let found = translate(&mut cpu, va | 0xabc, access).unwrap();
                    assert_eq!(found.pa, base | (va | 0xabc) & (size - 1), "{page_bits} bits, level {level}");
                    assert_eq!(u32::from(found.page_bits), bits_below(page_bits, level));
                    assert_eq!(found.perms, Perms { read: true, write: true, fetch: true });
                    assert!(found.cacheable && found.global && found.context == 0);
                }
            }
        }
    }
}

#[test]
fn invalid_entries_fault_at_their_level() {
    for (page_bits, tg0, tg1, start, blocks) in GRANULES {
        for level in start..4 {
            let mut cpu = paged(tg0, tg1);
            map(&cpu, ROOT, [page_bits, start, level], LOWER, 0, TARGET | AF | TABLE);
            expect_faults(&mut cpu, LOWER, 4 | level, "not valid");
            if level == 3 || !blocks.contains(&level) {
                // No block may be here.
                map(&cpu, ROOT, [page_bits, start, level], LOWER, 0, AF | VALID);
                expect_faults(&mut cpu, LOWER, 4 | level, "reserved");
            }
            // Nothing answers at the address of the table.
            if level < 3 {
                map(&cpu, ROOT, [page_bits, start, level], LOWER, 0, 0x10_0000 | TABLE | VALID);
                expect_faults(&mut cpu, LOWER, 0x14 | (level + 1), "no memory");
            }
        }
    }
}

#[test]
fn addresses_must_be_in_range() {
    let mut cpu = with_page(TARGET | AF | PAGE);
    expect_faults(&mut cpu, LOWER | 1 << 48, 4, "beyond 48 bits");
    expect_faults(&mut cpu, LOWER | 0xff << 56, 4, "a tag");
    // The top byte may be ignored, and an access through a tag is as large as anything for flushes.
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 1 << 37);
    let found = translate(&mut cpu, LOWER | 0xa5 << 56, Access::Read).unwrap();
    assert_eq!((found.pa, found.page_bits, found.cacheable), (TARGET, 64, true));
    // But not for fetches, if so chosen.
    let fetched = translate(&mut cpu, LOWER | 0xa5 << 56, Access::Fetch).unwrap();
    assert_eq!((fetched.pa, fetched.cacheable), (TARGET, false));
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 1 << 37 | 1 << 51);
    let va = LOWER | 0xa5 << 56;
    assert_eq!(translate(&mut cpu, va, Access::Fetch), Err(abort(va, Access::Fetch, 4)));
    // Walks may be disabled, sizes be impossible.
    for (bits, why) in [(1 << 7, "EPD0"), (15 ^ 16, "T0SZ")] {
        set(&mut cpu, Reg::TCR_EL1, control(0, 2) ^ bits);
        let larger = bits == 15 ^ 16;
        if larger {
            set(&mut cpu, Reg::TCR_EL1, control(0, 2) & !0x3f | 15);
        }
        expect_faults(&mut cpu, LOWER, 4, why);
    }
    // Fewer bits begin at a lower level.
    for size in 17..=48 {
        let bits = 64 - size;
        set(&mut cpu, Reg::TCR_EL1, control(0, 2) & !0x3f | size);
        let va = LOWER & ((1 << bits) - 1);
        let start = 4 - (bits as u32 - 12).div_ceil(9);
        map(&cpu, ROOT, [12, start, 3], va, 0, TARGET | AF | PAGE);
        assert_eq!(translate(&mut cpu, va, Access::Read).map(|found| found.pa), Ok(TARGET), "{size}");
        expect_faults(&mut cpu, va | 1 << bits, 4, "too large");
    }
}

#[test]
fn output_addresses_must_fit() {
    let cpu = &mut with_page(1 << 40 | AF | PAGE);
    set(cpu, Reg::TCR_EL1, control(0, 2) & !(7 << 32) | 2 << 32);
    expect_faults(cpu, LOWER, 3, "the page");
    map(cpu, ROOT, [12, 0, 1], LOWER, 0, 1 << 44 | TABLE | VALID);
    expect_faults(cpu, LOWER, 1, "a table");
    set(cpu, Reg::TTBR0_EL1, 1 << 47);
    expect_faults(cpu, LOWER, 0, "the first table");
    // A model with fewer bits has no more than those.
    let mut config = config("cortex-a57");
    config.el3 = false;
    config.el2 = false;
    let mut small = cpu_of(config, Wiring::default(), 1);
    for access in ACCESSES {
        assert_eq!(translate(&mut small, 1 << 44, access), Err(abort(1 << 44, access, 0)));
    }
}

/// What EL0 and EL1 may do: read, write, fetch.
type Table = [(u64, [bool; 3], [bool; 3])];

#[test]
fn permissions() {
    const NONE: [bool; 3] = [false; 3];
    let table: &Table = &[
        (0, [false, false, true], [true, true, true]),
        (USER, [true, true, true], [true, true, false]),
        (READ_ONLY, [false, false, true], [true, false, true]),
        (USER | READ_ONLY, [true, false, true], [true, false, true]),
        (UXN, NONE, [true, true, true]),
        (PXN, [false, false, true], [true, true, false]),
        (USER | UXN | PXN, [true, true, false], [true, true, false]),
        (USER | READ_ONLY | UXN, [true, false, false], [true, false, true]),
        (USER | READ_ONLY | PXN, [true, false, true], [true, false, false]),
    ];
    for &(bits, user, kernel) in table {
        let mut cpu = with_page(TARGET | AF | PAGE | bits);
        for (el, expected) in [(0, user), (1, kernel)] {
            enter(&mut cpu, el);
            assert_eq!(allowed(&mut cpu, LOWER), expected, "{bits:#x} at EL{el}");
            for access in ACCESSES {
                if let Err(exception) = translate(&mut cpu, LOWER, access) {
                    assert_eq!(exception, abort(LOWER, access, 0xf), "permission fault at level 3");
                }
            }
        }
        // Privileged access never: what EL0 may access. Fetches are not concerned.
        set(&mut cpu, Reg::PAN, 1 << 22);
        let data = bits & USER == 0;
        assert_eq!(
            allowed(&mut cpu, LOWER),
            [data && kernel[0], data && kernel[1], kernel[2]],
            "PAN {bits:#x}"
        );
        for (instruction, expected) in [
            (Reg::DC_CVAC, kernel[0]),
            (Reg::IC_IVAU, kernel[0]),
            (Reg::DC_IVAC, kernel[1]),
            (Reg::DC_ZVA, data && kernel[1]),
        ] {
            assert_eq!(sys(&mut cpu, instruction, LOWER).is_ok(), expected, "{instruction:?} {bits:#x}");
        }
        // Unprivileged accesses have the rights of EL0, unless UAO says otherwise.
        let unprivileged = |cpu: &mut Cpu| {
            [Access::Read, Access::Write]
                .map(|access| Aarch64::translate(cpu, LOWER, 1, access, View::Unprivileged).is_ok())
        };
        assert_eq!(unprivileged(&mut cpu), user[..2], "LDTR {bits:#x}");
        set(&mut cpu, Reg::UAO, 1 << 23);
        assert_eq!(unprivileged(&mut cpu), [data && kernel[0], data && kernel[1]], "UAO {bits:#x}");
        set(&mut cpu, Reg::UAO, 0);
        set(&mut cpu, Reg::PAN, 0);
        // What may be written is not executed.
        set(&mut cpu, Reg::SCTLR_EL1, sctlr::M | sctlr::SPAN | sctlr::WXN);
        assert_eq!(allowed(&mut cpu, LOWER)[2], kernel[2] && !kernel[1], "WXN {bits:#x}");
        enter(&mut cpu, 0);
        assert_eq!(allowed(&mut cpu, LOWER)[2], user[2] && !user[1], "WXN {bits:#x} at EL0");
    }
}

#[test]
fn tables_take_rights_away() {
    const XN: u64 = 1 << 60;
    let table: &Table = &[
        (1 << 59, [true; 3], [true, true, false]),
        (XN, [true, true, false], [true, true, false]),
        (1 << 61, [false, false, true], [true, true, true]),
        (2 << 61, [true, false, true], [true, false, true]),
        (3 << 61, [false, false, true], [true, false, true]),
    ];
    for &(bits, user, kernel) in table {
        let mut cpu = paged(0, 2);
        map(&cpu, ROOT, [12, 0, 3], LOWER, bits, TARGET | AF | PAGE | USER);
        for flat in [false, true] {
            set(&mut cpu, Reg::TCR_EL1, control(0, 2) | u64::from(flat) << 41);
            for (el, expected) in [(0, user), (1, kernel)] {
                enter(&mut cpu, el);
                let plain = if el == 0 { [true; 3] } else { [true, true, false] };
                assert_eq!(allowed(&mut cpu, LOWER), if flat { plain } else { expected }, "{bits:#x} EL{el}");
            }
        }
    }
}

#[test]
fn el0_may_be_kept_out_of_a_half() {
    let mut cpu = with_page(TARGET | AF | PAGE | USER);
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 1 << 55);
    assert_eq!(allowed(&mut cpu, LOWER), [true, true, false]);
    enter(&mut cpu, 0);
    expect_faults(&mut cpu, LOWER, 4, "E0PD0");
}

#[test]
fn access_flag_and_dirty_state() {
    let at = entry(ROOT, 12, 0, 3, LOWER);
    let mut cpu = with_page(TARGET | PAGE);
    expect_faults(&mut cpu, LOWER, 0xb, "access flag");
    // The hardware may set it.
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 1 << 39);
    assert!(translate(&mut cpu, LOWER, Access::Read).unwrap().perms.write);
    assert_eq!(peek(&cpu, at), TARGET | PAGE | AF);
    // A clean page that may be written: the first write makes it dirty, and only from then on may writes be cached.
    poke(&cpu, at, TARGET | PAGE | AF | READ_ONLY | DBM);
    assert_eq!(translate(&mut cpu, LOWER, Access::Write), Err(abort(LOWER, Access::Write, 0xf)), "no HD");
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 3 << 39);
    assert!(!translate(&mut cpu, LOWER, Access::Read).unwrap().perms.write);
    assert_eq!(peek(&cpu, at), TARGET | PAGE | AF | READ_ONLY | DBM);
    assert!(translate(&mut cpu, LOWER, Access::Write).unwrap().perms.write);
    assert_eq!(peek(&cpu, at), TARGET | PAGE | AF | DBM);
    // Nothing is marked for what is refused.
    poke(&cpu, at, TARGET | PAGE | READ_ONLY | DBM);
    enter(&mut cpu, 0);
    assert_eq!(translate(&mut cpu, LOWER, Access::Write), Err(abort(LOWER, Access::Write, 0xf)));
    assert_eq!(peek(&cpu, at), TARGET | PAGE | READ_ONLY | DBM);
    // Without the feature all of it is software's business.
    let mut old = cpu_of(config("cortex-a57"), Wiring::default(), 1);
    set(&mut old, Reg::SCR_EL3, scr::NS);
    set(&mut old, Reg::TCR_EL1, control(0, 2) | 3 << 39);
    set(&mut old, Reg::TTBR0_EL1, ROOT);
    set(&mut old, Reg::MAIR_EL1, 0xff);
    set(&mut old, Reg::SCTLR_EL1, sctlr::M);
    map(&old, ROOT, [12, 0, 3], LOWER, 0, TARGET | PAGE);
    enter(&mut old, 1);
    expect_faults(&mut old, LOWER, 0xb, "no HAFDBS");
}

#[test]
fn address_spaces() {
    let mut cpu = with_page(TARGET | AF | PAGE | USER | NOT_GLOBAL);
    assert!(!translate(&mut cpu, LOWER, Access::Read).unwrap().global);
    set(&mut cpu, Reg::TTBR0_EL1, ROOT | 0x1234 << 48);
    set(&mut cpu, Reg::TTBR1_EL1, ROOT | 0x5678 << 48);
    let asid = |cpu: &mut Cpu, bits: u64| {
        set(cpu, Reg::TCR_EL1, control(0, 2) | bits);
        enter(cpu, 0);
        let space = cpu.mode().data[0];
        assert!(space.per_asid && space == cpu.mode().fetch);
        enter(cpu, 1);
        let kernel = cpu.mode().data[0];
        assert!(!kernel.per_asid && kernel.asid == space.asid && kernel.mode != space.mode);
        // LDTR shares what EL0 has cached.
        assert_eq!(cpu.mode().data[View::Unprivileged as usize], space);
        space.asid
    };
    assert_eq!(asid(&mut cpu, 0), 0x34);
    assert_eq!(asid(&mut cpu, 1 << 36), 0x1234);
    assert_eq!(asid(&mut cpu, 1 << 36 | 1 << 22), 0x5678);
    // PAN has translations of its own, but not for fetches.
    let before = *cpu.mode();
    set(&mut cpu, Reg::PAN, 1 << 22);
    assert_ne!(cpu.mode().data[0], before.data[0]);
    assert_eq!(cpu.mode().fetch, before.fetch);
}

#[test]
fn devices_refuse_misaligned_accesses() {
    // Attribute 1: nGnRE.
    let mut cpu = with_page(TARGET | AF | PAGE | 1 << 2);
    set(&mut cpu, Reg::MAIR_EL1, 0x04ff);
    let load = |cpu: &mut Cpu, va: u64| cpu.load(Ty::I32, MemAttr::PLAIN, va);
    assert!(load(&mut cpu, LOWER + 4).is_ok());
    let fault = abort(LOWER + 2, Access::Read, ALIGNMENT_FAULT);
    assert_eq!(load(&mut cpu, LOWER + 2), Err(fault.into()));
    set(&mut cpu, Reg::MAIR_EL1, 0xffff);
    assert!(load(&mut cpu, LOWER + 2).is_ok());
    // With stage 1 off everything is a device, which lifting knows.
    set(&mut cpu, Reg::SCTLR_EL1, 0);
    assert!(cpu.isa.context().align);
    assert_eq!(translate(&mut cpu, TARGET, Access::Write).map(|found| found.pa), Ok(TARGET));
}

#[test]
fn lifting_knows_where_all_is_device() {
    for (el, hypervisor, on, device) in [
        (0, 0, [false; 3], true),
        (0, 0, [true, false, false], false),
        (0, hcr::DC, [false; 3], false),
        // EL2 takes stage 1 away from EL0.
        (0, hcr::TGE, [true; 3], true),
        (0, hcr::TGE | hcr::DC, [true; 3], false),
        (0, hcr::TGE | hcr::E2H, [true, false, false], true),
        (0, hcr::TGE | hcr::E2H, [false, true, false], false),
        (1, 0, [false, true, true], true),
        (2, hcr::DC, [true, false, true], true),
        (3, 0, [false, false, true], false),
    ] {
        let mut cpu = cpu_at(el);
        for (register, on) in [Reg::SCTLR_EL1, Reg::SCTLR_EL2, Reg::SCTLR_EL3].into_iter().zip(on) {
            set(&mut cpu, register, u64::from(on));
        }
        set(&mut cpu, Reg::HCR_EL2, hypervisor);
        assert_eq!(cpu.isa.context().align, device, "EL{el}, {hypervisor:#x}, {on:?}");
    }
}

#[test]
fn lifting_knows_where_blocks_can_be_zeroed() {
    for (el, hypervisor, control, allowed) in [
        (0, 0, 0, false),
        (0, 0, sctlr::DZE, true),
        (0, hcr::TDZ, sctlr::DZE, false),
        (1, 0, 0, true),
        (1, hcr::TDZ, 0, false),
        (2, hcr::TDZ, 0, true),
    ] {
        let mut cpu = cpu_at(el);
        set(&mut cpu, Reg::SCTLR_EL1, control);
        set(&mut cpu, Reg::HCR_EL2, hypervisor);
        let found = (cpu.isa.context().zva, get(&cpu, Reg::DCZID_EL0) >> 4 == 0);
        assert_eq!(found, (allowed, allowed), "EL{el}, {hypervisor:#x}, {control:#x}");
    }
}

#[test]
fn guarded_pages_tell_lifting() {
    let mut cpu = with_page(TARGET | AF | PAGE | 1 << 50);
    let found = translate(&mut cpu, LOWER, Access::Fetch).unwrap();
    assert_eq!(found.context, super::super::Context::GUARDED);
}

#[test]
fn other_regimes() {
    // EL3 and EL2 have one range, and no EL0.
    for (el, base, tcr, mair, control) in [
        (2, Reg::TTBR0_EL2, Reg::TCR_EL2, Reg::MAIR_EL2, Reg::SCTLR_EL2),
        (3, Reg::TTBR0_EL3, Reg::TCR_EL3, Reg::MAIR_EL3, Reg::SCTLR_EL3),
    ] {
        let mut cpu = cpu_at(el);
        set(&mut cpu, mair, 0xff);
        set(&mut cpu, tcr, 16 | 5 << 16);
        set(&mut cpu, base, ROOT);
        set(&mut cpu, control, sctlr::M);
        map(&cpu, ROOT, [12, 0, 3], LOWER, 0, TARGET | AF | PAGE | USER);
        assert_eq!(allowed(&mut cpu, LOWER), [true; 3], "EL{el}");
        assert!(translate(&mut cpu, LOWER, Access::Read).unwrap().global);
        map(&cpu, ROOT, [12, 0, 3], LOWER, 0, TARGET | AF | PAGE | USER | UXN | READ_ONLY);
        assert_eq!(allowed(&mut cpu, LOWER), [true, false, false], "EL{el}");
        expect_faults(&mut cpu, UPPER, 4, "no upper half");
    }
    // A host has two, and its EL0 has them, too.
    let mut cpu = cpu_at(2);
    set(&mut cpu, Reg::HCR_EL2, hcr::E2H | hcr::TGE);
    set(&mut cpu, Reg::MAIR_EL2, 0xff);
    set(&mut cpu, Reg::TCR_EL2, control(0, 2));
    set(&mut cpu, Reg::TTBR1_EL2, ROOT);
    set(&mut cpu, Reg::SCTLR_EL2, sctlr::M);
    map(&cpu, ROOT, [12, 0, 3], UPPER, 0, TARGET | AF | PAGE | USER);
    assert_eq!(allowed(&mut cpu, UPPER), [true, true, false]);
    enter(&mut cpu, 0);
    assert_eq!(allowed(&mut cpu, UPPER), [true; 3]);
}

/// `VTCR_EL2` for 40 bits, pages of 4 KiB, beginning at level 1 with two tables side by side.
const STAGE2: u64 = 24 | 1 << 6 | 5 << 16;

/// The same as [`with_page`], with stage 2 on, the first stage's output at the intermediate address `ipa`, and stage 2 the
/// identity of the first stage's tables.
fn nested(ipa: u64, leaf2: u64) -> Cpu {
    let mut cpu = with_page(ipa | AF | PAGE);
    set(&mut cpu, Reg::VTCR_EL2, STAGE2);
    set(&mut cpu, Reg::VTTBR_EL2, ROOT2 | 0x17 << 48);
    let hcr = get(&cpu, Reg::HCR_EL2);
    set(&mut cpu, Reg::HCR_EL2, hcr | hcr::VM);
    for at in (ROOT..ROOT + 0x10_0000).step_by(0x1000) {
        map2(&cpu, at, at | S2_ALL | PAGE);
    }
    map2(&cpu, ipa, leaf2);
    cpu
}

/// Where the last entry of stage 2 is for `ipa`.
fn entry2(ipa: u64) -> u64 {
    ROOT2 + 0x4_0000 + (ipa >> 21 & 7) * 0x1000 + (ipa >> 12 & 511) * 8
}

/// Maps `ipa`, below 2^40, by a page of stage 2. Only addresses that share their last tables by bits 23 to 21 are told apart.
fn map2(cpu: &Cpu, ipa: u64, leaf: u64) {
    poke(cpu, ROOT2 + (ipa >> 30) * 8, (ROOT2 + 0x2_0000 + (ipa >> 30 & 1) * 0x1000) | TABLE | VALID);
    let middle = ROOT2 + 0x2_0000 + (ipa >> 30 & 1) * 0x1000 + (ipa >> 21 & 511) * 8;
    poke(cpu, middle, (ROOT2 + 0x4_0000 + (ipa >> 21 & 7) * 0x1000) | TABLE | VALID);
    poke(cpu, entry2(ipa), leaf);
}

/// A stage 2 abort of an access to [`LOWER`].
fn abort2(access: Access, status: u32, ipa: u64) -> Exception {
    let Exception { cause, value, .. } = abort(LOWER, access, status);
    Exception { cause: target(cause as u32, 2), value, extra: ipa & !0xfff | 1 }
}

const IPA: u64 = 0x00aa_0060_5000;

#[test]
fn two_stages() {
    let mut cpu = nested(IPA, TARGET | S2_ALL | PAGE);
    for access in ACCESSES {
        let found = translate(&mut cpu, LOWER | 0x123, access).unwrap();
        assert_eq!((found.pa, found.page_bits), (TARGET | 0x123, 12));
    }
    let space = cpu.mode().data[0];
    assert_eq!((space.per_asid, space.asid), (true, 0x17 << 16));
    // Rights are those that both stages give.
    for (bits, expected) in [
        (S2_ALL, [true, true, true]),
        (S2_ALL & !(1 << 7), [true, false, true]),
        (S2_ALL & !(3 << 6), [false, false, false]),
        (S2_ALL | 2 << 53, [true, true, false]),
        (S2_ALL | 1 << 53, [true, true, false]),
        (S2_ALL | 3 << 53, [true, true, true]),
    ] {
        map2(&cpu, IPA, TARGET | bits | PAGE);
        assert_eq!(allowed(&mut cpu, LOWER), expected, "{bits:#x}");
        for access in ACCESSES {
            if let Err(exception) = translate(&mut cpu, LOWER, access) {
                assert_eq!(exception, abort2(access, 0xf, IPA), "{bits:#x}");
            }
        }
    }
    map2(&cpu, IPA, 0);
    for access in ACCESSES {
        assert_eq!(
            translate(&mut cpu, LOWER | 8, access),
            Err(Exception { value: LOWER | 8, ..abort2(access, 7, IPA) })
        );
    }
    map2(&cpu, IPA, TARGET | S2_ALL & !AF | PAGE);
    assert_eq!(translate(&mut cpu, LOWER, Access::Read), Err(abort2(Access::Read, 0xb, IPA)));
    // The hardware marks here, too.
    set(&mut cpu, Reg::VTCR_EL2, STAGE2 | 3 << 21);
    map2(&cpu, IPA, TARGET | 1 << 6 | 0xf << 2 | DBM | PAGE);
    assert!(!translate(&mut cpu, LOWER, Access::Read).unwrap().perms.write);
    assert_eq!(peek(&cpu, entry2(IPA)), TARGET | 1 << 6 | 0xf << 2 | DBM | PAGE | AF);
    assert!(translate(&mut cpu, LOWER, Access::Write).unwrap().perms.write);
    assert_eq!(peek(&cpu, entry2(IPA)), TARGET | 3 << 6 | 0xf << 2 | DBM | PAGE | AF);
    // The walk of stage 1 faults at stage 2.
    map2(&cpu, ROOT + 2 * STEP, 0);
    for access in ACCESSES {
        let at = entry(ROOT, 12, 0, 2, LOWER);
        assert_eq!(translate(&mut cpu, LOWER, access), Err(abort2(access, 7 | S1PTW, at)));
    }
    // An impossible setup.
    set(&mut cpu, Reg::VTCR_EL2, STAGE2 | 3 << 6);
    assert_eq!(translate(&mut cpu, LOWER, Access::Read), Err(abort2(Access::Read, 4 | S1PTW, ROOT)));
}

#[test]
fn maintenance_and_queries_fault_as_writes() {
    let mut cpu = nested(IPA, TARGET | S2_ALL | PAGE);
    map(&cpu, ROOT, [12, 0, 3], LOWER, 0, 0);
    let fails = |exception| Err(Stop::Exception(exception));
    assert_eq!(sys(&mut cpu, Reg::DC_CIVAC, LOWER), fails(abort(LOWER, Access::Write, 7 | CM)));
    assert_eq!(sys(&mut cpu, Reg::AT_S1E1R, LOWER), Ok(0));
    assert_eq!(get(&cpu, Reg::PAR_EL1) & 0x7f, 7 << 1 | 1);
    // The hypervisor is told that it has taken the table away.
    map2(&cpu, ROOT, 0);
    let expected = abort2(Access::Write, 7 | CM | S1PTW, ROOT);
    for instruction in [Reg::DC_CIVAC, Reg::AT_S1E1R, Reg::AT_S1E1W] {
        assert_eq!(sys(&mut cpu, instruction, LOWER), fails(expected), "{instruction:?}");
    }
}

#[test]
fn only_stage_2() {
    let mut cpu = nested(IPA, TARGET | S2_ALL | PAGE);
    set(&mut cpu, Reg::SCTLR_EL1, 0);
    assert_eq!(translate(&mut cpu, IPA | 5, Access::Read).map(|found| found.pa), Ok(TARGET | 5));
    let expected = Exception { value: 1 << 41, ..abort2(Access::Read, 4, 1 << 41) };
    assert_eq!(translate(&mut cpu, 1 << 41, Access::Read), Err(expected));
    // EL2 itself is not concerned.
    enter(&mut cpu, 2);
    assert_eq!(translate(&mut cpu, TARGET, Access::Read).map(|found| found.pa), Ok(TARGET));
}

#[test]
fn debuggers_and_queries_leave_no_marks() {
    let at = entry(ROOT, 12, 0, 3, LOWER);
    let mut cpu = with_page(TARGET | PAGE);
    assert_eq!(super::super::translate_debug(&cpu, LOWER | 4), Some(TARGET | 4));
    assert_eq!(super::super::translate_debug(&cpu, UPPER), None);
    set(&mut cpu, Reg::TCR_EL1, control(0, 2) | 3 << 39);
    let rights: Rights = cpu.isa.rights(View::Current);
    let found = find(&cpu, LOWER, Access::Write, rights, Purpose::Query { both: true });
    assert!(matches!(found, Ok(Found { pa: TARGET, .. })));
    assert_eq!(peek(&cpu, at), TARGET | PAGE);
}
