//! Stage 1: virtual addresses (DDI 0487, D8.3 to D8.5).

use emu_core::exec::{Access, Perms};

use super::super::state::{Aarch64, Cpu};
use super::regime::{Range, Regime};
use super::walk::{self, AP_2, DBM, Fault, Kind, Leaf};
use super::{Abort, Found, Purpose, Rights, stage2};

/// Leaf descriptors: EL0 has access.
const AP_1: u64 = 1 << 6;
/// The mapping is not valid in every address space.
const NOT_GLOBAL: u64 = 1 << 11;
/// Branches into the page need landing pads.
const GUARDED: u64 = 1 << 50;
/// Privileged levels do not execute.
const PXN: u64 = 1 << 53;
/// EL0 does not execute, or, where there is no EL0, the level itself.
const XN: u64 = 1 << 54;

/// Attributes of tables, from bit 59 on: `PXNTable`.
const TABLE_PXN: u64 = 1 << 0;
/// `UXNTable` or `XNTable`.
const TABLE_XN: u64 = 1 << 1;
/// `APTable`: no access at EL0.
const TABLE_AP_0: u64 = 1 << 2;
/// `APTable`: no writes.
const TABLE_AP_1: u64 = 1 << 3;

fn translation_fault() -> Abort {
    Abort::stage1(Fault { kind: Kind::Translation, level: 0 })
}

/// Translates where stage 1 is off: addresses are physical, memory is of a device type unless `HCR_EL2.DC` is set.
pub(super) fn off(isa: &Aarch64, va: u64, access: Access, rights: Rights) -> Result<Found, Abort> {
    let range = isa.range(rights.regime, va);
    let ignored = if access == Access::Fetch { range.fetch_top_byte_ignored } else { range.top_byte_ignored };
    let pa = if ignored { va << 8 >> 8 } else { va };
    if pa >> isa.config.model.physical_bits != 0 {
        return Err(Abort::stage1(Fault { kind: Kind::AddressSize, level: 0 }));
    }
    let device = isa.all_is_device(rights.regime);
    Ok(Found {
        pa,
        perms: Perms { read: true, write: true, fetch: true },
        page_bits: 12,
        global: true,
        device: device && access != Access::Fetch,
        attributes: if device { 0 } else { 0xff },
        shareability: if device { 2 } else { 0 },
        guarded: false,
    })
}

/// Translates where it is on.
pub(super) fn translate(
    cpu: &Cpu,
    va: u64,
    access: Access,
    rights: Rights,
    purpose: Purpose,
) -> Result<Found, Abort> {
    let isa = &cpu.isa;
    let mut range = isa.range(rights.regime, va);
    if access == Access::Fetch {
        range.top_byte_ignored = range.fetch_top_byte_ignored;
    }
    if range.no_el0 && rights.unprivileged {
        return Err(translation_fault());
    }
    let tables = isa.stage1_tables(rights.regime, va, &range).ok_or_else(translation_fault)?;
    loop {
        let locate = |address| locate(cpu, address, rights.regime, purpose);
        let leaf = walk::walk(cpu, &tables, va, locate)?.map_err(Abort::stage1)?;
        let fail = |kind| Abort::stage1(Fault { kind, level: leaf.level });
        let clean = leaf.descriptor & AP_2 != 0 && leaf.descriptor & DBM != 0 && tables.updates_dirty;
        let allowed = permissions(isa, &leaf, &range, rights, clean);
        let found = found(isa, &leaf, rights.regime, allowed);
        if purpose == Purpose::Debug {
            return Ok(found);
        }
        let Some(marked) = walk::marked(&tables, &leaf, access, clean, 0) else {
            return Err(fail(Kind::AccessFlag));
        };
        if !permit(allowed, access) {
            return Err(fail(Kind::Permission));
        }
        // The first write to a clean page has to come here.
        let perms = Perms { write: allowed.write && marked & AP_2 == 0, ..allowed };
        if purpose == Purpose::Peek && marked != leaf.descriptor {
            return Err(fail(Kind::AccessFlag));
        }
        if purpose != Purpose::Access || marked == leaf.descriptor {
            return Ok(Found { perms, ..found });
        }
        if walk::update(cpu, &leaf, marked) {
            return Ok(Found { perms, ..found });
        }
    }
}

/// The offset in memory of a descriptor at `address`, which stage 2 may translate; none if it is not in memory.
fn locate(cpu: &Cpu, address: u64, regime: Regime, purpose: Purpose) -> Result<Option<usize>, Abort> {
    let ram = cpu.bus.ram();
    if !cpu.isa.stage2_on(regime) {
        return Ok(ram.offset_of(address, 8));
    }
    let found = stage2::for_walk(cpu, address, purpose).map_err(|fault| fault.abort(address, true))?;
    Ok(ram.offset_of(found, 8))
}

/// What an entry allows. A clean page that the first write makes dirty counts as writable.
fn permissions(isa: &Aarch64, leaf: &Leaf, range: &Range, rights: Rights, clean: bool) -> Perms {
    let tables = if range.flat_permissions { 0 } else { leaf.table_attributes };
    // Whether no bit of an entry, and none of the tables above it, is set.
    let neither = |entry: u64, table: u64| leaf.descriptor & entry == 0 && tables & table == 0;
    let writable = neither(if clean { 0 } else { AP_2 }, TABLE_AP_1);
    let strict = isa.write_implies_no_fetch(rights.regime);
    if !rights.regime.has_two_ranges() {
        let fetch = neither(XN, TABLE_XN) && !(writable && strict);
        return Perms { read: true, write: writable, fetch };
    }
    let user = leaf.descriptor & AP_1 != 0 && tables & TABLE_AP_0 == 0;
    if rights.unprivileged {
        let fetch = neither(XN, TABLE_XN) && !(user && writable && strict);
        return Perms { read: user, write: user && writable, fetch };
    }
    let never = rights.pan && user;
    // What EL0 may write, privileged levels do not execute.
    let fetch = neither(PXN, TABLE_PXN) && !(writable && (user || strict));
    Perms { read: !never, write: writable && !never, fetch }
}

fn permit(perms: Perms, access: Access) -> bool {
    match access {
        Access::Read => perms.read,
        Access::Write => perms.write,
        Access::Fetch => perms.fetch,
    }
}

fn found(isa: &Aarch64, leaf: &Leaf, regime: Regime, perms: Perms) -> Found {
    let index = leaf.descriptor >> 2 & 7;
    let attributes = (isa.sys[regime.attributes()] >> (8 * index)) as u8; // one of eight bytes
    Found {
        pa: leaf.address,
        perms,
        page_bits: leaf.page_bits,
        global: leaf.descriptor & NOT_GLOBAL == 0 || !regime.has_two_ranges(),
        device: attributes & 0xf0 == 0,
        attributes,
        shareability: (leaf.descriptor >> 8 & 3) as u8,
        guarded: leaf.descriptor & GUARDED != 0,
    }
}
