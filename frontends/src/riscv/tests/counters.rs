//! Counters.

use super::*;

const OF: u64 = 1 << 63;

#[test]
fn a_write_replaces_the_writers_own_count() {
    for counter in [0xb00, 0xb02] {
        let mut hart = hart();
        hart.state.retired = 100;
        csr(&mut hart, counter, Op::Write(1000));
        assert_eq!(csr(&mut hart, counter, Op::Read), Some(1000));
        assert_eq!(csr(&mut hart, counter, Op::Read), Some(1001));
        assert_eq!(get(&hart, counter + 0x100), 1002, "the user's view");
    }
}

#[test]
fn inhibited_counters_stand_still() {
    let mut hart = hart();
    csr(&mut hart, 0xb02, Op::Write(10));
    csr(&mut hart, 0x320, Op::Write(4));
    // The write that stops it takes effect after itself.
    assert_eq!(csr(&mut hart, 0xb02, Op::Read), Some(11));
    hart.state.retired += 50;
    assert_eq!(csr(&mut hart, 0xb02, Op::Read), Some(11));
    assert_eq!(get(&hart, 0xb00), hart.state.retired, "mcycle runs");
    csr(&mut hart, 0xb02, Op::Write(20));
    csr(&mut hart, 0x320, Op::Write(0));
    assert_eq!(csr(&mut hart, 0xb02, Op::Read), Some(20));
    assert_eq!(csr(&mut hart, 0xb02, Op::Read), Some(21));
}

#[test]
fn lower_modes_see_the_counters_they_are_given() {
    for number in (0xc00..=0xc1f).chain([0xb00]) {
        for (machine, supervisor) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let mut hart = hart();
            set(&mut hart, 0x306, machine << (number & 31));
            set(&mut hart, 0x106, supervisor << (number & 31));
            let readable = MODES.map(|mode| {
                enter(&mut hart, mode);
                csr(&mut hart, number, Op::Read).is_some()
            });
            let user = number >= 0xc00;
            let expected = [user && machine & supervisor == 1, user && machine == 1, true];
            assert_eq!(readable, expected, "{number:#x} {machine} {supervisor}");
        }
    }
}

#[test]
fn stimecmp_needs_both_enables_below_machine_mode() {
    for (tm, stce) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let mut hart = hart();
        set(&mut hart, 0x306, tm << 1);
        set(&mut hart, 0x30a, stce << 63);
        assert!(csr(&mut hart, 0x14d, Op::Read).is_some());
        enter(&mut hart, S);
        assert_eq!(csr(&mut hart, 0x14d, Op::Write(5)).is_some(), tm & stce == 1);
    }
}

#[test]
fn performance_counters_count_by_mode() {
    let mut hart = hart();
    set(&mut hart, 0x323, 2 | 1 << 62); // not in M
    set(&mut hart, 0x324, 1 | 1 << 61 | 1 << 60); // only in M
    set(&mut hart, 0x325, 0);
    let run = |hart: &mut Hart, mode, count| {
        enter(hart, mode);
        hart.state.retired += count;
    };
    run(&mut hart, M, 10);
    run(&mut hart, S, 200);
    run(&mut hart, M, 5);
    run(&mut hart, U, 3000);
    enter(&mut hart, M);
    assert_eq!([3, 4, 5].map(|n| get(&hart, 0xb00 + n)), [3200, 15, 0]);
    assert_eq!(get(&hart, 0xb02), 3215);
}

#[test]
fn an_overflow_interrupts_once() {
    let mut hart = hart();
    set(&mut hart, 0x304, 1 << 13);
    set(&mut hart, 0x300, 8);
    set(&mut hart, 0x323, 2);
    set(&mut hart, 0xb03, u64::MAX - 4);
    hart.state.retired += 4;
    assert_eq!(Riscv::pending_interrupt(&mut hart), None);
    assert_eq!((get(&hart, 0xb03), get(&hart, 0xda0)), (u64::MAX, 0));
    hart.state.retired += 2;
    assert_eq!(Riscv::pending_interrupt(&mut hart), Some(Exception::new(1 << 63 | 13, 0)));
    assert_eq!((get(&hart, 0xb03), get(&hart, 0x323), get(&hart, 0xda0)), (1, 2 | OF, 8));
    set(&mut hart, 0x344, 0);
    set(&mut hart, 0xb03, u64::MAX);
    hart.state.retired += 2;
    assert_eq!(Riscv::pending_interrupt(&mut hart), None, "OF is still set");
    set(&mut hart, 0x323, 2);
    set(&mut hart, 0xb03, u64::MAX);
    hart.state.retired += 2;
    enter(&mut hart, S);
    assert_eq!(get(&hart, 0x344), 1 << 13, "noticed as the mode changed");
    assert_eq!(get(&hart, 0xda0), 0, "S-mode has not been given the counter");
    set(&mut hart, 0x306, 8);
    assert_eq!(get(&hart, 0xda0), 8);
}

#[test]
fn absent_counters_are_zero() {
    let mut hart = hart_of(config("rv64"), 1, None);
    for number in [0xb13, 0x333, 0xb1f] {
        set(&mut hart, number, 1);
        assert_eq!(get(&hart, number), 0, "{number:#x}");
    }
    set(&mut hart, 0xb12, 1);
    assert_eq!(get(&hart, 0xb12), 1);
    assert_eq!(hart.isa.hpm_counters(), 0xffff << 3);
}

#[test]
fn the_timer_sees_to_overflows() {
    let armed = Armed::default();
    let mut hart = hart_of(config("max"), 1, Some(Box::new(armed.clone())));
    set(&mut hart, 0x323, 2);
    assert!(armed.deadline() > 900_000_000, "far away");
    set(&mut hart, 0xb03, u64::MAX - 10);
    let soon = armed.deadline();
    assert!(soon > 0 && soon < hart.clock.now_ns() + 100_000);
    set(&mut hart, 0x320, 8);
    assert_eq!(armed.deadline(), 0, "inhibited");
    set(&mut hart, 0x320, 0);
    hart.state.retired += 100;
    assert_eq!(Riscv::pending_interrupt(&mut hart), None, "not enabled");
    assert_eq!((get(&hart, 0x344), armed.deadline()), (1 << 13, 0), "but pending: no more to see to");
}
