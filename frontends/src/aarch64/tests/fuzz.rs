//! Hostile guests: random registers, helpers, exceptions, returns and translation tables. Nothing may panic, and the state
//! stays legal.

use emu_core::exec::Access;
use emu_core::ir::{MemAttr, Ty, View};

use super::super::sysreg::sysreg_list;
use super::super::{NZCV, sysreg_name};
use super::*;

fn check_legal(cpu: &Cpu) {
    let pstate = cpu.isa.pstate();
    assert!(pstate.el <= 3 && (pstate.el > 0 || !pstate.sp_sel), "{pstate:?}");
    assert_eq!(cpu.state.slots[usize::from(NZCV)] & !spsr::NZCV, 0, "flags");
    assert_eq!(get(cpu, Reg::HCR_EL2) & hcr::RW, hcr::RW);
    assert_eq!(get(cpu, Reg::SCR_EL3) & scr::RW, scr::RW);
    assert_eq!(get(cpu, Reg::SCTLR_EL1) & (1 << 25 | 1 << 24), 0, "big-endian data");
    assert_eq!(get(cpu, Reg::VBAR_EL1) & 0x7ff, 0);
    assert_eq!(cpu.mode(), &cpu.isa.mode(), "a change of mode was not announced");
}

fn address(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => RAM + random.below(RAM_LEN),
        1 => random.below(1 << 39),
        2 => ROM + random.below(0x2_0000),
        3 => !0 << 48 | random.below(1 << 48),
        _ => random.value(),
    }
}

/// An encoding of a kind that means something: one with a line in the table, most of the time.
fn encoding(cpu: &Cpu, random: &mut Random) -> u64 {
    if random.below(4) == 0 {
        return random.below(3 << 14) + (1 << 14);
    }
    loop {
        let at = random.below(3 << 14) as u16 + (1 << 14);
        let known = (at..=u16::MAX).find(|&encoding| sysreg_name(encoding).is_some());
        if let Some(found) = known.filter(|_| cpu.isa.pstate().el > 0 || random.below(8) == 0) {
            return u64::from(found) | random.below(32) << 16;
        }
        if cpu.isa.pstate().el == 0 {
            return at.into();
        }
    }
}

fn step(cpu: &mut Cpu, random: &mut Random) {
    let take = |cpu: &mut Cpu, done: Result<u64, Stop>| {
        if let Err(Stop::Exception(exception)) = done {
            Aarch64::raise(cpu, exception);
        }
    };
    match random.below(9) {
        0..3 => {
            let (helper, register) =
                (random.pick(&[Helper::Mrs, Helper::Msr, Helper::Msr, Helper::Sys]), encoding(cpu, random));
            let value = if random.below(2) == 0 { random.value() } else { address(random) };
            let args = if helper == Helper::Mrs { [register, 0, 0] } else { [register, value, 0] };
            let done = call(cpu, helper, args);
            take(cpu, done);
        }
        3 => {
            let helper = random.pick(Helper::ALL);
            let mut args = [address(random), random.value(), random.value()];
            // The lifter gives these helpers only what instructions have.
            match helper {
                Helper::LoadExclusive => args[1] = random.pick(&[1, 2, 4, 8, 16]),
                Helper::StoreExclusive => args[2] = random.pick(&[1, 2, 4, 8]),
                Helper::Crc32 | Helper::Crc32c => args[2] = random.pick(&[1, 2, 4, 8]),
                Helper::Mrs | Helper::Msr | Helper::Sys | Helper::Sysl => args[0] = encoding(cpu, random),
                _ => {}
            }
            let done = call(cpu, helper, args);
            match done {
                Ok(pc) if helper == Helper::Eret => cpu.state.pc = pc,
                done => take(cpu, done),
            }
        }
        4 => {
            let access = random.pick(&[Access::Read, Access::Write, Access::Fetch]);
            let (va, view) = (address(random), random.pick(&[View::Current, View::Unprivileged]));
            let va = if access == Access::Fetch { va & !3 } else { va };
            match Aarch64::translate(cpu, va, 1, access, view) {
                Ok(found) => assert_eq!(found.pa & 0xfff, va & 0xfff),
                Err(exception) => Aarch64::raise(cpu, exception),
            }
        }
        5 => {
            let ty = random.pick(&[Ty::I8, Ty::I16, Ty::I32, Ty::I64]);
            let (va, value) = (address(random), random.value());
            let done = if random.below(2) == 0 {
                cpu.load(ty, MemAttr::PLAIN, va)
            } else {
                cpu.store(ty, MemAttr::PLAIN, va, value).map(|()| 0)
            };
            take(cpu, done);
        }
        6 => {
            let pins = random.value();
            cpu.port().set_pins(0x3f, pins & 0x3f);
            if let Some(interrupt) = Aarch64::pending_interrupt(cpu) {
                Aarch64::raise(cpu, interrupt);
            }
        }
        7 => {
            let cause = match random.below(3) {
                0 => u64::from(syndrome(random.below(64) as u32, random.bits() as u32)),
                1 => random.bits() & 0x3_ffff_ffff,
                _ => UNDEFINED.into(),
            };
            Aarch64::raise(cpu, Exception { cause, value: address(random), extra: random.value() });
        }
        _ => {
            // Down again, or nothing below EL3 would be tried.
            let el = random.below(4) as u8;
            enter(cpu, el);
            cpu.state.retired += random.below(1 << 20);
        }
    }
}

