use super::*;
use crate::testing::{Lines, events, hammer, wait_for};

const HZ: u64 = 10_000_000;

#[test]
fn mswi_drives_one_line_per_hart() {
    let lines = Lines::new();
    let mswi = Mswi::new(vec![lines.line(0), lines.line(1)]);
    mswi.write(4, Width::Word, 0xffff_ffff).unwrap();
    assert_eq!((lines.level(0), lines.level(1)), (false, true));
    assert_eq!(mswi.read(4, Width::Word), Ok(1), "only bit 0 is there");
    mswi.write(4, Width::Word, 2).unwrap();
    assert_eq!((lines.level(1), mswi.read(4, Width::Word)), (false, Ok(0)));
    mswi.write(8, Width::Word, 1).unwrap();
    assert_eq!(mswi.read(8, Width::Word), Ok(0), "there is no hart 2");
    assert_eq!(mswi.read(0, Width::Double), Err(AccessError::Width));
    assert_eq!(mswi.write(2, Width::Half, 1), Err(AccessError::Width));
    mswi.write(0, Width::Word, 1).unwrap();
    mswi.reset();
    assert!(!lines.level(0));
}

#[test]
fn sswi_makes_edges_and_reads_as_zero() {
    let lines = Lines::new();
    let sswi = Sswi::new(vec![lines.line(0), lines.line(1)]);
    sswi.write(4, Width::Word, 1).unwrap();
    sswi.write(4, Width::Word, 3).unwrap();
    sswi.write(4, Width::Word, 2).unwrap();
    sswi.write(400, Width::Word, 1).unwrap();
    assert_eq!((lines.rises(1), lines.level(1), lines.rises(0)), (2, false, 0));
    assert_eq!(sswi.read(4, Width::Word), Ok(0));
}

#[test]
fn mtip_follows_the_comparison() {
    let events = events();
    let lines = Lines::new();
    let mtimer = Mtimer::new(HZ, &events.handle(), vec![lines.line(0), lines.line(1)]);
    assert_eq!(mtimer.read(8, Width::Double), Ok(u64::MAX));
    let now = mtimer.mtime();
    assert!(mtimer.read(0x7ff8, Width::Double).unwrap() >= now);
    mtimer.write(0, Width::Double, now).unwrap();
    assert!(lines.level(0) && !lines.level(1), "mtime ≥ mtimecmp at once");
    mtimer.write(0, Width::Double, u64::MAX).unwrap();
    assert!(!lines.level(0));

    let deadline = mtimer.mtime() + HZ / 100;
    mtimer.write(8, Width::Double, deadline).unwrap();
    assert!(!lines.level(1) || mtimer.mtime() >= deadline);
    wait_for("the timer of hart 1 expires", || lines.level(1));
    assert!(mtimer.mtime() >= deadline, "not before its time");

    // Halves, in the order that RV32 software uses (§2.3).
    mtimer.write(12, Width::Word, 0xffff_ffff).unwrap();
    mtimer.write(8, Width::Word, 0x1234).unwrap();
    assert!(!lines.level(1));
    mtimer.write(12, Width::Word, 0).unwrap();
    assert_eq!(mtimer.read(8, Width::Double), Ok(0x1234));
    assert_eq!(mtimer.read(8, Width::Half), Err(AccessError::Width));
    assert_eq!(mtimer.read(4, Width::Double), Err(AccessError::Width));
}

#[test]
fn writing_mtime_moves_deadlines() {
    let events = events();
    let lines = Lines::new();
    let mtimer = Mtimer::new(HZ, &events.handle(), vec![lines.line(0)]);
    mtimer.write(0, Width::Double, 1 << 40).unwrap();
    mtimer.write(0x7ff8, Width::Double, (1 << 40) - 1).unwrap();
    wait_for("the moved deadline passes", || lines.level(0));
    mtimer.write(0x7ffc, Width::Word, 0).unwrap();
    assert!(!lines.level(0), "time went back before the deadline");
    assert!(mtimer.mtime() < 1 << 32);
    mtimer.write(0x7ff8, Width::Double, u64::MAX).unwrap();
    wait_for("mtime wraps around", || mtimer.mtime() < 1 << 40);
    wait_for("and the comparison is made again", || {
        mtimer.write(0, Width::Double, 1 << 41).unwrap();
        !lines.level(0)
    });
    mtimer.reset();
    assert!(!lines.level(0) && mtimer.mtime() < 60 * HZ);
    assert_eq!(mtimer.read(0, Width::Double), Ok(u64::MAX));
}

#[test]
fn the_clint_is_both() {
    let events = events();
    let lines = Lines::new();
    let mswi = Mswi::new(vec![lines.line(0), lines.line(1)]);
    let mtimer = Mtimer::new(HZ, &events.handle(), vec![lines.line(2), lines.line(3)]);
    let clint = Clint::new(mswi, Arc::clone(&mtimer));
    clint.write(4, Width::Word, 1).unwrap();
    assert!(lines.level(1));
    clint.write(0x4008, Width::Double, 0).unwrap();
    assert!(lines.level(3));
    let now = mtimer.mtime();
    assert!(clint.read(0xbff8, Width::Double).unwrap() >= now);
    assert_eq!(clint.read(0xc000, Width::Double), Ok(0));
    assert_eq!(clint.write(0xfff8, Width::Double, 1), Ok(()));
    clint.reset();
    assert!(!lines.level(1) && !lines.level(3));
}

#[test]
fn survives_random_accesses() {
    let events = events();
    let lines = Lines::new();
    let mswi = Mswi::new((0..4).map(|i| lines.line(i)).collect());
    let mtimer = Mtimer::new(HZ, &events.handle(), (4..8).map(|i| lines.line(i)).collect());
    let clint = Clint::new(mswi, mtimer);
    hammer(&*clint, spec::CLINT_SIZE, &[0, 4, 0x4000, 0x4004, 0x4018, 0xbff8, 0xbffc], 200_000, 7);
    let sswi = Sswi::new(vec![lines.line(0)]);
    hammer(&*sswi, spec::SSWI_SIZE, &[0, 4], 100_000, 8);
}
