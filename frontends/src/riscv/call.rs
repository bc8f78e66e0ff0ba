//! The run-time helpers: instructions that lifted code cannot express.

use emu_core::exec::{Access, Exception, HostRequest, Stop};
use emu_core::ir::View;
use emu_core::mem::Flush;

use super::Privilege;
use super::bits::{cause, envcfg, mip, mstatus};
use super::csr::{self, Op};
use super::helper::Helper;
use super::mmu::{self, ASID_MASK, Purpose};
use super::state::{Hart, Riscv};
use super::trap;
use crate::exclusive::{self, Exclusive, Monitor};

/// Bytes in a cache block: what `CBO` works on, and the device tree's `riscv,cbom-block-size` and its like.
pub const CACHE_BLOCK: u64 = 64;

/// Runs helper `id`; see [`Helper`] for what the arguments are.
pub(super) fn call(hart: &mut Hart, id: u16, [a, b, c]: [u64; 3]) -> Result<u64, Stop> {
    let Some(helper) = Helper::ALL.get(usize::from(id)) else { return Err(illegal(0)) };
    match helper {
        Helper::CsrRead => csr(hart, a, b, Op::Read),
        Helper::CsrWrite => csr(hart, a, b, Op::Write(c)),
        Helper::CsrSwap => csr(hart, a, b, Op::Write(c)),
        Helper::CsrSet => csr(hart, a, b, Op::Set(c)),
        Helper::CsrClear => csr(hart, a, b, Op::Clear(c)),
        Helper::Ecall => ecall(hart),
        Helper::Mret => {
            require(hart.isa.privilege == Privilege::Machine, a)?;
            Ok(trap::mret(hart, b))
        }
        Helper::Sret => {
            require(supervisor_unless(hart, mstatus::TSR), a)?;
            Ok(trap::sret(hart, b))
        }
        Helper::Wfi => wfi(hart, a),
        Helper::Wrs => wrs(hart),
        Helper::Pause => pause(hart),
        Helper::SfenceVma => {
            require(supervisor_unless(hart, mstatus::TVM), c >> 32)?;
            let asid = (c & 2 != 0).then_some((b & ASID_MASK) as u32); // 16 bits
            let range = (c & 1 != 0).then_some((a, a));
            hart.mmu.flush(Flush { asid, range });
            Ok(0)
        }
        Helper::SfenceInval => {
            // SINVAL.VMA has done what there is to do.
            require(hart.isa.privilege >= Privilege::Supervisor, a)?;
            Ok(0)
        }
        Helper::FenceI => {
            hart.sync_code();
            Ok(0)
        }
        Helper::Cbo => cbo(hart, a, b, c),
        Helper::LoadReserved => load_reserved(hart, a, b),
        Helper::StoreConditional => store_conditional(hart, a, b, c),
        Helper::WaitWhile => exclusive::wait_for_change(hart, [a, b, c]),
        Helper::FpDirty => {
            hart.isa.csr.mstatus |= mstatus::FS;
            hart.mode_changed();
            Ok(0)
        }
    }
}

/// An illegal-instruction exception of the instruction with these bits.
fn illegal(instruction: u64) -> Stop {
    Exception::new(cause::ILLEGAL, instruction).into()
}

fn require(legal: bool, instruction: u64) -> Result<(), Stop> {
    if legal { Ok(()) } else { Err(illegal(instruction)) }
}

/// Whether the mode is M, or S while the bit `trap` of `mstatus` is clear.
fn supervisor_unless(hart: &Hart, trap: u64) -> bool {
    match hart.isa.privilege {
        Privilege::Machine => true,
        Privilege::Supervisor => hart.isa.csr.mstatus & trap == 0,
        Privilege::User => false,
    }
}

fn csr(hart: &mut Hart, number: u64, instruction: u64, op: Op) -> Result<u64, Stop> {
    // The lifter takes the number from twelve bits.
    csr::execute(hart, (number & 0xfff) as u16, op).ok_or_else(|| illegal(instruction))
}

