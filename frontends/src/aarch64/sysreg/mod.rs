//! System registers.

use emu_core::fp::Flags;

use super::Fpcr;
use super::helper::sysreg;
use super::state::Cpu;

const FPCR: u16 = sysreg(3, 3, 4, 4, 0);
const FPSR: u16 = sysreg(3, 3, 4, 4, 1);
const VBAR_EL1: u16 = sysreg(3, 0, 12, 0, 0);
const SPSR_EL1: u16 = sysreg(3, 0, 4, 0, 0);
const ELR_EL1: u16 = sysreg(3, 0, 4, 0, 1);
const ESR_EL1: u16 = sysreg(3, 0, 5, 2, 0);
const FAR_EL1: u16 = sysreg(3, 0, 6, 0, 0);

/// The flags of `FPSR` and where they are: IOC, DZC, OFC, UFC, IXC.
const FLAGS: [(u32, Flags); 5] = [
    (0, Flags::INVALID),
    (1, Flags::DIV_BY_ZERO),
    (2, Flags::OVERFLOW),
    (3, Flags::UNDERFLOW),
    (4, Flags::INEXACT),
];

/// The value of a register; none if there is no such register to read.
pub(super) fn read(cpu: &Cpu, register: u16) -> Option<u64> {
    match register {
        FPCR => Some(cpu.isa.fpcr),
        FPSR => {
            let set = |(bit, flag): (u32, Flags)| {
                if cpu.state.fp_flags & u64::from(flag.bits()) != 0 { 1 << bit } else { 0 }
            };
            Some(FLAGS.into_iter().map(set).fold(0, |all, bit| all | bit))
        }
        VBAR_EL1 => Some(cpu.isa.vbar[0]),
        SPSR_EL1 => Some(cpu.isa.spsr[0]),
        ELR_EL1 => Some(cpu.isa.elr[0]),
        ESR_EL1 => Some(cpu.isa.esr[0]),
        FAR_EL1 => Some(cpu.isa.far[0]),
        _ => None,
    }
}

/// Writes a register; false if there is no such register to write.
pub(super) fn write(cpu: &mut Cpu, register: u16, value: u64) -> bool {
    match register {
        FPCR => {
            cpu.isa.fpcr = value & Fpcr::MASK;
            cpu.mode_changed();
        }
        FPSR => {
            let set = |(bit, flag): (u32, Flags)| if value >> bit & 1 != 0 { flag.bits() } else { 0 };
            cpu.state.fp_flags = FLAGS.into_iter().map(set).fold(0, |all, bits| all | bits).into();
        }
        VBAR_EL1 => cpu.isa.vbar[0] = value & !0x7ff,
        _ => return false,
    }
    true
}

/// Reads a register for a debugger or a test.
pub fn sysreg_read_debug(cpu: &Cpu, register: u16) -> Option<u64> {
    read(cpu, register)
}

/// Writes a register for a debugger or a test. False if there is no such register to write.
pub fn sysreg_write_debug(cpu: &mut Cpu, register: u16, value: u64) -> bool {
    write(cpu, register, value)
}
