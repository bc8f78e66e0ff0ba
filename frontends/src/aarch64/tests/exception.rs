//! Taking exceptions and returning from them.

use emu_core::exec::Access;

use super::super::bits::{hcrx, sctlr};
use super::super::{NZCV, SP};
use super::*;

fn raise(cpu: &mut Cpu, cause: u64, value: u64) {
    Aarch64::raise(cpu, Exception::new(cause, value));
}

/// Level, `ESR`, `ELR` after an exception.
fn taken(cpu: &Cpu) -> (u8, u64, u64) {
    let el = cpu.isa.pstate().el;
    let of = |registers: [Reg; 3]| get(cpu, exceptions::banked(registers, el));
    (el, of([Reg::ESR_EL1, Reg::ESR_EL2, Reg::ESR_EL3]), of([Reg::ELR_EL1, Reg::ELR_EL2, Reg::ELR_EL3]))
}

const PC: u64 = RAM + 0x1000;

#[test]
fn vectors_and_saved_state() {
    for (el, register, base) in
        [(1, Reg::VBAR_EL1, 0x1_0000), (2, Reg::VBAR_EL2, 0x2_0000), (3, Reg::VBAR_EL3, 0x3_0000)]
    {
        for (own, offset) in [(false, 0), (true, 0x200)] {
            let mut cpu = cpu_at(el);
            set(&mut cpu, register, base);
            exceptions::select_sp(&mut cpu, el, own);
            cpu.mode_changed();
            cpu.state.slots[usize::from(NZCV)] = spsr::NZCV;
            cpu.state.pc = PC;
            raise(&mut cpu, UNDEFINED.into(), 0);
            assert_eq!(cpu.state.pc, base + offset);
            assert_eq!(taken(&cpu), (el, u64::from(UNDEFINED), PC));
            let saved = get(&cpu, exceptions::banked([Reg::SPSR_EL1, Reg::SPSR_EL2, Reg::SPSR_EL3], el));
            assert_eq!(saved & 0xf, u64::from(el) << 2 | u64::from(own));
            assert_eq!(saved & spsr::NZCV, spsr::NZCV);
            let pstate = cpu.isa.pstate();
            assert!(pstate.daif == 15 && pstate.sp_sel && pstate.el == el);
        }
    }
    let mut cpu = cpu_at(0);
    set(&mut cpu, Reg::VBAR_EL1, 0x8000);
    raise(&mut cpu, UNDEFINED.into(), 0);
    assert_eq!(cpu.state.pc, 0x8400);
}

#[test]
fn where_exceptions_go() {
    let svc = u64::from(syndrome(class::SVC, 7));
    for (el, hypervisor, expected) in
        [(0, 0, 1), (0, hcr::TGE, 2), (1, 0, 1), (2, 0, 2), (3, 0, 3), (0, hcr::TGE | hcr::E2H, 2)]
    {
        let mut cpu = cpu_at(el);
        let base = get(&cpu, Reg::HCR_EL2);
        set(&mut cpu, Reg::HCR_EL2, base | hypervisor);
        cpu.state.pc = PC;
        raise(&mut cpu, svc, 0);
        assert_eq!(taken(&cpu), (expected, svc, PC + 4), "SVC at EL{el}, {hypervisor:#x}");
    }
    for (class, el, expected) in
        [(class::HVC, 1, 2), (class::HVC, 3, 3), (class::SMC, 1, 3), (class::SMC, 2, 3)]
    {
        let mut cpu = cpu_at(el);
        cpu.state.pc = PC;
        raise(&mut cpu, syndrome(class, 1).into(), 0);
        assert_eq!(taken(&cpu), (expected, u64::from(syndrome(class, 1)), PC + 4));
    }
    for (el, controls, expected) in [(0, 0, 1), (1, 0, 1), (0, hcrx::MCE2, 2), (1, hcrx::MCE2, 2), (2, 0, 2)]
    {
        let mut cpu = cpu_at(el);
        set(&mut cpu, Reg::HCRX_EL2, controls);
        cpu.state.pc = PC;
        raise(&mut cpu, syndrome(class::MEMORY_OPERATION, 1).into(), 0);
        assert_eq!(taken(&cpu), (expected, u64::from(syndrome(class::MEMORY_OPERATION, 1)), PC));
    }
    // A trapped one is tried again.
    let mut cpu = cpu_at(1);
    cpu.state.pc = PC;
    raise(&mut cpu, target(syndrome(class::SMC, 1), 2), 0);
    assert_eq!(taken(&cpu), (2, u64::from(syndrome(class::SMC, 1)), PC));
}

