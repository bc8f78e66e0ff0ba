//! Address translation.

use emu_core::exec::{Access, Perms, Translation};
use emu_core::ir::{MemAttr, Ty, View};

use super::*;

const V: u64 = 1;
const R: u64 = 2;
const W: u64 = 4;
const X: u64 = 8;
const USER: u64 = 16;
const G: u64 = 32;
const A: u64 = 64;
const D: u64 = 128;
const N: u64 = 1 << 63;
const ALL: u64 = V | R | W | X | A | D;

/// The root table; the tables below it follow it.
const ROOT: u64 = RAM + 0x1_0000;
/// What the leaves under test map.
const PAGE: u64 = RAM + 0x8_0000;
const ASID: u64 = 7;

/// Levels of the paging modes with their `satp.MODE`.
const PAGINGS: [(u64, u32); 3] = [(8, 3), (9, 4), (10, 5)];

/// An address that uses every level with an index of its own, in the lower half.
const VA: u64 = 0x0012_3456_789a_b000 & ((1 << 38) - 1);

fn poke(hart: &Hart, pa: u64, value: u64) {
    let ram = hart.bus.ram();
    ram.store::<u64>(ram.offset_of(pa, 8).unwrap(), value);
}

fn peek(hart: &Hart, pa: u64) -> u64 {
    let ram = hart.bus.ram();
    ram.load(ram.offset_of(pa, 8).unwrap())
}

/// A hart in S-mode with an open PMP, hardware updates and Svpbmt on, and paging mode `mode`.
fn paged(mode: u64) -> Hart {
    let mut hart = hart();
    open_pmp(&mut hart);
    set(&mut hart, 0x30a, 3 << 61);
    set(&mut hart, 0x180, mode << 60 | ASID << 44 | ROOT >> 12);
    enter(&mut hart, S);
    hart
}

/// Address of the entry of level `level` that maps `va`.
fn entry(levels: u32, level: u32, va: u64) -> u64 {
    ROOT + u64::from(levels - 1 - level) * 0x1000 + (va >> (12 + 9 * level) & 511) * 8
}

/// Maps `va` by the entry `leaf` at `level`.
fn map(hart: &Hart, levels: u32, level: u32, va: u64, leaf: u64) {
    for above in level + 1..levels {
        let below = ROOT + u64::from(levels - above) * 0x1000;
        poke(hart, entry(levels, above, va), below >> 2 | V);
    }
    poke(hart, entry(levels, level, va), leaf);
}

fn leaf(pa: u64, bits: u64) -> u64 {
    pa >> 2 | bits
}

fn translate(hart: &mut Hart, va: u64, access: Access) -> Result<Translation, Exception> {
    Riscv::translate(hart, va, 1, access, View::Current)
}

const ACCESSES: [Access; 3] = [Access::Fetch, Access::Read, Access::Write];

fn page_fault(access: Access) -> u64 {
    match access {
        Access::Fetch => 12,
        Access::Read => 13,
        Access::Write => 15,
    }
}

fn access_fault(access: Access) -> u64 {
    match access {
        Access::Fetch => 1,
        Access::Read => 5,
        Access::Write => 7,
    }
}

/// Checks that every access to `va` is a page fault.
fn expect_page_faults(hart: &mut Hart, va: u64, why: &str) {
    for access in ACCESSES {
        let found = translate(hart, va, access);
        assert_eq!(found, Err(Exception::new(page_fault(access), va)), "{why}, {access:?}");
    }
}

/// Checks that every access to `va` is an access fault.
fn expect_access_faults(hart: &mut Hart, va: u64, why: &str) {
    for access in ACCESSES {
        let found = translate(hart, va, access);
        assert_eq!(found, Err(Exception::new(access_fault(access), va)), "{why}, {access:?}");
    }
}

