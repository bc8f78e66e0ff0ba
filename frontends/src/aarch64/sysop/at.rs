//! Address translation instructions (DDI 0487, C5.4), whose result is in `PAR_EL1`.

use emu_core::exec::{Access, Stop};

use super::super::features::Feature;
use super::super::mmu::regime::Regime;
use super::super::mmu::{Abort, Found, Purpose, Rights, find};
use super::super::state::{Aarch64, Cpu};
use super::super::sysreg::{Reg, Verdict};

/// `PAR_EL1`: there is no translation.
const F: u64 = 1 << 0;
/// With `F`: the fault was on a walk of stage 1.
const PTW: u64 = 1 << 8;
/// With `F`: it was one of stage 2.
const S: u64 = 1 << 9;
/// Without `F`: Non-secure.
const NS: u64 = 1 << 9;
/// Always one.
const ONE: u64 = 1 << 11;

/// What the instruction translates: for which access, with whose rights, and whether by both stages.
fn query(isa: &Aarch64, register: Reg) -> (Access, Rights, bool) {
    use Reg::*;
    let access = match register {
        AT_S1E1W | AT_S1E0W | AT_S1E1WP | AT_S1E2W | AT_S12E1W | AT_S12E0W | AT_S1E3W => Access::Write,
        _ => Access::Read,
    };
    let unprivileged = matches!(register, AT_S1E0R | AT_S1E0W | AT_S12E0R | AT_S12E0W);
    let both = matches!(register, AT_S12E1R | AT_S12E1W | AT_S12E0R | AT_S12E0W);
    let regime = match register {
        AT_S1E2R | AT_S1E2W => isa.regime(2),
        AT_S1E3R | AT_S1E3W => Regime::El3,
        // A host means its own regime with those of stage 1.
        AT_S1E1R | AT_S1E1W | AT_S1E0R | AT_S1E0W | AT_S1E1RP | AT_S1E1WP
            if isa.pstate.el >= 2 && isa.host() =>
        {
            Regime::El20
        }
        _ => Regime::El10,
    };
    let with_pan = matches!(register, AT_S1E1RP | AT_S1E1WP);
    let pan = with_pan && isa.pstate.pan && isa.has(Feature::Pan2);
    (access, Rights { regime, unprivileged, pan }, both)
}

/// Runs an `AT` instruction.
pub(in super::super) fn run(cpu: &mut Cpu, register: Reg, va: u64) -> Result<(), Stop> {
    let (access, rights, both) = query(&cpu.isa, register);
    let outcome = find(cpu, va, access, rights, Purpose::Query { both });
    if let Err(abort) = &outcome
        && abort.stage2.is_some()
        && cpu.isa.pstate.el == 1
    {
        // What a guest may not know goes to its hypervisor.
        return Err(abort.of_maintenance(va).into());
    }
    cpu.isa.sys[Reg::PAR_EL1] = match outcome {
        Ok(found) => success(&cpu.isa, found),
        Err(abort) => failure(abort),
    };
    Ok(())
}

fn success(isa: &Aarch64, found: Found) -> u64 {
    let secure = isa.config.el3 && isa.secure_below_el3();
    // Devices, and what no cache holds, are outer shareable.
    let shareability = if found.device || found.attributes == 0x44 { 2 } else { found.shareability };
    found.pa & 0xffff_ffff_f000
        | u64::from(found.attributes) << 56
        | u64::from(shareability) << 7
        | if secure { 0 } else { NS }
        | ONE
}

fn failure(abort: Abort) -> u64 {
    F | u64::from(abort.status) << 1
        | if abort.on_walk { PTW } else { 0 }
        | if abort.stage2.is_some() { S } else { 0 }
        | ONE
}

/// `AT S1E2*` needs EL2, at EL3, too.
pub(in super::super) fn el2_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.pstate.el == 3 && !isa.el2_enabled() { Verdict::Undefined } else { Verdict::Allowed }
}
