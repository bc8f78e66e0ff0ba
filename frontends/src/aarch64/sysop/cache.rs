//! Cache maintenance (DDI 0487, C5.3). Caches are coherent here in every respect, instruction fetches included
//! (`CTR_EL0`), so there is nothing to do but to check.

use emu_core::exec::{Access, Stop};
use emu_core::ir::View;

use super::super::bits::{hcr, sctlr};
use super::super::mmu::{Purpose, Rights, find};
use super::super::state::{Aarch64, Cpu};
use super::super::sysreg::{Reg, Verdict};

/// Bytes that `DC ZVA` zeroes.
pub(in super::super) const ZERO_BLOCK: u64 = 64;

/// Nothing.
pub(in super::super) fn nothing(_: &mut Cpu, _: Reg, _: u64) -> Result<(), Stop> {
    Ok(())
}

/// Maintenance of the line at an address, which must be readable.
pub(in super::super) fn by_address(cpu: &mut Cpu, _: Reg, va: u64) -> Result<(), Stop> {
    check(cpu, va, Access::Read)
}

/// `DC IVAC`, which would lose what is in the line only: the address must be writable.
pub(in super::super) fn invalidate(cpu: &mut Cpu, _: Reg, va: u64) -> Result<(), Stop> {
    check(cpu, va, Access::Write)
}

/// PAN does not concern maintenance (D8.4.3).
fn check(cpu: &Cpu, va: u64, access: Access) -> Result<(), Stop> {
    let rights = Rights { pan: false, ..cpu.isa.rights(View::Current) };
    match find(cpu, va, access, rights, Purpose::Query { both: true }) {
        Ok(_) => Ok(()),
        Err(abort) => Err(abort.of_maintenance(va).into()),
    }
}

/// `DC ZVA`, where the lifter does not do it.
pub(in super::super) fn zero(cpu: &mut Cpu, _: Reg, va: u64) -> Result<(), Stop> {
    cpu.zero(View::Current, va & !(ZERO_BLOCK - 1), ZERO_BLOCK as usize)
}

/// Whether `DC ZVA` neither traps nor is prohibited, as far as EL1 decides.
pub(in super::super) fn zero_gate(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sctlr(0) & sctlr::DZE != 0)
}

/// Whether it neither traps nor is prohibited.
pub(in super::super) fn may_zero(isa: &Aarch64) -> bool {
    zero_gate(isa, true) == Verdict::Allowed && !(isa.el2_controls() && isa.hcr() & hcr::TDZ != 0)
}

/// `DCZID_EL0`: the block size in words, and whether `DC ZVA` is prohibited.
pub(in super::super) fn zero_id(cpu: &Cpu, _: Reg) -> u64 {
    const PROHIBITED: u64 = 1 << 4;
    let size = u64::from((ZERO_BLOCK / 4).trailing_zeros());
    size | if may_zero(&cpu.isa) { 0 } else { PROHIBITED }
}

/// Who may maintain caches by address.
pub(in super::super) fn user_gate(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sctlr(0) & sctlr::UCI != 0)
}

/// Who may restrict predictions.
pub(in super::super) fn restriction_gate(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sctlr(0) & sctlr::EN_RCTX != 0)
}
