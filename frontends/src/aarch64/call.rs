//! The run-time helpers: instructions that lifted code cannot express.

use emu_core::exec::{Exception, HostRequest, Stop};

use super::NZCV;
use super::bits::{hcr, scr};
use super::exception::{self, undefined};
use super::helper::Helper;
use super::pauth::Key;
use super::state::{Aarch64, Conduit, Cpu};
use super::syndrome::{class, syndrome, target};
use super::sysreg::Reg;
use super::{crc, pauth, sysreg, wait};
use crate::exclusive::{self, Exclusive, Monitor};

/// Runs helper `id`; see [`Helper`] for what the arguments are.
pub(super) fn call(cpu: &mut Cpu, id: u16, [a, b, c]: [u64; 3]) -> Result<u64, Stop> {
    let Some(helper) = Helper::ALL.get(usize::from(id)) else { return Err(undefined()) };
    match helper {
        // The lifter takes register names from 16 bits, and numbers from five.
        Helper::Mrs => at(cpu, b, |cpu| sysreg::read(cpu, a as u16, (a >> 16) as u32)),
        Helper::Msr => at(cpu, c, |cpu| sysreg::write(cpu, a as u16, (a >> 16) as u32, b).map(|()| 0)),
        Helper::MsrImmediate => wait::msr_immediate(cpu, a, b),
        Helper::Sys => sysreg::write(cpu, a as u16, (a >> 16) as u32, b).map(|()| 0),
        Helper::Sysl => sysreg::read(cpu, a as u16, (a >> 16) as u32),
        Helper::Isb => {
            cpu.sync_code();
            Ok(0)
        }
        Helper::Hvc => hvc(cpu, a),
        Helper::Smc => smc(cpu, a),
        Helper::Eret => exception::exception_return(cpu, (b != 0).then_some(a), c),
        Helper::Wfi => wait::wfi(cpu),
        Helper::Wfe => wait::wfe(cpu),
        Helper::WfeWhile => wait::wfe_while(cpu, [a, b, c]),
        Helper::Yield => wait::yield_(cpu),
        Helper::Sev | Helper::Sevl => wait::sev(cpu),
        Helper::Step => {
            cpu.isa.stepping = true;
            cpu.isa.pstate.ss = false;
            cpu.mode_changed();
            Ok(0)
        }
        Helper::LoadExclusive => exclusive::load(cpu, a, b).map(|value| value as u64),
        Helper::LoadExclusiveHigh => Ok((cpu.isa.monitor.value() >> 64) as u64),
        Helper::StoreExclusive => store_exclusive(cpu, a, b.into(), c),
        Helper::StoreExclusivePair => store_exclusive(cpu, a, u128::from(b) | u128::from(c) << 64, 16),
        Helper::Clrex => {
            cpu.isa.monitor.clear();
            cpu.end_exclusive();
            Ok(0)
        }
        Helper::Crc32 => Ok(crc::crc32(a, b, c)),
        Helper::Crc32c => Ok(crc::crc32c(a, b, c)),
        Helper::Pac => Ok(pauth::add(cpu, a, b, Key::from_bits(c))),
        Helper::Aut => Ok(pauth::authenticate(cpu, a, b, Key::from_bits(c))),
        Helper::Xpac => Ok(pauth::strip(cpu, a, b != 0)),
        Helper::Pacga => Ok(pauth::generic(cpu, a, b)),
        Helper::Random => Ok(random(cpu)),
    }
}

/// Runs `access` with the count of retired instructions as it is there, `before` instructions into the block.
fn at(cpu: &mut Cpu, before: u64, access: impl FnOnce(&mut Cpu) -> Result<u64, Stop>) -> Result<u64, Stop> {
    let start = cpu.state.retired;
    cpu.state.retired = start.wrapping_add(before);
    let outcome = access(cpu);
    cpu.state.retired = start;
    outcome
}

/// `HVC`: to EL2, unless it calls the machine's firmware or is undefined.
fn hvc(cpu: &Cpu, imm: u64) -> Result<u64, Stop> {
    let isa = &cpu.isa;
    if isa.config.conduit == Some(Conduit::Hvc) {
        return Err(Stop::Host(HostRequest::Firmware));
    }
    let disabled = if isa.config.el3 {
        isa.sys[Reg::SCR_EL3] & scr::HCE == 0
    } else {
        isa.sys[Reg::HCR_EL2] & hcr::HCD != 0
    };
    let el = isa.pstate.el;
    if !isa.config.el2 || disabled || el < 3 && !isa.el2_enabled() {
        return Err(undefined());
    }
    Err(Exception::new(syndrome(class::HVC, imm as u32).into(), 0).into())
}

/// `SMC`: to EL3, unless it traps, calls the machine's firmware or is undefined.
fn smc(cpu: &Cpu, imm: u64) -> Result<u64, Stop> {
    let isa = &cpu.isa;
    if isa.pstate.el == 1 && isa.el2_enabled() && isa.hcr() & hcr::TSC != 0 {
        let cause = target(syndrome(class::SMC, imm as u32), 2);
        return Err(Exception::new(cause, 0).into());
    }
    if isa.config.conduit == Some(Conduit::Smc) {
        return Err(Stop::Host(HostRequest::Firmware));
    }
    if !isa.config.el3 || isa.sys[Reg::SCR_EL3] & scr::SMD != 0 {
        return Err(undefined());
    }
    Err(Exception::new(syndrome(class::SMC, imm as u32).into(), 0).into())
}

/// `RNDR` and `RNDRRS`: a random number, with all flags clear; or zero with Z, if there is none.
fn random(cpu: &mut Cpu) -> u64 {
    let value = cpu.isa.wiring.random.as_mut().and_then(|random| random());
    cpu.state.slots[usize::from(NZCV)] = if value.is_some() { 0 } else { 1 << 30 };
    value.unwrap_or(0)
}

fn store_exclusive(cpu: &mut Cpu, va: u64, value: u128, bytes: u64) -> Result<u64, Stop> {
    let stored = exclusive::store(cpu, va, value, bytes)?;
    Ok(u64::from(!stored))
}

impl Exclusive for Aarch64 {
    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }
}