#[test]
fn hostile_guests() {
    for model in ["max", "cortex-a57", "neoverse-n1"] {
        for seed in seeds(12) {
            let mut random = Random(seed);
            let wiring = Wiring { gic: Some(Box::new(Mirror)), ..Wiring::default() };
            let mut cpu = cpu_of(config(model), wiring, 1);
            // Tables of plausible entries, some of which point at others.
            for at in (RAM..RAM + 0x2_0000).step_by(8) {
                let page = RAM + (random.below(0x40) << 12);
                let bits = random.bits() & 0xfff | random.value() & random.value() & !0 << 50;
                let _ = cpu.store(Ty::I64, MemAttr::PLAIN, at, page | bits | 1);
            }
            for (base, control) in [
                (Reg::TTBR0_EL1, Reg::TCR_EL1),
                (Reg::TTBR0_EL2, Reg::TCR_EL2),
                (Reg::TTBR0_EL3, Reg::TCR_EL3),
                (Reg::VTTBR_EL2, Reg::VTCR_EL2),
            ] {
                set(&mut cpu, base, RAM);
                set(&mut cpu, control, 25 | random.bits() << 6 & 0xffff_ffc0 | 5 << 32);
            }
            for control in [Reg::SCTLR_EL1, Reg::SCTLR_EL2, Reg::SCTLR_EL3] {
                set(&mut cpu, control, random.bits() | 1);
            }
            for _ in 0..8_000 {
                step(&mut cpu, &mut random);
                check_legal(&cpu);
            }
        }
    }
}

#[test]
fn every_register_can_be_read_and_written_at_every_level() {
    for model in ["max", "cortex-a72"] {
        for el in 0..4 {
            let mut cpu = cpu_of(config(model), Wiring::default(), 1);
            let registers: Vec<u16> = sysreg_list(&cpu.isa).map(|(encoding, _)| encoding).collect();
            assert!(registers.len() > 100);
            for register in registers {
                for value in [0, u64::MAX, 0x5555_5555_5555_5555, 0] {
                    enter(&mut cpu, el);
                    for (helper, args) in
                        [(Helper::Msr, [register.into(), value, 0]), (Helper::Mrs, [register.into(), 0, 0])]
                    {
                        let _ = call(&mut cpu, helper, args);
                    }
                }
            }
        }
    }
}
