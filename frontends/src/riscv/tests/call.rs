//! Helpers other than those for CSRs, traps and counters.

use emu_core::exec::HostRequest;
use emu_core::ir::{MemAttr, Ty};

use super::*;

const BITS: u64 = 0x1234_5073;

fn load(hart: &mut Hart, va: u64) -> u64 {
    hart.load(Ty::I64, MemAttr::PLAIN, va).unwrap()
}

fn store(hart: &mut Hart, va: u64, value: u64) {
    hart.store(Ty::I64, MemAttr::PLAIN, va, value).unwrap();
}

#[test]
fn environment_calls() {
    for (mode, cause) in [(U, 8), (S, 9), (M, 11)] {
        for firmware_calls in [false, true] {
            let mut hart = hart_of(Config { firmware_calls, ..config("max") }, 1, None);
            enter(&mut hart, mode);
            let found = call(&mut hart, Helper::Ecall, [0; 3]);
            if firmware_calls && mode == S {
                assert_eq!(found, Err(Stop::Host(HostRequest::Firmware)));
            } else {
                assert_eq!(found, exception(cause, 0));
            }
        }
    }
}

#[test]
fn waiting_for_interrupts() {
    let mut hart = hart();
    let wait = Err(Stop::Host(HostRequest::Wait { deadline: None }));
    assert_eq!(call(&mut hart, Helper::Wfi, [BITS, 0, 0]), wait);
    set(&mut hart, 0x344, 2);
    assert_eq!(call(&mut hart, Helper::Wfi, [BITS, 0, 0]), wait, "not enabled");
    set(&mut hart, 0x304, 2);
    assert_eq!(call(&mut hart, Helper::Wfi, [BITS, 0, 0]), Ok(0), "whatever mstatus.MIE");
    set(&mut hart, 0x304, 0x20);
    set(&mut hart, 0x30a, 1 << 63);
    set(&mut hart, 0x14d, 1 << 40);
    let deadline = Some(100 << 40);
    let found = call(&mut hart, Helper::Wfi, [BITS, 0, 0]);
    assert_eq!(found, Err(Stop::Host(HostRequest::Wait { deadline })));

    set(&mut hart, 0x14d, 0);
    for (mode, tw, legal) in [(U, 0, false), (U, 1, false), (S, 0, true), (S, 1, false), (M, 1, true)] {
        set(&mut hart, 0x300, tw << 21);
        enter(&mut hart, mode);
        let found = call(&mut hart, Helper::Wfi, [BITS, 0, 0]);
        assert_eq!(found, if legal { Ok(0) } else { illegal(BITS) }, "{mode:?}, TW {tw}");
    }
}

#[test]
fn fences_need_privilege() {
    for (mode, tvm) in MODES.into_iter().flat_map(|mode| [(mode, 0), (mode, 1)]) {
        let mut hart = hart();
        set(&mut hart, 0x300, tvm << 20);
        enter(&mut hart, mode);
        let legal = mode == M || (mode == S && tvm == 0);
        let found = call(&mut hart, Helper::SfenceVma, [0, 0, BITS << 32]);
        assert_eq!(found, if legal { Ok(0) } else { illegal(BITS) }, "{mode:?}, TVM {tvm}");
        let found = call(&mut hart, Helper::SfenceInval, [BITS, 0, 0]);
        assert_eq!(found, if mode == U { illegal(BITS) } else { Ok(0) }, "{mode:?}, TVM {tvm}");
    }
}

#[test]
fn cache_blocks_need_enables() {
    for (operation, field, value) in
        [(0, 3 << 4, 1 << 4), (0, 3 << 4, 3 << 4), (1, 64, 64), (2, 64, 64), (4, 128, 128)]
    {
        for (machine, supervisor) in [(false, false), (true, false), (false, true), (true, true)] {
            for mode in MODES {
                let mut hart = hart();
                open_pmp(&mut hart);
                // Everything but the field under test is enabled.
                set(&mut hart, 0x30a, 0xf0 & !field | if machine { value } else { 0 });
                set(&mut hart, 0x10a, 0xf0 & !field | if supervisor { value } else { 0 });
                enter(&mut hart, mode);
                let legal = mode == M || machine && (mode == S || supervisor);
                let found = call(&mut hart, Helper::Cbo, [RAM + 8, operation, BITS]);
                assert_eq!(found, if legal { Ok(0) } else { illegal(BITS) }, "{operation} in {mode:?}");
            }
        }
    }
}

