//! CSRs: which exist, who may access them, and what they hold of what is written.

use super::*;
use crate::riscv::csr::{csr_list, csr_name};

/// All CSRs of model `max` with the lowest mode that may read and write them, written down from the
/// specification's listing (Priv., "CSR Listing") and not from the table.
const EXPECTED: &[(u16, u16, Privilege, Option<Privilege>)] = &[
    (0x001, 0x003, U, Some(U)),
    (0xc00, 0xc1f, U, None),
    (0x100, 0x100, S, Some(S)),
    (0x104, 0x106, S, Some(S)),
    (0x10a, 0x10a, S, Some(S)),
    (0x140, 0x144, S, Some(S)),
    (0x14d, 0x14d, S, Some(S)),
    (0x180, 0x180, S, Some(S)),
    (0xda0, 0xda0, S, None),
    (0xf11, 0xf15, M, None),
    (0x300, 0x306, M, Some(M)),
    (0x30a, 0x30a, M, Some(M)),
    (0x320, 0x320, M, Some(M)),
    (0x323, 0x33f, M, Some(M)),
    (0x340, 0x344, M, Some(M)),
    (0x3a0, 0x3a0, M, Some(M)),
    (0x3a2, 0x3a2, M, Some(M)),
    (0x3a4, 0x3a4, M, Some(M)),
    (0x3a6, 0x3a6, M, Some(M)),
    (0x3a8, 0x3a8, M, Some(M)),
    (0x3aa, 0x3aa, M, Some(M)),
    (0x3ac, 0x3ac, M, Some(M)),
    (0x3ae, 0x3ae, M, Some(M)),
    (0x3b0, 0x3ef, M, Some(M)),
    (0x747, 0x747, M, Some(M)),
    (0xb00, 0xb00, M, Some(M)),
    (0xb02, 0xb1f, M, Some(M)),
];

#[test]
fn exactly_the_listed_registers_can_be_accessed() {
    let mut hart = hart();
    for number in 0..4096 {
        let line = EXPECTED.iter().find(|line| (line.0..=line.1).contains(&number));
        for mode in MODES {
            for op in [Op::Read, Op::Write(0), Op::Set(0), Op::Clear(0)] {
                crate::riscv::reset(&mut hart);
                fp_on(&mut hart);
                for (csr, value) in [(0x306, u64::MAX), (0x106, u64::MAX), (0x30a, 1 << 63)] {
                    set(&mut hart, csr, value);
                }
                enter(&mut hart, mode);
                let writes = op != Op::Read;
                let lowest = line.and_then(|line| if writes { line.3 } else { Some(line.2) });
                let legal = lowest.is_some_and(|lowest| mode >= lowest);
                assert_eq!(csr(&mut hart, number, op).is_some(), legal, "{number:#x} in {mode:?}, {op:?}");
            }
        }
    }
}

#[test]
fn an_illegal_access_has_no_effect_and_carries_the_instruction() {
    let mut hart = hart();
    set(&mut hart, 0x340, 7);
    enter(&mut hart, S);
    let bits = 0x3401_1073;
    for helper in [Helper::CsrRead, Helper::CsrWrite, Helper::CsrSwap, Helper::CsrSet, Helper::CsrClear] {
        assert_eq!(call(&mut hart, helper, [0x340, bits, 3]), illegal(bits));
    }
    assert_eq!(get(&hart, 0x340), 7);
}

#[test]
fn the_helpers_do_what_their_instructions_do() {
    let mut hart = hart();
    let mut run = |helper, value| call(&mut hart, helper, [0x340, 0, value]).unwrap();
    run(Helper::CsrWrite, 0b1100);
    assert_eq!(run(Helper::CsrSet, 0b0110), 0b1100);
    assert_eq!(run(Helper::CsrClear, 0b0100), 0b1110);
    assert_eq!(run(Helper::CsrSwap, 5), 0b1010);
    assert_eq!(run(Helper::CsrRead, 9), 5);
}

