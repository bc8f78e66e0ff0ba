//! Waiting for interrupts and events, and `MSR (immediate)` (DDI 0487, D1.6 "Mechanisms for entering a low-power state").

use emu_core::exec::{Exception, HostRequest, Stop};

use super::bits::{hcr, scr, sctlr};
use super::exception::{interrupt, select_sp, undefined};
use super::features::Feature;
use super::helper::sysreg;
use super::state::{Aarch64, Cpu};
use super::syndrome::{CONDITION, class, syndrome, target};
use super::sysreg::{self, Reg, Verdict};
use crate::exclusive;

/// Whether an instruction that would wait traps, by these bits of `SCTLR`, `HCR_EL2` and `SCR_EL3`.
fn trap(isa: &Aarch64, enabled: u64, el2: u64, el3: u64) -> Verdict {
    if isa.pstate.el == 0 && isa.sctlr(0) & enabled == 0 {
        return Verdict::Trap(1);
    }
    if isa.el2_controls() && isa.hcr() & el2 != 0 {
        return Verdict::Trap(2);
    }
    if isa.below_el3() && isa.sys[Reg::SCR_EL3] & el3 != 0 { Verdict::Trap(3) } else { Verdict::Allowed }
}

/// The exception of a wait that traps; `event` tells `WFE` from `WFI`.
fn trapped(verdict: Verdict, event: bool) -> Result<(), Stop> {
    match verdict {
        Verdict::Trap(el) => {
            let cause = target(syndrome(class::WFX, CONDITION | u32::from(event)), el);
            Err(Exception::new(cause, 0).into())
        }
        _ => Ok(()),
    }
}

/// `WFI`.
pub(super) fn wfi(cpu: &mut Cpu) -> Result<u64, Stop> {
    if interrupt::is_waking(cpu) {
        return Ok(0);
    }
    trapped(trap(&cpu.isa, sctlr::NTWI, hcr::TWI, scr::TWI), false)?;
    cpu.isa.monitor.clear();
    cpu.end_exclusive();
    Err(Stop::Host(HostRequest::Wait { deadline: cpu.isa.timers.deadline() }))
}

/// `WFE`. A processor may wake up without any event, so it waits for a bounded time only: another thread may run, and then
/// software looks again at what it waits for. So no event can be missed, be it one of `SEV`, of a monitor or of the timer.
pub(super) fn wfe(cpu: &mut Cpu) -> Result<u64, Stop> {
    if !waits(cpu)? {
        return Ok(0);
    }
    match cpu.isa.monitor.take() {
        Some(reservation) => exclusive::wait_while(cpu, reservation),
        None => {
            // Nobody can send an event while the others stand still.
            cpu.end_exclusive();
            Err(Stop::Host(HostRequest::Yield))
        }
    }
}

/// `WFE` that ends a sequence whose load reserves nothing: [`exclusive::wait_for_change`] says what the arguments are.
pub(super) fn wfe_while(cpu: &mut Cpu, args: [u64; 3]) -> Result<u64, Stop> {
    if waits(cpu)? { exclusive::wait_for_change(cpu, args) } else { Ok(0) }
}

/// Whether `WFE` waits at all: it does not if there has been an event.
fn waits(cpu: &mut Cpu) -> Result<bool, Stop> {
    if std::mem::take(&mut cpu.isa.event) {
        return Ok(false);
    }
    trapped(trap(&cpu.isa, sctlr::NTWE, hcr::TWE, scr::TWE), true)?;
    Ok(true)
}

/// `SEV` and `SEVL`: the others look by themselves, soon enough.
pub(super) fn sev(cpu: &mut Cpu) -> Result<u64, Stop> {
    cpu.isa.event = true;
    Ok(0)
}

/// `YIELD`.
pub(super) fn yield_(cpu: &mut Cpu) -> Result<u64, Stop> {
    let alone = cpu.is_alone();
    cpu.isa.spins.hint(alone)
}

/// `MSR (immediate)`: `field` is op1:op2, `value` CRm (C6.2 "MSR (immediate)").
pub(super) fn msr_immediate(cpu: &mut Cpu, field: u64, value: u64) -> Result<u64, Stop> {
    let isa = &cpu.isa;
    let el = isa.pstate.el;
    let on = value & 1 != 0;
    // 4 bits.
    let masks = value as u8 & 0xf;
    match field {
        0o03 if isa.has(Feature::Uao) && el > 0 => cpu.isa.pstate.uao = on,
        0o04 if isa.has(Feature::Pan) && el > 0 => cpu.isa.pstate.pan = on,
        0o05 if el > 0 => select_sp(cpu, el, on),
        0o31 if isa.has(Feature::Ssbs) => cpu.isa.pstate.ssbs = on,
        0o32 if isa.has(Feature::Dit) => cpu.isa.pstate.dit = on,
        0o36 | 0o37 => {
            if el == 0 && isa.sctlr(0) & sctlr::UMA == 0 {
                let encoding = sysreg(0, 3, 4, value as u16, (field & 7) as u16);
                let cause = sysreg::trapped(encoding, 31, true);
                return Err(Exception::new(cause.into(), 0).into());
            }
            let old = isa.pstate.daif;
            let new = if field == 0o36 { old | masks } else { old & !masks };
            sysreg::set_daif(cpu, new);
            return Ok(0);
        }
        _ => return Err(undefined()),
    }
    cpu.mode_changed();
    Ok(0)
}