#[test]
fn leaves_at_every_level() {
    for (mode, levels) in PAGINGS {
        for level in 0..levels {
            let mut hart = paged(mode);
            let size = 1u64 << (12 + 9 * level);
            let base = if level < 2 { PAGE & !(size - 1) } else { 0 };
            map(&hart, levels, level, VA, leaf(base, ALL));
            for access in ACCESSES {
                let found = translate(&mut hart, VA | 0xabc, access).unwrap();
                assert_eq!(found.pa, base | VA & (size - 1) | 0xabc, "mode {mode}, level {level}");
                assert_eq!(u32::from(found.page_bits), 12 + 9 * level);
                assert_eq!(found.perms, Perms { read: true, write: true, fetch: true });
                assert!(found.cacheable && !found.global);
            }
            if level > 0 {
                for bit in [0, 9 * level - 1] {
                    map(&hart, levels, level, VA, leaf(base, ALL) ^ 1 << (10 + bit));
                    expect_page_faults(&mut hart, VA, "misaligned superpage");
                }
            }
        }
    }
}

#[test]
fn addresses_are_sign_extended() {
    for (mode, levels) in PAGINGS {
        let mut hart = paged(mode);
        let top = 1u64 << (11 + 9 * levels);
        let negative = !(top - 1);
        map(&hart, levels, levels - 1, top - 0x1000, leaf(0, ALL));
        assert!(translate(&mut hart, top - 0x1000, Access::Read).is_ok());
        expect_page_faults(&mut hart, top, "lower half ends");
        poke(&hart, ROOT + 2048, leaf(0, ALL));
        assert!(translate(&mut hart, negative, Access::Read).is_ok());
        expect_page_faults(&mut hart, negative - 1, "upper half begins");
        expect_page_faults(&mut hart, 1 << 63, "bit 63 alone");
    }
}

#[test]
fn invalid_and_reserved_entries() {
    for (mode, levels) in PAGINGS {
        let mut hart = paged(mode);
        for (bits, why) in [
            (ALL & !V, "not valid"),
            (V | W | A | D, "W without R"),
            (V | W | X | A | D, "W and X without R"),
            (ALL | 3 << 61, "reserved memory type"),
            (ALL | N, "contiguous, but not 64 KiB"),
            (ALL | N | 4 << 10, "contiguous, 32 KiB"),
            (V, "no leaf"),
        ] {
            map(&hart, levels, 0, VA, leaf(PAGE, bits));
            expect_page_faults(&mut hart, VA, why);
        }
        for bit in 54..=60 {
            map(&hart, levels, 0, VA, leaf(PAGE, ALL | 1 << bit));
            expect_page_faults(&mut hart, VA, "reserved bit in a leaf");
        }
        for level in 1..levels {
            for bits in (54..64).map(|bit| 1 << bit).chain([A, D, USER]) {
                map(&hart, levels, 0, VA, leaf(PAGE, ALL));
                let at = entry(levels, level, VA);
                poke(&hart, at, peek(&hart, at) | bits);
                expect_page_faults(&mut hart, VA, "reserved bit in a pointer");
            }
            map(&hart, levels, level, VA, leaf(0, ALL | N | 8 << 10));
            expect_page_faults(&mut hart, VA, "contiguous superpage");
        }
    }
}

#[test]
fn tables_must_be_memory() {
    for (mode, levels) in PAGINGS {
        let mut hart = paged(mode);
        for level in 1..levels {
            map(&hart, levels, 0, VA, leaf(PAGE, ALL));
            poke(&hart, entry(levels, level, VA), 0x4000_0000 >> 2 | V);
            expect_access_faults(&mut hart, VA, "table in a hole");
        }
        map(&hart, levels, 0, VA, leaf(PAGE, ALL));
        set(&mut hart, 0x180, mode << 60 | ((1 << 44) - 1));
        expect_access_faults(&mut hart, VA, "root at the end of the address space");
    }
}

