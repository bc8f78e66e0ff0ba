//! Registers that are views of the processor's state: fields of PSTATE, stack pointers, thread identifiers, keys, floating
//! point.

use emu_core::fp::Flags;

use super::super::bits::{daif, scr, sctlr, spsr};
use super::super::exception::{self, interrupt, select_sp};
use super::super::state::{Aarch64, Cpu};
use super::super::syndrome::class;
use super::super::{Fpcr, KEYS, NZCV, SP, SP_EL, TPIDR_EL, TPIDRRO};
use super::{Reg, Verdict, hcr};

fn slot(cpu: &mut Cpu, slot: u16) -> &mut u64 {
    &mut cpu.state.slots[usize::from(slot)]
}

/// The slot of `SP_ELx`: that of the current stack pointer if it is the one in use.
fn sp_slot(isa: &Aarch64, register: Reg) -> u16 {
    let el = match register {
        Reg::SP_EL0 => 0,
        Reg::SP_EL1 => 1,
        _ => 2,
    };
    let current = if isa.pstate.sp_sel { isa.pstate.el } else { 0 };
    if el == current { SP } else { SP_EL + u16::from(el) }
}

pub(super) fn read_sp(cpu: &Cpu, register: Reg) -> u64 {
    cpu.state.slots[usize::from(sp_slot(&cpu.isa, register))]
}

pub(super) fn write_sp(cpu: &mut Cpu, register: Reg, value: u64) {
    let at = sp_slot(&cpu.isa, register);
    *slot(cpu, at) = value;
}

/// `SP_EL0` has no name while it is in use.
pub(super) fn sp_el0_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.pstate.sp_sel && isa.pstate.el > 0 { Verdict::Allowed } else { Verdict::Undefined }
}

pub(super) fn read_sp_sel(cpu: &Cpu, _: Reg) -> u64 {
    cpu.isa.pstate.sp_sel.into()
}

pub(super) fn write_sp_sel(cpu: &mut Cpu, _: Reg, value: u64) {
    let el = cpu.isa.pstate.el;
    select_sp(cpu, el, value & 1 != 0);
    cpu.mode_changed();
}

pub(super) fn read_el(cpu: &Cpu, _: Reg) -> u64 {
    u64::from(cpu.isa.pstate.el) << spsr::EL_SHIFT
}

pub(super) fn read_nzcv(cpu: &Cpu, _: Reg) -> u64 {
    cpu.state.slots[usize::from(NZCV)]
}

pub(super) fn write_nzcv(cpu: &mut Cpu, _: Reg, value: u64) {
    *slot(cpu, NZCV) = value & spsr::NZCV;
}

/// A flag of PSTATE at the position that it has in saved state, too.
macro_rules! pstate_flags {
    ($($read:ident $write:ident $field:ident $bit:expr;)*) => {$(
        pub(super) fn $read(cpu: &Cpu, _: Reg) -> u64 {
            if cpu.isa.pstate.$field { $bit } else { 0 }
        }

        pub(super) fn $write(cpu: &mut Cpu, _: Reg, value: u64) {
            cpu.isa.pstate.$field = value & $bit != 0;
            cpu.mode_changed();
        }
    )*};
}

pstate_flags! {
    read_pan write_pan pan spsr::PAN;
    read_uao write_uao uao spsr::UAO;
    read_dit write_dit dit spsr::DIT;
    read_ssbs write_ssbs ssbs spsr::SSBS;
}

/// Who may access `DAIF`.
pub(super) fn daif_gate(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sctlr(0) & sctlr::UMA != 0)
}

pub(super) fn read_daif(cpu: &Cpu, _: Reg) -> u64 {
    u64::from(cpu.isa.pstate.daif) << spsr::DAIF_SHIFT
}

pub(super) fn write_daif(cpu: &mut Cpu, _: Reg, value: u64) {
    set_daif(cpu, (value >> spsr::DAIF_SHIFT & 0xf) as u8);
}

/// Changes the interrupt masks.
pub(in super::super) fn set_daif(cpu: &mut Cpu, masks: u8) {
    let old = std::mem::replace(&mut cpu.isa.pstate.daif, masks);
    if (old ^ masks) & daif::D != 0 {
        // Software step depends on it.
        cpu.mode_changed();
    }
    if old & !masks != 0 {
        exception::interrupts_changed(cpu);
    }
}

/// Interrupts that are pending.
pub(super) fn read_pending(cpu: &Cpu, _: Reg) -> u64 {
    interrupt::pending_status(cpu)
}