#[test]
fn classes_in_pairs_and_addresses() {
    for (el, pair) in [(0, 0), (1, 1)] {
        let mut cpu = cpu_at(el);
        cpu.state.pc = PC;
        Aarch64::raise(&mut cpu, exceptions::abort(0x1234, Access::Write, 7));
        let expected = u64::from(syndrome(class::DATA_ABORT + pair, 7 | 1 << 6));
        assert_eq!((taken(&cpu), get(&cpu, Reg::FAR_EL1)), ((1, expected, PC), 0x1234));
        let mut cpu = cpu_at(el);
        raise(&mut cpu, syndrome(class::PC_ALIGNMENT, 0).into(), 0x1002);
        assert_eq!((taken(&cpu).2, get(&cpu, Reg::FAR_EL1)), (0x1002, 0x1002));
    }
}

#[test]
fn entries_change_pstate() {
    let mut cpu = cpu_at(0);
    set(&mut cpu, Reg::SCTLR_EL1, sctlr::SPAN | sctlr::DSSBS);
    raise(&mut cpu, UNDEFINED.into(), 0);
    assert!(!cpu.isa.pstate().pan && cpu.isa.pstate().ssbs);
    let mut cpu = cpu_at(0);
    set(&mut cpu, Reg::SCTLR_EL1, 0);
    raise(&mut cpu, UNDEFINED.into(), 0);
    assert!(cpu.isa.pstate().pan && !cpu.isa.pstate().ssbs && !cpu.isa.pstate().uao);
    // PAN is for levels that have an EL0 of their own.
    for (hypervisor, sets) in [(0, false), (hcr::E2H, false), (hcr::TGE, false), (hcr::E2H | hcr::TGE, true)]
    {
        let mut cpu = cpu_at(2);
        set(&mut cpu, Reg::HCR_EL2, hypervisor);
        set(&mut cpu, Reg::SCTLR_EL2, 0);
        raise(&mut cpu, UNDEFINED.into(), 0);
        assert_eq!(cpu.isa.pstate().pan, sets, "{hypervisor:#x}");
    }
}

#[test]
fn returns() {
    let mut cpu = cpu_at(1);
    set(&mut cpu, Reg::ELR_EL1, PC);
    set(&mut cpu, Reg::SPSR_EL1, 1 << 30 | spsr::PAN | spsr::DIT | 0x80);
    set(&mut cpu, Reg::SP_EL0, 0x77);
    assert_eq!(call(&mut cpu, Helper::Eret, [0; 3]), Ok(PC));
    let pstate = *cpu.isa.pstate();
    assert!(pstate.el == 0 && !pstate.sp_sel && pstate.pan && pstate.dit && pstate.daif == 2);
    assert_eq!((cpu.state.slots[usize::from(NZCV)], cpu.state.slots[usize::from(SP)]), (1 << 30, 0x77));
    assert_eq!(call(&mut cpu, Helper::Eret, [0; 3]), undefined());
    // What cannot be: AArch32, bit 1, a higher level, EL0 with a stack pointer of its own.
    for status in [0x10, 0b0110, 0b1001, 0b0001] {
        let mut cpu = cpu_at(1);
        set(&mut cpu, Reg::SPSR_EL1, status | 0x3c0);
        set(&mut cpu, Reg::ELR_EL1, PC);
        assert_eq!(call(&mut cpu, Helper::Eret, [0; 3]), Ok(PC));
        assert!(cpu.isa.pstate().il && cpu.isa.pstate().el == 1, "{status:#x}");
    }
    // A host has no EL1.
    let mut cpu = cpu_at(2);
    set(&mut cpu, Reg::HCR_EL2, hcr::TGE);
    set(&mut cpu, Reg::SPSR_EL2, 0x3c5);
    assert!(call(&mut cpu, Helper::Eret, [0; 3]).is_ok() && cpu.isa.pstate().il);
}