#[test]
fn tables_must_be_readable_to_the_supervisor() {
    let (mode, levels) = PAGINGS[0];
    for level in 0..levels {
        let mut hart = paged(mode);
        map(&hart, levels, 0, VA, leaf(PAGE, ALL));
        // Entry 0 denies eight bytes, entry 1 allows the rest.
        set(&mut hart, 0x3b1, u64::MAX);
        set(&mut hart, 0x3b0, entry(levels, level, VA) >> 2);
        for (cfg, granted) in [(0x18, false), (0x1c, false), (0x19, true), (0x1b, true)] {
            set(&mut hart, 0x3a0, 0x1f00 | cfg);
            assert_eq!(translate(&mut hart, VA, Access::Read).is_ok(), granted, "level {level}, {cfg:#x}");
            if !granted {
                expect_access_faults(&mut hart, VA, "table denied");
            }
        }
        // To set A, it must be writable, too.
        map(&hart, levels, 0, VA, leaf(PAGE, ALL & !A));
        set(&mut hart, 0x3a0, 0x1f19);
        let found = translate(&mut hart, VA, Access::Read);
        assert_eq!(found.is_ok(), level > 0);
        assert_eq!(found.err(), (level == 0).then_some(Exception::new(5, VA)));
    }
}

/// Whether an access is allowed, as the specification's steps 6 to 8 say it.
fn expected(bits: u64, mode: Privilege, access: Access, sum: bool, mxr: bool) -> bool {
    let (r, w, x, user) = (bits & R != 0, bits & W != 0, bits & X != 0, bits & USER != 0);
    if mode == U && !user {
        return false;
    }
    if mode == S && user && (access == Access::Fetch || !sum) {
        return false;
    }
    match access {
        Access::Fetch => x,
        Access::Write => w,
        Access::Read if mxr => r || x,
        Access::Read => r,
    }
}