/// What registers hold after a write to a hart of model `max` in reset state.
#[test]
fn registers_hold_only_legal_values() {
    const ALL: u64 = u64::MAX;
    let fixed = 0xa_0000_0000;
    let cases: &[(u16, u64, u64)] = &[
        (0x300, 0, fixed),
        (0x300, ALL, fixed | 1 << 63 | 0x007e_79aa),
        (0x300, 2 << 11, fixed),
        (0x300, 1 << 11, fixed | 1 << 11),
        (0x300, 2 << 13, fixed | 2 << 13),
        (0x100, ALL, 2 << 32 | 1 << 63 | 0x000c_6122),
        (0x301, 0, 2 << 62 | 0x0014_112f),
        (0x302, ALL, 0xb3ff),
        (0x303, ALL, 0x2222),
        (0x304, ALL, 0x2aaa),
        (0x344, ALL, 0x2222),
        (0x104, ALL, 0),
        (0x144, ALL, 0),
        (0x305, ALL, ALL - 2),
        (0x305, 0x8000_0002, 0x8000_0000),
        (0x105, 0x8000_0001, 0x8000_0001),
        (0x306, ALL, 0xffff_ffff),
        (0x106, ALL, 0xffff_ffff),
        (0x320, ALL, 0xffff_fffd),
        (0x30a, ALL, 7 << 61 | 0xf1),
        (0x30a, 2 << 4, 0),
        (0x30a, 1 << 4, 1 << 4),
        (0x10a, ALL, 0xf1),
        (0x340, ALL, ALL),
        (0x341, ALL, ALL - 1),
        (0x141, 3, 2),
        (0x342, ALL, 1 << 63 | 63),
        (0x142, 1 << 63 | 5, 1 << 63 | 5),
        (0x343, ALL, ALL),
        (0x180, 8 << 60 | 0x5 << 44 | 0x1234, 8 << 60 | 0x5 << 44 | 0x1234),
        (0x180, 10 << 60, 10 << 60),
        (0x180, 11 << 60 | 1, 0),
        (0x180, 1 << 60 | 1, 0),
        (0x180, ALL, 0),
        (0x14d, 5, 5),
        (0x323, ALL, 15 << 60),
        (0x323, 1 << 60 | 2, 1 << 60 | 2),
        (0x323, 7, 0),
        (0x3a0, ALL, 0x9f9f_9f9f_9f9f_9f9f),
        (0x3a0, 0x60, 0),
        (0x3a0, 0x1a, 0x18),
        (0x3b5, ALL, (1 << 54) - 1),
        (0x747, ALL, 7),
    ];
    for &(number, written, expected) in cases {
        let mut hart = hart();
        set(&mut hart, number, written);
        assert_eq!(get(&hart, number), expected, "{} = {written:#x}", csr_name(number).unwrap());
    }
}

#[test]
fn fields_of_absent_extensions_are_zero() {
    let mut hart = hart_of(config("rva22s64"), 1, None);
    assert!(csr_read_debug(&hart, 0x747).is_none(), "mseccfg is Smepmp's");
    set(&mut hart, 0x30a, u64::MAX);
    assert_eq!(get(&hart, 0x30a), 3 << 62 | 0xf1, "no Svadu");
    set(&mut hart, 0x180, 9 << 60);
    assert_eq!(get(&hart, 0x180), 0, "no Sv48");
    set(&mut hart, 0x306, u64::MAX);
    assert_eq!(get(&hart, 0x306), 0x7_ffff, "16 performance counters");
}

#[test]
fn satp_is_written_whole_or_not_at_all() {
    let mut hart = hart();
    set(&mut hart, 0x180, 8 << 60 | 0x77);
    set(&mut hart, 0x180, 5 << 60 | 0x88);
    assert_eq!(get(&hart, 0x180), 8 << 60 | 0x77);
}

#[test]
fn sstatus_is_a_view_of_mstatus() {
    let mut hart = hart();
    set(&mut hart, 0x300, u64::MAX);
    set(&mut hart, 0x100, 0);
    assert_eq!(get(&hart, 0x300), 0xa_0072_1888, "what S-mode does not see is as it was");
}

#[test]
fn sie_and_sip_show_what_is_delegated() {
    let mut hart = hart();
    set(&mut hart, 0x303, 1 << 1 | 1 << 5);
    set(&mut hart, 0x304, 0x2aaa);
    set(&mut hart, 0x344, 0x2222);
    assert_eq!((get(&hart, 0x104), get(&hart, 0x144)), (0x22, 0x22));
    set(&mut hart, 0x104, 0);
    assert_eq!(get(&hart, 0x304), 0x2aaa & !0x22);
    set(&mut hart, 0x144, 0);
    assert_eq!(get(&hart, 0x344), 0x2220, "of these, S-mode writes SSIP alone");
}

