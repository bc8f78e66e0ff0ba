//! Table walks, which both stages have in common (DDI 0487, D8.2 "Translation process").

use emu_core::exec::Access;

use super::super::state::Cpu;

/// The size of the smallest pages and of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granule {
    G4K,
    G16K,
    G64K,
}

impl Granule {
    /// That of the field `TG0`; the reserved value means 4 KiB.
    pub(super) fn of_lower(field: u64) -> Self {
        match field & 3 {
            1 => Self::G64K,
            2 => Self::G16K,
            _ => Self::G4K,
        }
    }

    /// That of the field `TG1`.
    pub(super) fn of_upper(field: u64) -> Self {
        match field & 3 {
            1 => Self::G16K,
            3 => Self::G64K,
            _ => Self::G4K,
        }
    }

    /// log2 of the page size.
    const fn bits(self) -> u32 {
        match self {
            Self::G4K => 12,
            Self::G16K => 14,
            Self::G64K => 16,
        }
    }

    /// Bits of addresses that a full table resolves.
    pub(super) const fn stride(self) -> u32 {
        self.bits() - 3
    }

    /// Bits of addresses that are left when a table of `level` has been looked up.
    pub(super) const fn bits_below(self, level: i32) -> u32 {
        self.bits() + self.stride() * (3 - level) as u32
    }

    /// The level at which a walk for so many bits begins.
    pub(super) fn start_level(self, input_bits: u32) -> i32 {
        4 - (input_bits.saturating_sub(self.bits())).div_ceil(self.stride()) as i32
    }

    /// Whether an entry of `level` may be a block.
    const fn has_blocks(self, level: i32) -> bool {
        match self {
            Self::G4K => level == 1 || level == 2,
            Self::G16K | Self::G64K => level == 2,
        }
    }
}

/// Where tables are, and their shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    /// Address of the first one.
    pub base: u64,
    pub granule: Granule,
    /// Bits of addresses that are translated.
    pub input_bits: u32,
    /// The level of the first lookup.
    pub start: i32,
    /// Bits that output addresses may have.
    pub output_bits: u32,
    /// Accesses set the access flag, where else they fault.
    pub updates_access: bool,
    /// Writes make clean writable pages dirty, where else they fault.
    pub updates_dirty: bool,
}

/// Why there is no translation, without the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AddressSize,
    Translation,
    AccessFlag,
    Permission,
    /// A table is not in memory.
    External,
}

impl Kind {
    /// The fault status code at `level` (D24.2.40, `DFSC`).
    pub(super) const fn status(self, level: i32) -> u32 {
        let level = level as u32 & 3;
        match self {
            Self::AddressSize => level,
            Self::Translation => 0x04 | level,
            Self::AccessFlag => 0x08 | level,
            Self::Permission => 0x0c | level,
            Self::External => 0x14 | level,
        }
    }
}

/// A fault of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub kind: Kind,
    pub level: i32,
}

/// The entry that a walk has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub descriptor: u64,
    /// The output address.
    pub address: u64,
    pub level: i32,
    /// log2 of the size of what it maps.
    pub page_bits: u32,
    /// Bits 63 to 59 of all tables on the way, combined: each takes rights away.
    pub table_attributes: u64,
    /// Where the entry is: offset in memory.
    at: usize,
}

/// Descriptors: valid.
const VALID: u64 = 1 << 0;
/// A table, or at the last level a page; else a block.
const TABLE: u64 = 1 << 1;
/// Stage 1: not writable; stage 2: writable.
pub(super) const AP_2: u64 = 1 << 7;
/// It has been accessed.
pub(super) const AF: u64 = 1 << 10;
/// Writes may make it writable.
pub(super) const DBM: u64 = 1 << 51;

/// Walks `tables` for `input`, of which the bits above those that are translated do not count. `locate` finds a descriptor: its
/// offset in memory from its address, or the fault of the other stage.
pub(super) fn walk<E>(
    cpu: &Cpu,
    tables: &Tables,
    input: u64,
    mut locate: impl FnMut(u64) -> Result<Option<usize>, E>,
) -> Result<Result<Leaf, Fault>, E> {
    let Tables { granule, start, .. } = *tables;
    let fault = |kind, level| Ok(Err(Fault { kind, level }));
    let input = input & u64::MAX >> (64 - tables.input_bits);
    let too_large = |address: u64| address >> tables.output_bits != 0;
    // The first table may be smaller than a full one, or several that stand together.
    let entries = tables.input_bits - granule.bits_below(start);
    let mut table = tables.base & !((8 << entries) - 1);
    if too_large(table) {
        return fault(Kind::AddressSize, 0);
    }
    let mut index = input >> granule.bits_below(start);
    let mut table_attributes = 0;
    for level in start..=3 {
        let Some(at) = locate(table + index * 8)? else { return fault(Kind::External, level) };
        let descriptor: u64 = cpu.bus.ram().load(at);
        if descriptor & VALID == 0 {
            return fault(Kind::Translation, level);
        }
        let address = descriptor & 0xffff_ffff_ffff & !((1 << granule.bits()) - 1);
        if level < 3 && descriptor & TABLE != 0 {
            if too_large(address) {
                return fault(Kind::AddressSize, level);
            }
            table_attributes |= descriptor >> 59;
            table = address;
            index = input >> granule.bits_below(level + 1) & ((1 << granule.stride()) - 1);
            continue;
        }
        if (level == 3) != (descriptor & TABLE != 0) || level < 3 && !granule.has_blocks(level) {
            return fault(Kind::Translation, level);
        }
        let page_bits = granule.bits_below(level);
        let within = (1 << page_bits) - 1;
        let address = address & !within | input & within;
        if too_large(address) {
            return fault(Kind::AddressSize, level);
        }
        return Ok(Ok(Leaf { descriptor, address, level, page_bits, table_attributes, at }));
    }
    fault(Kind::Translation, 3) // no walk begins behind level 3
}

/// Replaces the entry that a walk has found; false if it has changed meanwhile, so that the walk must begin again.
pub(super) fn update(cpu: &Cpu, leaf: &Leaf, descriptor: u64) -> bool {
    let ram = cpu.bus.ram();
    if ram.compare_exchange(leaf.at, leaf.descriptor, descriptor) != leaf.descriptor {
        return false;
    }
    ram.code_pages().note_write(leaf.at, 8);
    true
}

/// What an access does to the entry that it uses, if the hardware keeps the access flag and the dirty state: the entry as it
/// must be, which may be as it is; none if the access flag is missing and nobody sets it. `clean` tells that the page could be
/// written but is not marked so.
pub(super) fn marked(
    tables: &Tables,
    leaf: &Leaf,
    access: Access,
    clean: bool,
    writable: u64,
) -> Option<u64> {
    let mut descriptor = leaf.descriptor;
    if descriptor & AF == 0 {
        if !tables.updates_access {
            return None;
        }
        descriptor |= AF;
    }
    if access == Access::Write && clean {
        // Stage 1 clears the bit, stage 2 sets it.
        descriptor = descriptor & !AP_2 | writable;
    }
    Some(descriptor)
}