#[test]
fn zeroing_a_block() {
    let mut hart = hart();
    for at in (0..256).step_by(8) {
        store(&mut hart, RAM + at, u64::MAX);
    }
    call(&mut hart, Helper::Cbo, [RAM + 0x7f, 4, BITS]).unwrap();
    for at in (0..256).step_by(8) {
        assert_eq!(load(&mut hart, RAM + at), if (64..128).contains(&at) { 0 } else { u64::MAX }, "{at}");
    }
    call(&mut hart, Helper::Cbo, [RAM + 0xc0, 2, BITS]).unwrap();
    assert_eq!(load(&mut hart, RAM + 0xc0), u64::MAX, "flushing changes nothing");
}

#[test]
fn cache_block_faults_are_store_faults_at_the_given_address() {
    for operation in [0, 1, 2, 4] {
        let mut hart = hart();
        let found = call(&mut hart, Helper::Cbo, [0x4000_0013, operation, BITS]);
        assert_eq!(found, exception(7, 0x4000_0013), "nothing is there");
        open_pmp(&mut hart);
        set(&mut hart, 0x30a, 0xf0);
        set(&mut hart, 0x180, 8 << 60 | RAM >> 12);
        enter(&mut hart, S);
        let found = call(&mut hart, Helper::Cbo, [0x4000_0013, operation, BITS]);
        assert_eq!(found, exception(15, 0x4000_0013), "not mapped");
    }
}

#[test]
fn reservations() {
    let mut hart = hart();
    let (a, b) = (RAM + 0x100, RAM + 0x200);
    let lr = |hart: &mut Hart, va, bytes| call(hart, Helper::LoadReserved, [va, bytes, 0]).unwrap();
    let sc =
        |hart: &mut Hart, va, value, bytes| call(hart, Helper::StoreConditional, [va, value, bytes]).unwrap();
    store(&mut hart, a, 0x8000_0001);
    assert_eq!(sc(&mut hart, a, 5, 8), 1, "none");
    assert_eq!(lr(&mut hart, a, 4), 0xffff_ffff_8000_0001, "sign-extended");
    assert_eq!(sc(&mut hart, a, 5, 4), 0);
    assert_eq!(load(&mut hart, a), 5);
    assert_eq!(sc(&mut hart, a, 6, 4), 1, "used up");
    lr(&mut hart, a, 8);
    assert_eq!(sc(&mut hart, b, 6, 8), 1, "another address");
    assert_eq!(sc(&mut hart, a, 6, 8), 1, "which ends it");
    lr(&mut hart, a, 8);
    assert_eq!(sc(&mut hart, a, 6, 4), 1, "another size");
    lr(&mut hart, a, 8);
    lr(&mut hart, b, 8);
    assert_eq!(sc(&mut hart, a, 6, 8), 1, "the last one counts");
    lr(&mut hart, a, 8);
    Riscv::raise(&mut hart, Exception::new(3, 0));
    assert_eq!(sc(&mut hart, a, 6, 8), 1, "a trap ends it");
    lr(&mut hart, a, 8);
    store(&mut hart, a, 9);
    assert_eq!(sc(&mut hart, a, 6, 8), 1, "something else was stored");
    assert_eq!(load(&mut hart, a), 9);
    lr(&mut hart, a, 8);
    assert_eq!(call(&mut hart, Helper::Wrs, [0; 3]), Err(Stop::Host(HostRequest::Yield)));
    assert_eq!(call(&mut hart, Helper::Wrs, [0; 3]), Ok(0), "nothing to wait for");
    assert_eq!(sc(&mut hart, a, 6, 8), 1);
}

