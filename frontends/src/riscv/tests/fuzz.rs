//! Hostile guests: random CSR instructions, helpers, traps and page tables. Nothing may panic, and the state
//! stays legal.

use emu_core::exec::Access;
use emu_core::ir::{MemAttr, Ty, View};

use super::*;

/// Fields that no write may ever change or make illegal.
fn check_legal(hart: &Hart) {
    let status = get(hart, 0x300);
    assert_eq!(status & !(1 << 63 | 0x007e_79aa), 0xa_0000_0000, "mstatus {status:#x}");
    assert_ne!(status >> 11 & 3, 2, "mstatus.MPP");
    assert_eq!(status >> 63 == 1, status >> 13 & 3 == 3, "mstatus.SD");
    assert!(matches!(get(hart, 0x180) >> 60, 0 | 8 | 9 | 10), "satp.MODE");
    assert_eq!((get(hart, 0x305) | get(hart, 0x105)) & 2, 0, "mtvec, stvec");
    assert_eq!((get(hart, 0x341) | get(hart, 0x141)) & 1, 0, "mepc, sepc");
    assert_eq!(get(hart, 0x303) & !0x2222, 0, "mideleg");
    assert_eq!(get(hart, 0x302) & !0xb3ff, 0, "medeleg");
    assert_ne!((get(hart, 0x30a) >> 4) & 3, 2, "menvcfg.CBIE");
    assert_eq!(hart.mode(), &hart.isa.mode(), "a change of mode was not announced");
}

/// An address of a kind that means something.
fn address(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => RAM + random.below(RAM_LEN),
        1 => random.below(1 << 39),
        2 => ROM + random.below(0x2000),
        _ => random.value(),
    }
}

fn step(hart: &mut Hart, random: &mut Random) {
    let numbers: [u16; 12] =
        [0x300, 0x100, 0x180, 0x304, 0x344, 0x144, 0x14d, 0x30a, 0x747, 0x320, 0x323, 0x3a0];
    let number = match random.below(4) {
        0 => random.pick(&numbers),
        1 => 0x3a0 + random.below(0x50) as u16,
        _ => random.below(4096) as u16,
    };
    match random.below(8) {
        0..3 => {
            let value = random.value();
            let op = random.pick(&[Op::Read, Op::Write(value), Op::Set(value), Op::Clear(value)]);
            csr(hart, number, op);
        }
        3 => {
            let helper = random.pick(Helper::ALL);
            let mut args = [address(random), random.value(), random.value()];
            // The lifter gives these helpers only sizes and operations that instructions have.
            match helper {
                Helper::LoadReserved => args[1] = random.pick(&[4, 8]),
                Helper::StoreConditional => args[2] = random.pick(&[4, 8]),
                Helper::Cbo => args[1] = random.pick(&[0, 1, 2, 4]),
                _ => {}
            }
            if let Err(Stop::Exception(exception)) = call(hart, helper, args) {
                Riscv::raise(hart, exception);
            }
        }
        4 => {
            let access = random.pick(&[Access::Read, Access::Write, Access::Fetch]);
            let va = address(random);
            match Riscv::translate(hart, va, 1, access, View::Current) {
                Ok(found) => assert_eq!(found.pa & 0xfff, va & 0xfff),
                Err(exception) => Riscv::raise(hart, exception),
            }
        }
        5 => {
            let ty = random.pick(&[Ty::I8, Ty::I16, Ty::I32, Ty::I64]);
            let (va, value) = (address(random), random.value());
            let done = if random.below(2) == 0 {
                hart.load(ty, MemAttr::PLAIN, va).map(drop)
            } else {
                hart.store(ty, MemAttr::PLAIN, va, value)
            };
            if let Err(Stop::Exception(exception)) = done {
                Riscv::raise(hart, exception);
            }
        }
        6 => {
            let pins = random.value();
            hart.port().set_pins(crate::riscv::PINS, pins);
            if let Some(interrupt) = Riscv::pending_interrupt(hart) {
                Riscv::raise(hart, interrupt);
            }
        }
        _ => {
            // Down again, or nothing below M-mode would be tried.
            let mode = random.pick(&MODES);
            enter(hart, mode);
            hart.state.retired += random.below(1 << 20);
        }
    }
}

#[test]
fn hostile_guests() {
    for model in ["max", "rva22s64"] {
        for seed in seeds(12) {
            let mut random = Random(seed);
            let mut hart = hart_of(config(model), 1, None);
            // Page tables of plausible entries, some of which point at others.
            for at in (RAM..RAM + 0x1_0000).step_by(8) {
                let page = (RAM >> 12) + random.below(0x20);
                let entry =
                    page << 10 | random.bits() & 0xff | random.value() & random.value() & !0xffff << 10;
                let _ = hart.store(Ty::I64, MemAttr::PLAIN, at, entry | 1);
            }
            open_pmp(&mut hart);
            set(&mut hart, 0x180, 8 << 60 | RAM >> 12);
            for _ in 0..8_000 {
                step(&mut hart, &mut random);
                check_legal(&hart);
            }
        }
    }
}
