//! Stage 2: intermediate physical addresses (DDI 0487, D8.3 to D8.5).

use emu_core::exec::{Access, Perms};

use super::super::bits::hcr;
use super::super::features::Feature;
use super::super::state::{Aarch64, Cpu};
use super::walk::{self, AP_2, DBM, Fault, Kind, Leaf};
use super::{Purpose, Stage2Fault};

/// Leaf descriptors: reads are allowed. Writes are by [`AP_2`].
const READ: u64 = 1 << 6;
/// Where the execute-never field is; without `FEAT_XNX` only its upper bit counts.
const XN_SHIFT: u32 = 53;

/// Where an intermediate physical address leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub pa: u64,
    pub perms: Perms,
    pub page_bits: u32,
    pub device: bool,
}

fn fault(kind: Kind, level: i32) -> Stage2Fault {
    Stage2Fault(Fault { kind, level })
}

/// Translates `ipa` for an access at EL0 or EL1.
pub(super) fn translate(
    cpu: &Cpu,
    ipa: u64,
    access: Access,
    el0: bool,
    purpose: Purpose,
) -> Result<Found, Stage2Fault> {
    let isa = &cpu.isa;
    let tables = isa.stage2_tables().ok_or(fault(Kind::Translation, 0))?;
    if ipa >> tables.input_bits != 0 {
        return Err(fault(Kind::Translation, 0));
    }
    loop {
        let locate = |address| Ok::<_, std::convert::Infallible>(cpu.bus.ram().offset_of(address, 8));
        let Ok(walked) = walk::walk(cpu, &tables, ipa, locate);
        let leaf = walked.map_err(Stage2Fault)?;
        let clean = leaf.descriptor & AP_2 == 0 && leaf.descriptor & DBM != 0 && tables.updates_dirty;
        let allowed = permissions(isa, &leaf, el0, clean);
        let found = Found {
            pa: leaf.address,
            perms: allowed,
            page_bits: leaf.page_bits,
            device: is_device(isa, leaf.descriptor),
        };
        if purpose == Purpose::Debug {
            return Ok(found);
        }
        let Some(marked) = walk::marked(&tables, &leaf, access, clean, AP_2) else {
            return Err(fault(Kind::AccessFlag, leaf.level));
        };
        let permitted = match access {
            Access::Read => allowed.read,
            Access::Write => allowed.write,
            Access::Fetch => allowed.fetch,
        };
        if !permitted {
            return Err(fault(Kind::Permission, leaf.level));
        }
        let perms = Perms { write: allowed.write && marked & AP_2 != 0, ..allowed };
        if purpose == Purpose::Peek && marked != leaf.descriptor {
            return Err(fault(Kind::AccessFlag, leaf.level));
        }
        if purpose != Purpose::Access || marked == leaf.descriptor || walk::update(cpu, &leaf, marked) {
            return Ok(Found { perms, ..found });
        }
    }
}

/// Translates the address of a descriptor of stage 1.
pub(super) fn for_walk(cpu: &Cpu, ipa: u64, purpose: Purpose) -> Result<u64, Stage2Fault> {
    let found = translate(cpu, ipa, Access::Read, false, purpose)?;
    if found.device && cpu.isa.hcr() & hcr::PTW != 0 && purpose != Purpose::Debug {
        return Err(fault(Kind::Permission, 3));
    }
    Ok(found.pa)
}

fn permissions(isa: &Aarch64, leaf: &Leaf, el0: bool, clean: bool) -> Perms {
    let never = if isa.has(Feature::Xnx) {
        match leaf.descriptor >> XN_SHIFT & 3 {
            0 => false,
            1 => !el0,
            2 => true,
            _ => el0,
        }
    } else {
        leaf.descriptor >> (XN_SHIFT + 1) & 1 != 0
    };
    let read = leaf.descriptor & READ != 0;
    Perms { read, write: leaf.descriptor & AP_2 != 0 || clean, fetch: read && !never }
}

/// Whether the entry makes what it maps a device (D8.6 "Memory region attributes").
fn is_device(isa: &Aarch64, descriptor: u64) -> bool {
    let attributes = descriptor >> 2 & 0xf;
    if isa.hcr() & hcr::FWB != 0 { attributes & 4 == 0 } else { attributes & 0xc == 0 }
}