fn ecall(hart: &mut Hart) -> Result<u64, Stop> {
    let privilege = hart.isa.privilege;
    if privilege == Privilege::Supervisor && hart.isa.config.firmware_calls {
        return Err(Stop::Host(HostRequest::Firmware));
    }
    Err(Exception::new(cause::ECALL + privilege as u64, 0).into())
}

/// U-mode may not wait, and neither may S-mode while TW is set: the time that an implementation may let them
/// try is none.
fn wfi(hart: &mut Hart, instruction: u64) -> Result<u64, Stop> {
    require(supervisor_unless(hart, mstatus::TW), instruction)?;
    if trap::wakes(hart) {
        return Ok(0);
    }
    let timer_wakes = hart.isa.csr.mie & mip::STIP != 0;
    let now = hart.clock.now_ns();
    let deadline = if timer_wakes { hart.isa.stimer_deadline(now) } else { None };
    Err(Stop::Host(HostRequest::Wait { deadline }))
}

/// Both forms wait for a bounded time, so TW does not concern them (Unpriv., "Zawrs").
fn wrs(hart: &mut Hart) -> Result<u64, Stop> {
    match hart.isa.monitor.take() {
        Some(reservation) => exclusive::wait_while(hart, reservation),
        None => Ok(0),
    }
}

fn pause(hart: &mut Hart) -> Result<u64, Stop> {
    let alone = hart.is_alone();
    hart.isa.spins.hint(alone)
}

/// Cache-block operations (Unpriv., "CMO Extensions"). Memory is coherent here, so that the management
/// operations only check.
fn cbo(hart: &mut Hart, address: u64, operation: u64, instruction: u64) -> Result<u64, Stop> {
    const ZERO: u64 = 4;
    let field = match operation {
        0 => envcfg::CBIE,
        ZERO => envcfg::CBZE,
        _ => envcfg::CBCFE,
    };
    require(hart.isa.allows(field), instruction)?;
    let block = address & !(CACHE_BLOCK - 1);
    let done = match operation {
        ZERO => hart.zero(View::Current, block, CACHE_BLOCK as usize),
        // Whoever may load from the block may manage it, and whoever may store may load.
        _ => check_block(hart, block),
    };
    match done {
        // Whatever is refused is refused as a store, at the address that the instruction gives.
        Err(Stop::Exception(exception)) => {
            let cause = match exception.cause {
                cause::LOAD_ACCESS => cause::STORE_ACCESS,
                cause::LOAD_PAGE => cause::STORE_PAGE,
                other => other,
            };
            Err(Exception::new(cause, address).into())
        }
        Err(stop) => Err(stop),
        Ok(()) => Ok(0),
    }
}

/// Checks that the block may be read and is memory.
fn check_block(hart: &mut Hart, block: u64) -> Result<(), Stop> {
    if hart.mmu.lookup(View::Current, block, CACHE_BLOCK as usize, Access::Read).is_some() {
        return Ok(());
    }
    let translation = mmu::translate(hart, block, CACHE_BLOCK as usize, Access::Read, Purpose::Access)?;
    if hart.bus.name_at(translation.pa).is_none() {
        return Err(mmu::access_fault(block, Access::Read).into());
    }
    Ok(())
}

fn load_reserved(hart: &mut Hart, va: u64, bytes: u64) -> Result<u64, Stop> {
    let value = exclusive::load(hart, va, bytes)? as u64;
    Ok(if bytes == 4 { value as i32 as u64 } else { value })
}

fn store_conditional(hart: &mut Hart, va: u64, value: u64, bytes: u64) -> Result<u64, Stop> {
    let stored = exclusive::store(hart, va, value.into(), bytes)?;
    Ok(u64::from(!stored))
}

impl Exclusive for Riscv {
    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }
}

impl Riscv {
    /// Drops the reservation: a store-conditional fails until the next load-reserved.
    pub fn clear_reservation(&mut self) {
        self.monitor.clear();
    }
}