/// `DISR_EL1`; a guest of a hypervisor that routes SErrors to itself sees the virtual one.
pub(super) fn read_deferred(cpu: &Cpu, _: Reg) -> u64 {
    cpu.isa.sys[deferred(&cpu.isa)]
}

pub(super) fn write_deferred(cpu: &mut Cpu, _: Reg, value: u64) {
    let register = deferred(&cpu.isa);
    cpu.isa.sys.store(register, value);
}

fn deferred(isa: &Aarch64) -> Reg {
    let virt = isa.below_el2() && isa.hcr() & hcr::AMO != 0;
    if virt { Reg::VDISR_EL2 } else { Reg::DISR_EL1 }
}

fn thread_slot(register: Reg) -> u16 {
    match register {
        Reg::TPIDR_EL0 => TPIDR_EL,
        Reg::TPIDR_EL1 => TPIDR_EL + 1,
        Reg::TPIDR_EL2 => TPIDR_EL + 2,
        Reg::TPIDR_EL3 => TPIDR_EL + 3,
        _ => TPIDRRO,
    }
}

pub(super) fn read_thread(cpu: &Cpu, register: Reg) -> u64 {
    cpu.state.slots[usize::from(thread_slot(register))]
}

pub(super) fn write_thread(cpu: &mut Cpu, register: Reg, value: u64) {
    *slot(cpu, thread_slot(register)) = value;
}

/// A register that EL0 can only read.
pub(super) fn read_only_gate(isa: &Aarch64, write: bool) -> Verdict {
    if write && isa.pstate.el == 0 { Verdict::Undefined } else { Verdict::Allowed }
}

/// Who may access software context numbers.
pub(super) fn context_number_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.pstate.el == 0 && isa.sctlr(0) & sctlr::TSCXT != 0 {
        return Verdict::Trap(1);
    }
    if isa.el2_controls() && isa.hcr() & hcr::EN_SCXT == 0 {
        return Verdict::Trap(2);
    }
    let el3 = isa.below_el3() && isa.sys[Reg::SCR_EL3] & scr::EN_SCXT == 0;
    if el3 { Verdict::Trap(3) } else { Verdict::Allowed }
}

/// Keys trap unless `APK` says otherwise.
pub(super) fn key_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.el2_controls() && isa.hcr() & hcr::APK == 0 {
        return Verdict::Trap(2);
    }
    let el3 = isa.below_el3() && isa.sys[Reg::SCR_EL3] & scr::APK == 0;
    if el3 { Verdict::Trap(3) } else { Verdict::Allowed }
}

/// The slot of half a key; the registers are in the order of the slots.
fn key_slot(register: Reg) -> u16 {
    KEYS + (register as u16 - Reg::APIAKeyLo_EL1 as u16)
}

pub(super) fn read_key(cpu: &Cpu, register: Reg) -> u64 {
    cpu.state.slots[usize::from(key_slot(register))]
}

pub(super) fn write_key(cpu: &mut Cpu, register: Reg, value: u64) {
    *slot(cpu, key_slot(register)) = value;
}

/// Floating-point registers trap as floating-point instructions do.
pub(super) fn fp_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.fp_trap().is_none() { Verdict::Allowed } else { Verdict::TrapAs(class::FP_ACCESS) }
}

pub(super) fn read_fpcr(cpu: &Cpu, _: Reg) -> u64 {
    cpu.isa.fpcr
}

pub(super) fn write_fpcr(cpu: &mut Cpu, _: Reg, value: u64) {
    cpu.isa.fpcr = value & Fpcr::MASK;
    cpu.mode_changed();
}

/// The flags of `FPSR` and where they are: IOC, DZC, OFC, UFC, IXC, IDC, QC.
const FLAGS: [(u32, Flags); 7] = [
    (0, Flags::INVALID),
    (1, Flags::DIV_BY_ZERO),
    (2, Flags::OVERFLOW),
    (3, Flags::UNDERFLOW),
    (4, Flags::INEXACT),
    (7, Flags::INPUT_DENORMAL),
    (27, Flags::SATURATED),
];

pub(super) fn read_fpsr(cpu: &Cpu, _: Reg) -> u64 {
    let set = |(bit, flag): (u32, Flags)| u64::from(cpu.state.fp_flags & u64::from(flag.bits()) != 0) << bit;
    FLAGS.into_iter().map(set).fold(0, |all, bit| all | bit)
}

pub(super) fn write_fpsr(cpu: &mut Cpu, _: Reg, value: u64) {
    let set = |(bit, flag): (u32, Flags)| if value >> bit & 1 != 0 { flag.bits() } else { 0 };
    cpu.state.fp_flags = FLAGS.into_iter().map(set).fold(0, |all, bits| all | bits).into();
}