#[test]
fn the_external_pin_does_not_leak_into_the_software_bit() {
    let mut hart = hart();
    hart.port().set_pins(1 << 9, 1 << 9);
    assert_eq!(csr(&mut hart, 0x344, Op::Set(1 << 1)), Some(1 << 9));
    assert_eq!(get(&hart, 0x344), 1 << 9 | 1 << 1);
    hart.port().set_pins(1 << 9, 0);
    assert_eq!(get(&hart, 0x344), 1 << 1, "the pin was not copied");
    csr(&mut hart, 0x344, Op::Set(1 << 9));
    hart.port().set_pins(1 << 9, 1 << 9);
    csr(&mut hart, 0x344, Op::Clear(1 << 1));
    hart.port().set_pins(1 << 9, 0);
    assert_eq!(get(&hart, 0x344), 1 << 9, "nor was the bit lost");
    csr(&mut hart, 0x344, Op::Clear(1 << 9));
    assert_eq!(get(&hart, 0x344), 0);
}

#[test]
fn an_edge_on_the_software_interrupt_pin_lasts_until_software_clears_it() {
    let mut hart = hart();
    set(&mut hart, 0x303, 2);
    hart.port().set_pins(2, 2);
    assert_eq!(get(&hart, 0x144), 2);
    assert_eq!(csr(&mut hart, 0x144, Op::Clear(2)), Some(2));
    assert_eq!(get(&hart, 0x144), 0);
}

#[test]
fn floating_point_registers_need_the_unit_on_and_make_it_dirty() {
    let mut hart = hart();
    for number in 1..=3 {
        assert_eq!(csr(&mut hart, number, Op::Read), None);
    }
    fp_on(&mut hart);
    hart.state.fp_flags = 0x15;
    assert_eq!(csr(&mut hart, 3, Op::Read), Some(0x15));
    assert_eq!(get(&hart, 0x300) >> 13 & 3, 1, "reading changes nothing");
    csr(&mut hart, 2, Op::Write(0xff));
    assert_eq!(get(&hart, 0x300) >> 13 & 3, 3);
    assert_eq!(get(&hart, 3), 0xf5);
    csr(&mut hart, 1, Op::Clear(0x5));
    assert_eq!(hart.state.fp_flags, 0x10);
    csr(&mut hart, 3, Op::Write(0x123));
    assert_eq!((get(&hart, 2), get(&hart, 1)), (1, 3));
    assert_eq!(crate::riscv::Context::from_bits(hart.mode().ctx).frm, 1);
}

#[test]
fn virtualisation_traps_hide_satp() {
    let mut hart = hart();
    set(&mut hart, 0x300, 1 << 20);
    assert!(csr(&mut hart, 0x180, Op::Read).is_some());
    enter(&mut hart, S);
    assert!(csr(&mut hart, 0x180, Op::Read).is_none());
    assert!(csr(&mut hart, 0x180, Op::Write(0)).is_none());
}

#[test]
fn names() {
    let hart = hart();
    assert_eq!(csr_name(0x3af), None);
    assert_eq!(csr_name(0x3c1).as_deref(), Some("pmpaddr17"));
    assert_eq!(csr_name(0x3a2).as_deref(), Some("pmpcfg2"));
    assert_eq!(csr_name(0xb1f).as_deref(), Some("mhpmcounter31"));
    assert_eq!(csr_name(0x323).as_deref(), Some("mhpmevent3"));
    assert_eq!(csr_name(0x300).as_deref(), Some("mstatus"));
    let mut names: Vec<String> = csr_list(&hart.isa).map(|(_, name)| name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no name is used twice");
    assert_eq!(count, EXPECTED.iter().map(|line| usize::from(line.1 - line.0) + 1).sum::<usize>());
}

#[test]
fn a_debugger_writes_no_read_only_register() {
    let mut hart = hart();
    assert!(!csr_write_debug(&mut hart, 0xf14, 9));
    assert_eq!(get(&hart, 0xf14), 3);
}
