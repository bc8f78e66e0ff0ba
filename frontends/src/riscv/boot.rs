//! How a hart enters S-mode with the built-in firmware beneath it.

use super::bits::{cause, envcfg, mip, mstatus};
use super::counters::TIME;
use super::csr::csr_write_debug;
use super::pmp;
use super::state::{self, Hart};
use super::{Privilege, X};

/// Resets `hart` and puts it into S-mode at `pc` as the SBI describes (SBI 3.0, "Hart State Management Extension"): `satp`
/// zero, `sstatus.SIE` clear, `a0` the hart's number, `a1` an argument.
///
/// No firmware runs in M-mode, so S-mode gets everything that M-mode can give away: all exceptions but its own calls, its
/// interrupts, all counters, cache-block operations, Svpbmt, Sstc, and all of memory.
pub fn enter_supervisor(hart: &mut Hart, pc: u64, a0: u64, a1: u64) {
    state::reset(hart);
    let delegated = !(1 << (cause::ECALL + Privilege::Supervisor as u64));
    let adue = hart.isa.csr.menvcfg & envcfg::ADUE;
    let environment = envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE | envcfg::PBMTE | envcfg::STCE | adue;
    const MSTATUS: u16 = 0x300;
    const MEDELEG: u16 = 0x302;
    const MIDELEG: u16 = 0x303;
    const MCOUNTEREN: u16 = 0x306;
    const SCOUNTEREN: u16 = 0x106;
    const MENVCFG: u16 = 0x30a;
    const PMPCFG0: u16 = 0x3a0;
    const PMPADDR0: u16 = 0x3b0;
    let setup = [
        (MSTATUS, 1 << mstatus::FS_SHIFT),
        (MEDELEG, delegated),
        (MIDELEG, mip::SSIP | mip::STIP | mip::SEIP | mip::LCOFIP),
        (MCOUNTEREN, u64::MAX),
        (SCOUNTEREN, 1 << TIME),
        (MENVCFG, environment),
        (PMPADDR0, u64::MAX),
        (PMPCFG0, u64::from(pmp::NAPOT | pmp::R | pmp::W | pmp::X)),
    ];
    for (number, value) in setup {
        // What the model lacks stays zero.
        csr_write_debug(hart, number, value);
    }
    hart.isa.privilege = Privilege::Supervisor;
    hart.isa.counters.set_privilege(Privilege::Supervisor, hart.state.retired);
    hart.state.pc = pc;
    hart.state.slots[usize::from(X) + 10] = a0;
    hart.state.slots[usize::from(X) + 11] = a1;
    hart.mode_changed();
}