#[test]
fn reservation_faults() {
    let mut hart = hart();
    assert_eq!(call(&mut hart, Helper::LoadReserved, [RAM + 4, 8, 0]), exception(4, RAM + 4));
    assert_eq!(call(&mut hart, Helper::StoreConditional, [RAM + 2, 0, 4]), exception(6, RAM + 2));
    assert_eq!(call(&mut hart, Helper::LoadReserved, [0x4000_0000, 8, 0]), exception(5, 0x4000_0000));
    call(&mut hart, Helper::LoadReserved, [ROM, 8, 0]).unwrap();
    assert_eq!(call(&mut hart, Helper::StoreConditional, [ROM, 0, 8]), exception(7, ROM));
}

#[test]
fn a_reservation_of_several_harts_stops_the_others() {
    let mut hart = hart_of(config("max"), 2, None);
    hart.enter_guest();
    assert!(!hart.is_exclusive());
    call(&mut hart, Helper::LoadReserved, [RAM, 8, 0]).unwrap();
    assert!(hart.is_exclusive());
    assert_eq!(call(&mut hart, Helper::StoreConditional, [RAM, 3, 8]), Ok(0));
    assert!(!hart.is_exclusive());
    call(&mut hart, Helper::LoadReserved, [RAM, 8, 0]).unwrap();
    hart.end_exclusive();
    assert_eq!(call(&mut hart, Helper::StoreConditional, [RAM, 4, 8]), Ok(1), "too late");
    assert_eq!(load(&mut hart, RAM), 3);
    hart.leave_guest();
}

#[test]
fn a_wait_ends_when_the_word_changes() {
    for harts in [1, 2] {
        let mut hart = hart_of(config("max"), harts, None);
        hart.enter_guest();
        store(&mut hart, RAM, 0x8000_0001);
        let wait = |hart: &mut Hart, value| call(hart, Helper::WaitWhile, [RAM, value, 4]);
        let yields = Err(Stop::Host(HostRequest::Yield));
        assert_eq!(wait(&mut hart, 0xffff_ffff_8000_0001), yields, "it stays as it is");
        let changed = if harts == 1 { yields } else { Ok(0) };
        assert_eq!(wait(&mut hart, 0x8000_0001), yields, "only the word's own bits count");
        assert_eq!(wait(&mut hart, 0x8000_0002), changed);
        hart.port().interrupt();
        assert_eq!(wait(&mut hart, 0xffff_ffff_8000_0001), changed, "an interrupt");
        hart.port().clear_interrupt();
        // Unmapped meanwhile: not an exception of the wait.
        let gone = call(&mut hart, Helper::WaitWhile, [0x4000_0000, 1, 8]);
        assert_eq!(gone, changed);
        // By the other form.
        call(&mut hart, Helper::LoadReserved, [RAM, 8, 0]).unwrap();
        assert_eq!(call(&mut hart, Helper::Wrs, [0; 3]), yields);
        assert_eq!(hart.is_exclusive(), harts == 1);
        hart.leave_guest();
    }
}

#[test]
fn pauses_let_other_harts_run_now_and_then() {
    let yields = |harts| {
        let mut hart = hart_of(config("max"), harts, None);
        (0..320).filter(|_| call(&mut hart, Helper::Pause, [0; 3]).is_err()).count()
    };
    assert_eq!((yields(1), yields(2)), (0, 10));
}

#[test]
fn the_first_change_makes_the_floating_point_unit_dirty() {
    let mut hart = hart();
    fp_on(&mut hart);
    let context = |hart: &Hart| crate::riscv::Context::from_bits(hart.mode().ctx);
    assert!(context(&hart).fp_on && !context(&hart).fp_dirty);
    call(&mut hart, Helper::FpDirty, [0; 3]).unwrap();
    assert!(context(&hart).fp_dirty);
    assert_eq!(get(&hart, 0x300) >> 63, 1);
}

#[test]
fn numbers_that_are_no_helper() {
    let mut hart = hart();
    assert_eq!(Riscv::call(&mut hart, u16::MAX, [0; 3]), illegal(0));
}
