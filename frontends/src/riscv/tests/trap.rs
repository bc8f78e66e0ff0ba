//! Traps, interrupts and returns.

use super::*;

const ALL: u64 = u64::MAX;

/// A hart with trap vectors, at a program counter.
fn ready(stvec: u64, mtvec: u64) -> Hart {
    let mut hart = hart();
    set(&mut hart, 0x105, stvec);
    set(&mut hart, 0x305, mtvec);
    hart.state.pc = 0x1234;
    hart
}

#[test]
fn exceptions_go_where_they_are_delegated() {
    for cause in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15] {
        for delegated in [false, true] {
            for mode in MODES {
                let mut hart = ready(0x8000_2000 | 1, 0x8000_4000 | 1);
                set(&mut hart, 0x302, if delegated { 1 << cause } else { !(1 << cause) });
                enter(&mut hart, mode);
                Riscv::raise(&mut hart, Exception::new(cause, 0x77));
                let to_s = delegated && mode != M && cause != 11;
                assert_eq!(hart.isa.privilege(), if to_s { S } else { M });
                let (epc, code, tval) = if to_s { (0x141, 0x142, 0x143) } else { (0x341, 0x342, 0x343) };
                assert_eq!(get(&hart, epc), 0x1234);
                assert_eq!(get(&hart, code), cause);
                assert_eq!(get(&hart, tval), 0x77);
                assert_eq!(hart.state.pc, if to_s { 0x8000_2000 } else { 0x8000_4000 });
                let status = get(&hart, 0x300);
                if to_s {
                    assert_eq!(status >> 8 & 1, mode as u64, "SPP");
                } else {
                    assert_eq!(status >> 11 & 3, mode as u64, "MPP");
                }
            }
        }
    }
}

#[test]
fn a_trap_stacks_the_interrupt_enables() {
    for enabled in [false, true] {
        let bit = u64::from(enabled);
        let mut hart = ready(0x8000_2000, 0x8000_4000);
        set(&mut hart, 0x300, bit << 3 | (1 - bit) << 7 | 1 << 17 | 3 << 11);
        Riscv::raise(&mut hart, Exception::new(2, 0));
        assert_eq!(
            get(&hart, 0x300) & 0x2_1888,
            bit << 7 | 1 << 17 | 3 << 11,
            "MIE, MPIE, MPP; MPRV as it was"
        );

        let mut hart = ready(0x8000_2000, 0x8000_4000);
        set(&mut hart, 0x302, ALL);
        set(&mut hart, 0x300, bit << 1 | (1 - bit) << 5);
        enter(&mut hart, U);
        Riscv::raise(&mut hart, Exception::new(2, 0));
        assert_eq!(get(&hart, 0x300) & 0x122, bit << 5, "SIE, SPIE, SPP");
    }
}

#[test]
fn vectors_are_for_interrupts() {
    let mut hart = ready(0x8000_2001, 0x8000_4001);
    Riscv::raise(&mut hart, Exception::new(1 << 63 | 7, 0));
    assert_eq!(hart.state.pc, 0x8000_401c);
    set(&mut hart, 0x303, ALL);
    enter(&mut hart, S);
    Riscv::raise(&mut hart, Exception::new(1 << 63 | 9, 0));
    assert_eq!((hart.state.pc, hart.isa.privilege()), (0x8000_2024, S));
    assert_eq!(get(&hart, 0x142), 1 << 63 | 9);
}

/// What is taken, by the rules as the specification words them: each interrupt in order of priority, first
/// those whose destination is M-mode.
fn expected(mode: Privilege, mie: bool, sie: bool, pending: u64, delegated: u64) -> Option<u64> {
    let order = [11, 3, 7, 9, 1, 5, 13];
    let takes = |destination: Privilege| match destination {
        M => mode < M || mie,
        _ => mode < S || (mode == S && sie),
    };
    for destination in [M, S] {
        for code in order {
            let goes_to = if delegated >> code & 1 != 0 { S } else { M };
            if pending >> code & 1 != 0 && goes_to == destination && takes(destination) {
                return Some(1 << 63 | code);
            }
        }
    }
    None
}

