//! The GICv3 CPU interface: accesses go to the machine's controller. Here is who may make them, and which interface they
//! mean (GIC, chapter 12, and 4.6.2, 6.2.1).

use super::super::bits::{hcr, scr};
use super::super::gic::Requester;
use super::super::state::{Aarch64, Cpu};
use super::{Reg, Verdict};

/// `ICH_HCR_EL2`: registers of both groups trap.
const TC: u64 = 1 << 10;
/// Those of group 0.
const TALL0: u64 = 1 << 11;
/// Those of group 1.
const TALL1: u64 = 1 << 12;
/// `ICC_DIR_EL1`.
const TDIR: u64 = 1 << 14;

/// The bits of `HCR_EL2` of which one makes an access from EL1 one to the virtual interface.
fn virtual_bits(register: Reg) -> u64 {
    match register {
        Reg::ICC_IAR0_EL1
        | Reg::ICC_EOIR0_EL1
        | Reg::ICC_HPPIR0_EL1
        | Reg::ICC_BPR0_EL1
        | Reg::ICC_AP0R0_EL1
        | Reg::ICC_AP0R1_EL1
        | Reg::ICC_AP0R2_EL1
        | Reg::ICC_AP0R3_EL1
        | Reg::ICC_IGRPEN0_EL1 => hcr::FMO,
        Reg::ICC_IAR1_EL1
        | Reg::ICC_EOIR1_EL1
        | Reg::ICC_HPPIR1_EL1
        | Reg::ICC_BPR1_EL1
        | Reg::ICC_AP1R0_EL1
        | Reg::ICC_AP1R1_EL1
        | Reg::ICC_AP1R2_EL1
        | Reg::ICC_AP1R3_EL1
        | Reg::ICC_IGRPEN1_EL1 => hcr::IMO,
        Reg::ICC_PMR_EL1 | Reg::ICC_RPR_EL1 | Reg::ICC_CTLR_EL1 | Reg::ICC_DIR_EL1 => hcr::IMO | hcr::FMO,
        _ => 0,
    }
}

fn requester(isa: &Aarch64, register: Reg) -> Requester {
    let el = isa.pstate.el;
    let routes = if isa.config.el3 { isa.sys[Reg::SCR_EL3] } else { 0 };
    Requester {
        el,
        secure: isa.config.el3 && routes & scr::NS == 0,
        shifted: el < 3 && routes & (scr::NS | scr::FIQ) == scr::NS | scr::FIQ,
        virt: isa.below_el2() && isa.hcr() & virtual_bits(register) != 0,
    }
}

/// Reads a register; none if the controller does not have it.
pub(super) fn read(cpu: &Cpu, register: Reg) -> Option<u64> {
    let by = requester(&cpu.isa, register);
    cpu.isa.wiring.gic.as_ref()?.read(register.encoding(), by)
}

/// Writes a register; none if the controller does not have it.
pub(super) fn write(cpu: &mut Cpu, register: Reg, value: u64) -> Option<()> {
    let by = requester(&cpu.isa, register);
    cpu.isa.wiring.gic.as_ref()?.write(register.encoding(), by, value)
}

/// The rules for an access from EL1 that `trap` bits of `ICH_HCR_EL2` trap, or the bits `routed` of `SCR_EL3` if all of
/// them are set.
fn gate(isa: &Aarch64, routed: u64, trap: u64, routes: u64) -> Verdict {
    let Some(gic) = &isa.wiring.gic else { return Verdict::Undefined };
    if isa.below_el2() && trap != 0 && isa.hcr() & routed != 0 {
        let by = Requester { el: 2, secure: false, shifted: false, virt: false };
        if gic.read(Reg::ICH_HCR_EL2.encoding(), by).is_some_and(|control| control & trap != 0) {
            return Verdict::Trap(2);
        }
    }
    // What the virtual interface does is no business of EL3's.
    let virt = isa.below_el2() && isa.hcr() & routed != 0;
    if isa.below_el3() && !virt && isa.sys[Reg::SCR_EL3] & routes == routes {
        return Verdict::Trap(3);
    }
    Verdict::Allowed
}

/// Registers without traps.
pub(super) fn always(isa: &Aarch64, _: bool) -> Verdict {
    if isa.wiring.gic.is_some() { Verdict::Allowed } else { Verdict::Undefined }
}

/// Registers of group 0.
pub(super) fn group0(isa: &Aarch64, _: bool) -> Verdict {
    gate(isa, hcr::FMO, TALL0, scr::FIQ)
}

/// Registers of group 1.
pub(super) fn group1(isa: &Aarch64, _: bool) -> Verdict {
    gate(isa, hcr::IMO, TALL1, scr::IRQ)
}

/// Registers of both groups.
pub(super) fn common(isa: &Aarch64, _: bool) -> Verdict {
    gate(isa, hcr::IMO | hcr::FMO, TC, scr::IRQ | scr::FIQ)
}

/// `ICC_DIR_EL1`.
pub(super) fn deactivate(isa: &Aarch64, _: bool) -> Verdict {
    gate(isa, hcr::IMO | hcr::FMO, TC | TDIR, scr::IRQ | scr::FIQ)
}

/// Registers that make software-generated interrupts: always physical ones, so that a guest of a hypervisor may not.
pub(super) fn generate(isa: &Aarch64, _: bool) -> Verdict {
    let guest = isa.below_el2() && isa.hcr() & (hcr::IMO | hcr::FMO) != 0;
    if guest && isa.wiring.gic.is_some() {
        return Verdict::Trap(2);
    }
    gate(isa, 0, 0, scr::IRQ | scr::FIQ)
}