#[test]
fn permissions() {
    let (mode, levels) = PAGINGS[1];
    let mut hart = paged(mode);
    for rights in [R, X, R | W, R | X, R | W | X] {
        for user in [0, USER] {
            let bits = V | A | D | rights | user;
            map(&hart, levels, 0, VA, leaf(PAGE, bits));
            for (sum, mxr) in [(false, false), (false, true), (true, false), (true, true)] {
                let flags = u64::from(sum) << 18 | u64::from(mxr) << 19;
                for privilege in [U, S] {
                    // Directly, and as M-mode with MPRV.
                    for from in [privilege, M] {
                        set(&mut hart, 0x300, flags | (privilege as u64) << 11 | 1 << 17);
                        enter(&mut hart, from);
                        for access in ACCESSES {
                            if from == M && access == Access::Fetch {
                                continue;
                            }
                            let found = translate(&mut hart, VA, access);
                            let allowed = expected(bits, privilege, access, sum, mxr);
                            let fault = Exception::new(page_fault(access), VA);
                            assert_eq!(
                                found.err(),
                                (!allowed).then_some(fault),
                                "{bits:#x} {privilege:?} from {from:?}, {access:?}, SUM {sum}, MXR {mxr}"
                            );
                            let Ok(found) = found else { continue };
                            if access != Access::Fetch {
                                let may = |access| expected(bits, privilege, access, sum, mxr);
                                assert_eq!(found.perms.read, may(Access::Read));
                                assert_eq!(found.perms.write, may(Access::Write));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn machine_mode_is_not_translated() {
    let mut hart = paged(8);
    enter(&mut hart, M);
    for access in ACCESSES {
        assert_eq!(translate(&mut hart, VA, access).unwrap().pa, VA);
    }
    set(&mut hart, 0x300, 3 << 11 | 1 << 17);
    assert_eq!(translate(&mut hart, VA, Access::Read).unwrap().pa, VA, "MPRV with MPP = M");
    set(&mut hart, 0x300, 1 << 11 | 1 << 17);
    assert!(translate(&mut hart, VA, Access::Read).is_err(), "MPRV with MPP = S");
    assert_eq!(translate(&mut hart, VA, Access::Fetch).unwrap().pa, VA, "MPRV is not for fetches");
    set(&mut hart, 0x180, 0);
    enter(&mut hart, S);
    assert_eq!(translate(&mut hart, VA, Access::Write).unwrap().pa, VA, "Bare");
}

#[test]
fn accessed_and_dirty_bits() {
    let (mode, levels) = PAGINGS[2];
    for hardware in [false, true] {
        for bits in [0, A, D, A | D] {
            for access in ACCESSES {
                let mut hart = paged(mode);
                set(&mut hart, 0x30a, u64::from(hardware) << 61);
                let at = entry(levels, 0, VA);
                let before = leaf(PAGE, V | R | W | X | bits);
                map(&hart, levels, 0, VA, before);
                let needed = if access == Access::Write { A | D } else { A };
                let found = translate(&mut hart, VA, access);
                if bits & needed != needed && !hardware {
                    assert_eq!(found, Err(Exception::new(page_fault(access), VA)));
                    assert_eq!(peek(&hart, at), before);
                } else {
                    let after = before | needed;
                    assert_eq!(peek(&hart, at), after);
                    let perms = found.unwrap().perms;
                    assert!(perms.read && perms.fetch);
                    assert_eq!(perms.write, after & D != 0, "no write may pass by while D is clear");
                }
            }
        }
    }
}

#[test]
fn tables_in_rom_cannot_be_updated() {
    let mut hart = paged(8);
    // All of the ROM reads as zero, so the root is in RAM and points there: not valid.
    map(&hart, 3, 2, VA, ROM >> 2 | V);
    expect_page_faults(&mut hart, VA, "zero in ROM");
    let ram = hart.bus.ram();
    let at = ROM + (VA >> 21 & 511) * 8;
    ram.store::<u64>(ram.offset_of(at, 8).unwrap(), leaf(0, V | R | W | X));
    expect_access_faults(&mut hart, VA, "A in ROM");
    assert_eq!(peek(&hart, at), leaf(0, V | R | W | X));
}

#[test]
fn an_update_is_noticed_as_a_write_to_code() {
    let mut hart = paged(8);
    map(&hart, 3, 0, VA, leaf(PAGE, ALL & !A));
    let table = entry(3, 0, VA) & !0xfff;
    let offset = hart.bus.ram().offset_of(table, 1).unwrap();
    hart.bus.ram().code_pages().mark_code(offset);
    translate(&mut hart, VA, Access::Read).unwrap();
    assert_eq!(hart.bus.ram().code_pages().take_stale(), [offset]);
}

#[test]
fn contiguous_pages() {
    let mut hart = paged(8);
    let region = PAGE | 0x8000;
    for page in [0, 5, 15] {
        let va = VA & !0xffff | page << 12;
        map(&hart, 3, 0, va, leaf(region, ALL | N));
        let found = translate(&mut hart, va | 0x123, Access::Read).unwrap();
        assert_eq!((found.pa, found.page_bits), (PAGE | page << 12 | 0x123, 16));
    }
}

#[test]
fn memory_types_must_be_enabled() {
    let mut hart = paged(8);
    for kind in [1, 2] {
        map(&hart, 3, 0, VA, leaf(PAGE, ALL | kind << 61));
        assert!(translate(&mut hart, VA, Access::Read).is_ok());
        set(&mut hart, 0x30a, 1 << 61);
        expect_page_faults(&mut hart, VA, "PBMTE is clear");
        set(&mut hart, 0x30a, 3 << 61);
    }
}

#[test]
fn global_mappings() {
    for level in 0..3 {
        let mut hart = paged(8);
        map(&hart, 3, 0, VA, leaf(PAGE, ALL));
        let at = entry(3, level, VA);
        poke(&hart, at, peek(&hart, at) | G);
        assert!(translate(&mut hart, VA, Access::Read).unwrap().global, "G at level {level}");
    }
}

#[test]
fn modes_have_translations_of_their_own() {
    let mut seen = Vec::new();
    for paging in [0, 8] {
        for privilege in MODES {
            for flags in 0..4 {
                let mut hart = paged(paging);
                set(&mut hart, 0x300, flags << 18);
                enter(&mut hart, privilege);
                let space = hart.mode().data[0];
                let translated = paging != 0 && privilege != M;
                assert_eq!(space.per_asid, translated && privilege == U);
                assert_eq!(space.asid, if translated { ASID as u32 } else { 0 });
                // What the space must tell apart: all that changes the outcome.
                let sum = translated && privilege == S && flags & 1 != 0;
                let mxr = translated && flags & 2 != 0;
                let what = match (privilege, translated) {
                    (M, _) => (3, false, false),
                    (_, false) => (2, false, false),
                    (privilege, true) => (privilege as u8, sum, mxr),
                };
                seen.push((what, space.mode));
            }
        }
    }
    for (what, mode) in &seen {
        assert!(seen.iter().all(|(w, m)| (w == what) == (m == mode)), "{what:?} {mode}");
        assert!(usize::from(*mode) < emu_core::exec::SpaceId::MODES);
    }
}

#[test]
fn stores_and_loads_go_through_it_all() {
    let mut hart = paged(8);
    map(&hart, 3, 0, VA, leaf(PAGE, V | R | W));
    hart.store(Ty::I64, MemAttr::PLAIN, VA | 8, 0x1122).unwrap();
    assert_eq!(peek(&hart, PAGE + 8), 0x1122);
    assert_eq!(peek(&hart, entry(3, 0, VA)), leaf(PAGE, V | R | W | A | D));
    // The second page of an access that crosses into it is at fault.
    let straddling = hart.load(Ty::I64, MemAttr::PLAIN, VA + 0xffd);
    assert_eq!(straddling, Err(Exception::new(13, VA + 0x1000).into()));
    // A cached translation lasts until the fence.
    poke(&hart, entry(3, 0, VA), 0);
    assert_eq!(hart.load(Ty::I64, MemAttr::PLAIN, VA | 8), Ok(0x1122));
    call(&mut hart, Helper::SfenceVma, [VA, 0, 1]).unwrap();
    assert_eq!(hart.load(Ty::I64, MemAttr::PLAIN, VA | 8), Err(Exception::new(13, VA | 8).into()));
}

#[test]
fn fences_are_selective() {
    let other = VA ^ 0x20_0000;
    for (args, expected) in [
        ([VA, ASID, 3], [false, true]),
        ([VA, 0, 1], [false, true]),
        ([0, 0, 0], [false, false]),
        ([0, ASID, 2], [false, false]),
        ([0, ASID + 1, 2], [true, true]),
        ([VA, ASID + 1, 3], [true, true]),
        ([0, ASID | 1 << 16, 2], [false, false]), // bits beyond ASIDLEN are ignored
    ] {
        let mut hart = paged(8);
        for va in [VA, other] {
            map(&hart, 3, 0, va, leaf(PAGE, ALL | USER));
        }
        enter(&mut hart, U);
        for va in [VA, other] {
            hart.load(Ty::I64, MemAttr::PLAIN, va).unwrap();
        }
        enter(&mut hart, S);
        call(&mut hart, Helper::SfenceVma, args).unwrap();
        enter(&mut hart, U);
        let cached = [VA, other].map(|va| hart.mmu.lookup(View::Current, va, 8, Access::Read).is_some());
        assert_eq!(cached, expected, "{args:x?}");
    }
}

#[test]
fn a_change_of_protection_takes_effect_at_once() {
    let mut hart = hart();
    open_pmp(&mut hart);
    enter(&mut hart, S);
    assert_eq!(hart.load(Ty::I64, MemAttr::PLAIN, PAGE), Ok(0));
    set(&mut hart, 0x3a0, 0x1c);
    assert_eq!(hart.load(Ty::I64, MemAttr::PLAIN, PAGE), Err(Exception::new(5, PAGE).into()));
}