#[test]
fn interrupts_are_taken_in_order_of_priority() {
    const CODES: [u64; 7] = [1, 3, 5, 7, 9, 11, 13];
    let spread = |mask: u64| CODES.iter().enumerate().fold(0, |all, (i, code)| all | (mask >> i & 1) << code);
    let mut hart = hart();
    for delegated in (0..128).map(spread).filter(|mask| mask & 0x888 == 0) {
        set(&mut hart, 0x303, delegated);
        for pending in (0..128).map(spread) {
            hart.port().set_pins(0x888, pending & 0x888);
            set(&mut hart, 0x344, pending);
            assert_eq!(get(&hart, 0x344), pending);
            for (mode, enables) in MODES.into_iter().flat_map(|mode| (0..4).map(move |e| (mode, e))) {
                let (mie, sie) = (enables & 1 != 0, enables & 2 != 0);
                set(&mut hart, 0x300, u64::from(mie) << 3 | u64::from(sie) << 1);
                enter(&mut hart, mode);
                for mask in [0, ALL, 0x2a0, 0x2202] {
                    set(&mut hart, 0x304, mask);
                    let found = Riscv::pending_interrupt(&mut hart).map(|e| e.cause);
                    let expect = expected(mode, mie, sie, pending & mask, delegated);
                    assert_eq!(found, expect, "{mode:?} {mie} {sie} {pending:#x} {delegated:#x} {mask:#x}");
                }
            }
        }
    }
}

fn set_all(hart: &mut Hart, csrs: &[(u16, u64)]) {
    csrs.iter().for_each(|&(number, value)| set(hart, number, value));
}

/// Whether the run loop has been asked to look at interrupts; forgets it.
fn asked(hart: &Hart) -> bool {
    let asked = hart.port().attention().interrupt();
    hart.port().clear_interrupt();
    asked
}

#[test]
fn whatever_enables_a_pending_interrupt_has_it_looked_at() {
    type Step = fn(&mut Hart);
    let cases: &[(&str, Step, Step)] = &[
        ("mie", |h| set(h, 0x300, 8), |h| set(h, 0x304, 2)),
        ("mstatus.MIE", |h| set(h, 0x304, 2), |h| set(h, 0x300, 8)),
        ("mideleg", |h| set_all(h, &[(0x304, 2), (0x303, 2), (0x300, 8)]), |h| set(h, 0x303, 0)),
        (
            "sstatus.SIE",
            |h| {
                set_all(h, &[(0x304, 2), (0x303, 2)]);
                enter(h, S);
            },
            |h| set(h, 0x100, 2),
        ),
        (
            "sie",
            |h| {
                set_all(h, &[(0x303, 2), (0x300, 2)]);
                enter(h, S);
            },
            |h| set(h, 0x104, 2),
        ),
        (
            "mret",
            |h| set_all(h, &[(0x304, 2), (0x303, 2), (0x300, 0)]),
            |h| assert!(call(h, Helper::Mret, [0; 3]).is_ok()),
        ),
        (
            "sret",
            |h| {
                set_all(h, &[(0x304, 2), (0x303, 2), (0x300, 1 << 5 | 1 << 8)]);
                enter(h, S);
            },
            |h| assert!(call(h, Helper::Sret, [0; 3]).is_ok()),
        ),
    ];
    for (name, prepare, enable) in cases {
        let mut hart = hart();
        set(&mut hart, 0x344, 2);
        prepare(&mut hart);
        assert!(!asked(&hart), "{name}: nothing to take yet");
        enable(&mut hart);
        assert!(asked(&hart), "{name}");
        assert!(Riscv::pending_interrupt(&mut hart).is_some(), "{name}");
    }
}

#[test]
fn mret_and_sret() {
    for (mpp, mpie, mprv) in [(0, 0, 1), (1, 1, 1), (3, 1, 1), (3, 0, 0)] {
        let mut hart = hart();
        set(&mut hart, 0x341, 0x4242);
        set(&mut hart, 0x300, mpp << 11 | mpie << 7 | (1 - mpie) << 3 | mprv << 17);
        assert_eq!(call(&mut hart, Helper::Mret, [0; 3]), Ok(0x4242));
        assert_eq!(hart.isa.privilege() as u64, mpp);
        let kept = if mpp == 3 { mprv } else { 0 };
        assert_eq!(get(&hart, 0x300) & 0x2_1888, mpie << 3 | 1 << 7 | kept << 17);
    }
    for (from, spp, spie) in [(S, 0, 1), (S, 1, 0), (M, 1, 1), (M, 0, 0)] {
        let mut hart = hart();
        set(&mut hart, 0x141, 0x4242);
        set(&mut hart, 0x300, spp << 8 | spie << 5 | (1 - spie) << 1 | 1 << 17);
        enter(&mut hart, from);
        assert_eq!(call(&mut hart, Helper::Sret, [0; 3]), Ok(0x4242));
        assert_eq!(hart.isa.privilege() as u64, spp);
        assert_eq!(get(&hart, 0x300) & 0x2_0122, spie << 1 | 1 << 5, "MPRV is clear");
    }
}

