//! The run-time helpers: instructions that lifted code cannot express.

use emu_core::exec::{Exception, HostRequest, Stop};

use super::helper::Helper;
use super::pauth::Key;
use super::state::{Aarch64, Conduit, Cpu};
use super::syndrome::{UNDEFINED, class, syndrome};
use super::{crc, pauth, sysreg};
use crate::exclusive::{self, Exclusive, Monitor};

/// Runs helper `id`; see [`Helper`] for what the arguments are.
pub(super) fn call(cpu: &mut Cpu, id: u16, [a, b, c]: [u64; 3]) -> Result<u64, Stop> {
    let Some(helper) = Helper::ALL.get(usize::from(id)) else { return Err(undefined()) };
    match helper {
        // The lifter takes register names from 16 bits.
        Helper::Mrs => sysreg::read(cpu, a as u16).ok_or_else(undefined),
        Helper::Msr => sysreg::write(cpu, a as u16, b).then_some(0).ok_or_else(undefined),
        Helper::MsrImmediate | Helper::Sys | Helper::Sysl => Err(undefined()),
        Helper::Isb => {
            cpu.sync_code();
            Ok(0)
        }
        Helper::Hvc => firmware(cpu, Conduit::Hvc, class::HVC, a),
        Helper::Smc => firmware(cpu, Conduit::Smc, class::SMC, a),
        Helper::Eret => Err(undefined()),
        Helper::Wfi => Err(Stop::Host(HostRequest::Wait { deadline: None })),
        Helper::Wfe | Helper::Yield => Err(Stop::Host(HostRequest::Yield)),
        Helper::Sev | Helper::Sevl => Ok(0),
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
        Helper::Random => Err(undefined()),
    }
}

fn undefined() -> Stop {
    Exception::new(UNDEFINED.into(), 0).into()
}

/// `HVC` and `SMC`.
fn firmware(cpu: &Cpu, conduit: Conduit, class: u32, imm: u64) -> Result<u64, Stop> {
    if cpu.isa.config().conduit == Some(conduit) {
        return Err(Stop::Host(HostRequest::Firmware));
    }
    Err(Exception::new(syndrome(class, imm as u32).into(), 0).into())
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
