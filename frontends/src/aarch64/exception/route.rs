//! Which exception level an exception goes to, and which vector (DDI 0487, D1.3.4, D1.3.5).

use super::super::bits::{hcr, hcrx, scr};
use super::super::state::{Aarch64, Pstate};
use super::super::syndrome::{EXTERNAL_ABORT, class, class_of, target_of};
use super::super::sysreg::Reg;

/// The exception level that a synchronous exception with this cause goes to, and the class that it has there.
pub(super) fn synchronous(isa: &Aarch64, cause: u64) -> (u8, u32) {
    let el = isa.pstate.el;
    let class = class_of(cause);
    let general = if el == 0 && isa.hcr() & hcr::TGE != 0 { 2 } else { el.max(1) };
    if let Some(el) = target_of(cause) {
        return (el, class);
    }
    let to = match class {
        class::SMC => 3,
        class::HVC => el.max(2),
        class::FP_ACCESS => match isa.fp_trap() {
            // A trap to EL1 that EL2 takes in its place is of no particular reason.
            None | Some(1) if general == 2 && el == 0 => return (2, class::UNKNOWN),
            Some(1) | None => general,
            Some(trap) => trap,
        },
        class::MEMORY_OPERATION if el < 2 && isa.el2_enabled() && isa.hcrx() & hcrx::MCE2 != 0 => 2,
        class::PAUTH => isa.pauth_trap().unwrap_or(general),
        class::BREAKPOINT | class::STEP | class::WATCHPOINT | class::BRK if el < 2 => isa.debug_target(),
        class::INSTRUCTION_ABORT | class::DATA_ABORT if cause & 0x3f == u64::from(EXTERNAL_ABORT) => {
            if isa.config.el3 && isa.sys[Reg::SCR_EL3] & scr::EA != 0 {
                3
            } else if el < 2 && isa.hcr() & hcr::TEA != 0 {
                2
            } else {
                general
            }
        }
        _ => general,
    };
    (to, class)
}

/// Offset of the vector for an exception from state `from` to exception level `to`, of a kind with this offset in its part
/// of the table.
pub(super) fn vector(from: Pstate, to: u8, kind: u64) -> u64 {
    let part = if to > from.el {
        0x400
    } else if from.sp_sel {
        0x200
    } else {
        0
    };
    part + kind
}
