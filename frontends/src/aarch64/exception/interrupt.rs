//! Interrupts: which is pending, which is taken (DDI 0487, D1.3.6 "Asynchronous exception types").

use emu_core::exec::Exception;

use super::super::bits::{daif, hcr, scr, spsr};
use super::super::gic::pin;
use super::super::state::{Aarch64, Cpu};
use super::super::syndrome::Interrupt;
use super::super::sysreg::Reg;
use super::super::{pmu, timer};
use super::route;

/// The pins of the processor as they concern it where it is.
#[derive(Clone, Copy)]
struct Pending {
    irq: bool,
    fiq: bool,
    virtual_irq: bool,
    virtual_fiq: bool,
    virtual_serror: bool,
}

fn pending(isa: &Aarch64, pins: u64) -> Pending {
    let on = |pin: u32| pins >> pin & 1 != 0;
    let el3 = isa.pstate.el == 3;
    let secure = isa.secure_below_el3() || el3;
    // Of a controller with two Security states, the interrupts that another state is to handle are FIQs.
    let other_is_fiq = |nonsecure: bool| if nonsecure { secure } else { !secure || el3 };
    let group = |pin: u32, nonsecure: bool| (on(pin), other_is_fiq(nonsecure));
    let groups = [group(pin::GROUP1_NONSECURE, true), group(pin::GROUP1_SECURE, false)];
    let hcr = isa.hcr();
    let routed = |bit: u64| hcr & bit != 0 && hcr & hcr::TGE == 0;
    Pending {
        irq: on(pin::IRQ) || groups.iter().any(|&(on, fiq)| on && !fiq),
        fiq: on(pin::FIQ) || groups.iter().any(|&(on, fiq)| on && fiq),
        virtual_irq: routed(hcr::IMO) && (on(pin::VIRQ) || hcr & hcr::VI != 0),
        virtual_fiq: routed(hcr::FMO) && (on(pin::VFIQ) || hcr & hcr::VF != 0),
        virtual_serror: routed(hcr::AMO) && hcr & hcr::VSE != 0,
    }
}

/// The exception level that a physical interrupt is routed to, by the bits of `SCR_EL3` and `HCR_EL2` that route it.
fn physical_target(isa: &Aarch64, routes: u64, hypervisor: u64) -> u8 {
    if isa.config.el3 && isa.sys[Reg::SCR_EL3] & routes != 0 {
        3
    } else if isa.hcr() & (hypervisor | hcr::TGE) != 0 {
        2
    } else {
        1
    }
}

/// Whether a physical interrupt that is routed to exception level `to` and masked by this bit of PSTATE is taken now
/// (D1.3.6.3).
fn is_taken(isa: &Aarch64, to: u8, mask: u8) -> bool {
    let el = isa.pstate.el;
    let unmasked = isa.pstate.daif & mask == 0;
    if to < el {
        return false;
    }
    match to {
        // From below, what goes to EL2 or EL3 cannot be masked; the EL0 of a host can.
        3 if el < 3 => true,
        2 if el < 2 => unmasked || !isa.host(),
        _ => unmasked,
    }
}

/// The interrupt that is taken before the next instruction.
fn deliverable(isa: &Aarch64, pins: u64) -> Option<Interrupt> {
    let hcr = isa.hcr();
    if pins == 0 && hcr & (hcr::VI | hcr::VF | hcr::VSE) == 0 {
        return None;
    }
    let pending = pending(isa, pins);
    let physical = |routes, hypervisor, mask| is_taken(isa, physical_target(isa, routes, hypervisor), mask);
    if pending.fiq && physical(scr::FIQ, hcr::FMO, daif::F) {
        return Some(Interrupt::Fiq);
    }
    if pending.irq && physical(scr::IRQ, hcr::IMO, daif::I) {
        return Some(Interrupt::Irq);
    }
    let virt = |pending: bool, mask: u8| pending && isa.pstate.el < 2 && isa.pstate.daif & mask == 0;
    if virt(pending.virtual_serror, daif::A) {
        return Some(Interrupt::VirtualSError);
    }
    if virt(pending.virtual_fiq, daif::F) {
        return Some(Interrupt::VirtualFiq);
    }
    virt(pending.virtual_irq, daif::I).then_some(Interrupt::VirtualIrq)
}

/// Where an interrupt goes: exception level and vector.
pub(super) fn entry(isa: &Aarch64, interrupt: Interrupt) -> (u8, u64) {
    const IRQ: u64 = 0x80;
    const FIQ: u64 = 0x100;
    const SERROR: u64 = 0x180;
    let (to, kind) = match interrupt {
        Interrupt::Fiq => (physical_target(isa, scr::FIQ, hcr::FMO), FIQ),
        Interrupt::Irq => (physical_target(isa, scr::IRQ, hcr::IMO), IRQ),
        Interrupt::VirtualSError => (1, SERROR),
        Interrupt::VirtualFiq => (1, FIQ),
        Interrupt::VirtualIrq => (1, IRQ),
    };
    (to, route::vector(isa.pstate, to, kind))
}

/// As [`emu_core::exec::Isa::pending_interrupt`] says.
pub(in super::super) fn pending_interrupt(cpu: &mut Cpu) -> Option<Exception> {
    refresh(cpu);
    let interrupt = deliverable(&cpu.isa, cpu.port().pins())?;
    let (to, _) = entry(&cpu.isa, interrupt);
    Some(Exception::new(interrupt.cause(to), 0))
}

/// Drives the outputs of timers and counters as they must be now.
fn refresh(cpu: &mut Cpu) {
    if timer::running(cpu) {
        pmu::update(cpu);
        timer::update(cpu);
    }
}

/// Something that interrupts depend on has changed: makes the run loop look at them if one must be taken now.
pub(in super::super) fn interrupts_changed(cpu: &mut Cpu) {
    if deliverable(&cpu.isa, cpu.port().pins()).is_some() {
        cpu.port().interrupt();
    }
}

/// Whether an interrupt is pending, whatever PSTATE masks: `WFI` and firmware's CPU_SUSPEND end then.
pub fn is_waking(cpu: &mut Cpu) -> bool {
    refresh(cpu);
    let pending = pending(&cpu.isa, cpu.port().pins());
    let virt = pending.virtual_irq || pending.virtual_fiq || pending.virtual_serror;
    pending.irq || pending.fiq || virt && cpu.isa.pstate.el < 2
}

/// `ISR_EL1`: the interrupts that are pending, physical ones or, where a hypervisor has those, virtual ones.
pub(in super::super) fn pending_status(cpu: &Cpu) -> u64 {
    let isa = &cpu.isa;
    let pending = pending(isa, cpu.port().pins());
    let guest = |bit: u64| isa.pstate.el < 2 && isa.hcr() & bit != 0 && isa.hcr() & hcr::TGE == 0;
    let irq = if guest(hcr::IMO) { pending.virtual_irq } else { pending.irq };
    let fiq = if guest(hcr::FMO) { pending.virtual_fiq } else { pending.fiq };
    let serror = guest(hcr::AMO) && pending.virtual_serror;
    (u64::from(serror) << 2 | u64::from(irq) << 1 | u64::from(fiq)) << spsr::DAIF_SHIFT
}