#[test]
fn returns_need_privilege() {
    for (helper, mode, tsr, legal) in [
        (Helper::Mret, S, 0, false),
        (Helper::Mret, U, 0, false),
        (Helper::Sret, U, 0, false),
        (Helper::Sret, S, 1, false),
        (Helper::Sret, S, 0, true),
        (Helper::Sret, M, 1, true),
    ] {
        let mut hart = hart();
        set(&mut hart, 0x300, tsr << 22);
        enter(&mut hart, mode);
        let done = call(&mut hart, helper, [0x1020_0073, 0, 0]);
        assert_eq!(done == illegal(0x1020_0073), !legal, "{helper:?} in {mode:?}");
    }
}

#[test]
fn the_supervisor_timer() {
    let armed = Armed::default();
    let mut hart = hart_of(config("max"), 1, Some(Box::new(armed.clone())));
    set(&mut hart, 0x14d, 0);
    assert_eq!(get(&hart, 0x344), 0, "off");
    set(&mut hart, 0x344, 0x20);
    assert_eq!(get(&hart, 0x344), 0x20, "plain storage");
    set(&mut hart, 0x30a, 1 << 63);
    assert_eq!(get(&hart, 0x344), 0x20, "stimecmp has been reached");
    set(&mut hart, 0x344, 0);
    assert_eq!(get(&hart, 0x344), 0x20, "read-only now");
    set(&mut hart, 0x14d, ALL);
    assert_eq!((get(&hart, 0x344), armed.deadline()), (0, 0), "never");

    let time = get(&hart, 0xc01);
    set(&mut hart, 0x14d, time + 10_000_000_000);
    assert_eq!(get(&hart, 0x344), 0);
    let wanted = (time + 10_000_000_000) * 100;
    assert_eq!(armed.deadline(), wanted, "a tick is 100 ns");
    set(&mut hart, 0x303, 0x20);
    set(&mut hart, 0x304, 0x20);
    enter(&mut hart, U);
    assert_eq!(Riscv::pending_interrupt(&mut hart), None);
    set(&mut hart, 0x14d, time);
    assert!(hart.port().attention().interrupt());
    assert_eq!(Riscv::pending_interrupt(&mut hart), Some(Exception::new(1 << 63 | 5, 0)));
    set(&mut hart, 0x30a, 0);
    assert_eq!((get(&hart, 0x344), armed.deadline()), (0, 0));
}

#[test]
fn reset_forgets_everything() {
    let mut hart = ready(0x8000_2000, 0x8000_4000);
    for (number, value) in
        [(0x300, ALL & !(1 << 17)), (0x302, ALL), (0x180, 8 << 60), (0x3b0, ALL), (0x3a0, 0x9f)]
    {
        set(&mut hart, number, value);
    }
    hart.state.slots[5] = 1;
    enter(&mut hart, U);
    crate::riscv::reset(&mut hart);
    assert_eq!(hart.isa.privilege(), M);
    assert_eq!(*hart.isa.csrs(), *hart_of(config("max"), 1, None).isa.csrs());
    assert_eq!((get(&hart, 0x3a0), get(&hart, 0x3b0), hart.state.slots[5]), (0, 0, 0));
    assert_eq!(hart.mode(), &hart.isa.mode());
}

#[test]
fn entering_the_supervisor() {
    let mut hart = hart();
    hart.state.slots[7] = 9;
    let csrs = [(0x300, 1 << 13), (0x302, ALL), (0x3b0, ALL), (0x3a0, 0x1f), (0x7c0, 1)];
    crate::riscv::enter_supervisor(&mut hart, 0x8020_0000, 3, 0x8700_0000, &csrs);
    assert_eq!((hart.isa.privilege(), hart.state.pc), (S, 0x8020_0000));
    assert_eq!(hart.state.slots[7..12], [0, 0, 0, 3, 0x8700_0000]);
    assert_eq!((get(&hart, 0x100) >> 13 & 3, get(&hart, 0x302)), (1, 0xb3ff));
    assert_eq!(hart.mode(), &hart.isa.mode());
}
