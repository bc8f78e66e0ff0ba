//! Locality-specific peripheral interrupts of one redistributor (IHI 0069H, §5): message-based interrupts whose
//! configuration and pending state are tables in guest memory.
//!
//! A pending LPI's configuration is read when it becomes pending and when software says that it has changed
//! (INV, INVALL); that of others is not kept. The pending table in memory is read when LPIs are enabled and
//! written when they are disabled; in between the state is here.

use std::collections::{BTreeMap, BTreeSet};

use emu_core::mem::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::block::PRIORITY_MASK;
use super::interface::from_shifted_view;

/// The first LPI.
pub(super) const FIRST: u32 = 8192;
/// Bits of an INTID that are implemented.
pub(super) const INTID_BITS: u32 = 16;

/// GICR_PROPBASER: the bits that are implemented, and its address and size.
const PROPERTIES: u64 = 0x0700_0000_0000_0f9f | PROPERTIES_ADDRESS;
const PROPERTIES_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PROPERTIES_ID_BITS: u64 = 0x1f;
/// GICR_PENDBASER: the bits that are implemented, its address, and "the table is zero".
const PENDING: u64 = 0x0700_0000_0000_0f80 | PENDING_ADDRESS;
const PENDING_ADDRESS: u64 = 0x000f_ffff_ffff_0000;
const PENDING_ZERO: u64 = 1 << 62;

/// An entry of the configuration table: enabled, and a priority of six bits.
const ENABLED: u8 = 1;

/// The LPIs of one redistributor.
#[derive(Default)]
pub(super) struct Lpis {
    pub(super) enabled: bool,
    properties: u64,
    pending_base: u64,
    /// What is pending, with the priority if it is enabled.
    pending: BTreeMap<u32, Option<u8>>,
    /// What is pending and enabled, by priority.
    ready: BTreeSet<(u8, u32)>,
}

impl Lpis {
    /// The one that is to be signalled first: priority and INTID.
    pub(super) fn first(&self) -> Option<(u8, u32)> {
        self.ready.first().copied()
    }

    pub(super) fn is_pending(&self, intid: u32) -> bool {
        self.pending.contains_key(&intid)
    }

    /// How many are pending.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The LPI becomes pending, if LPIs are enabled and there is such a one. `shifted` is whether the table has
    /// priorities as Non-secure software sees them.
    pub(super) fn raise(&mut self, intid: u32, memory: &GuestMemory, shifted: bool) {
        if self.enabled && self.exists(intid) && !self.is_pending(intid) {
            self.insert(intid, memory, shifted);
        }
    }

    pub(super) fn clear(&mut self, intid: u32) {
        if let Some(Some(priority)) = self.pending.remove(&intid) {
            self.ready.remove(&(priority, intid));
        }
    }

    /// The LPI's configuration may have changed.
    pub(super) fn refresh(&mut self, intid: u32, memory: &GuestMemory, shifted: bool) {
        if self.is_pending(intid) {
            self.clear(intid);
            self.insert(intid, memory, shifted);
        }
    }

    /// The configuration of all may have changed.
    pub(super) fn refresh_all(&mut self, memory: &GuestMemory, shifted: bool) {
        self.ready.clear();
        for intid in std::mem::take(&mut self.pending).into_keys() {
            self.insert(intid, memory, shifted);
        }
    }

    /// Everything that is pending leaves.
    pub(super) fn take_all(&mut self) -> Vec<u32> {
        self.ready.clear();
        std::mem::take(&mut self.pending).into_keys().collect()
    }

    fn insert(&mut self, intid: u32, memory: &GuestMemory, shifted: bool) {
        let priority = self.configuration(intid, memory, shifted);
        self.pending.insert(intid, priority);
        if let Some(priority) = priority {
            self.ready.insert((priority, intid));
        }
    }

    /// The priority in the configuration table, if the LPI is enabled there. What is not in memory is not enabled.
    fn configuration(&self, intid: u32, memory: &GuestMemory, shifted: bool) -> Option<u8> {
        let address = (self.properties & PROPERTIES_ADDRESS) + u64::from(intid - FIRST);
        let entry: u8 = memory.read_obj(GuestAddress(address)).ok()?;
        let priority = if shifted { from_shifted_view(entry) } else { entry & PRIORITY_MASK };
        (entry & ENABLED != 0).then_some(priority)
    }

    /// Whether the tables have room for the INTID.
    fn exists(&self, intid: u32) -> bool {
        (FIRST..self.end()).contains(&intid)
    }

    /// The first INTID behind the tables.
    fn end(&self) -> u32 {
        let bits = (self.properties & PROPERTIES_ID_BITS) as u32 + 1;
        1 << bits.min(INTID_BITS)
    }

    pub(super) fn properties(&self) -> u64 {
        self.properties
    }

    /// Writes GICR_PROPBASER, which must not change while LPIs are enabled.
    pub(super) fn set_properties(&mut self, value: u64) {
        if !self.enabled {
            self.properties = value & PROPERTIES;
        }
    }

    pub(super) fn pending_base(&self) -> u64 {
        self.pending_base & !PENDING_ZERO
    }

    /// Writes GICR_PENDBASER, as [`Lpis::set_properties`].
    pub(super) fn set_pending_base(&mut self, value: u64) {
        if !self.enabled {
            self.pending_base = value & (PENDING | PENDING_ZERO);
        }
    }

    /// Writes GICR_CTLR.EnableLPIs.
    pub(super) fn enable(&mut self, on: bool, memory: &GuestMemory, shifted: bool) {
        if on == self.enabled {
            return;
        }
        self.enabled = on;
        let table = GuestAddress(self.pending_base & PENDING_ADDRESS);
        let mut bytes = vec![0; self.end() as usize / 8];
        if !on {
            for intid in self.take_all() {
                bytes[intid as usize / 8] |= 1 << (intid % 8);
            }
            self.pending_base &= !PENDING_ZERO;
            // A table that is not in memory loses what is pending, as on hardware.
            let _ = memory.write_slice(&bytes, table);
        } else if self.pending_base & PENDING_ZERO == 0 && memory.read_slice(&mut bytes, table).is_ok() {
            for intid in FIRST..self.end() {
                if bytes[intid as usize / 8] >> (intid % 8) & 1 != 0 {
                    self.insert(intid, memory, shifted);
                }
            }
        }
    }
}
