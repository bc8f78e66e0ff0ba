//! The tables of an ITS in guest memory: devices, collections, and each device's events. What is in them is the ITS's
//! own affair, but guests can write there: every entry is checked when it is used.

use emu_core::mem::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::spec::{ENTRY, INDIRECT, VALID};

/// The address of a 4 KiB page.
const PAGE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A table that a BASER register names.
#[derive(Clone, Copy)]
pub(super) struct Table(pub(super) u64);

impl Table {
    /// Bytes of a page of the table.
    fn page(self) -> u64 {
        match self.0 >> 8 & 3 {
            0 => 4 << 10,
            1 => 16 << 10,
            _ => 64 << 10,
        }
    }

    /// The address of the table's first byte: pages of 64 KiB have room for address bits 51:48 below.
    fn base(self) -> u64 {
        match self.page() {
            0x1_0000 => self.0 & 0x0000_ffff_ffff_0000 | (self.0 >> 12 & 0xf) << 48,
            _ => self.0 & 0x0000_ffff_ffff_f000,
        }
    }

    fn len(self) -> u64 {
        self.page() * ((self.0 & 0xff) + 1)
    }

    /// The address of entry `index`; none if the table has no room for it.
    pub(super) fn entry(self, index: u32, memory: &GuestMemory) -> Option<u64> {
        let index = u64::from(index);
        if self.0 & VALID == 0 {
            return None;
        }
        let per_page = self.page() / ENTRY;
        if self.0 & INDIRECT == 0 {
            return (index < self.len() / ENTRY).then(|| self.base() + index * ENTRY);
        }
        let first = index / per_page;
        if first >= self.len() / 8 {
            return None;
        }
        let level_1: u64 = read(memory, self.base() + first * 8)?;
        let page = level_1 & PAGE_ADDRESS & !(self.page() - 1);
        (level_1 & VALID != 0).then(|| page + index % per_page * ENTRY)
    }
}

/// Where a device's events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Address of the table, a multiple of 256.
    pub(super) events: u64,
    /// Bits of event numbers, less one.
    pub(super) size: u8,
}

impl Device {
    const EVENTS: u64 = 0x000f_ffff_ffff_ff00;

    pub(super) fn pack(self) -> u64 {
        VALID | self.events & Self::EVENTS | u64::from(self.size & 0x1f)
    }

    pub(super) fn unpack(entry: u64) -> Option<Self> {
        (entry & VALID != 0).then_some(Self { events: entry & Self::EVENTS, size: entry as u8 & 0x1f })
    }

    /// The address of an event's entry.
    pub(super) fn event(self, event: u32) -> Option<u64> {
        (u64::from(event) >> (self.size + 1) == 0).then(|| self.events + u64::from(event) * ENTRY)
    }
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) intid: u32,
    pub(super) collection: u16,
}

impl Event {
    pub(super) fn pack(self) -> u64 {
        VALID | u64::from(self.collection) << 32 | u64::from(self.intid)
    }

    pub(super) fn unpack(entry: u64) -> Option<Self> {
        (entry & VALID != 0).then_some(Self { intid: entry as u32, collection: (entry >> 32) as u16 })
    }
}

/// The redistributor of a collection, as an entry.
pub(super) fn pack_collection(cpu: usize) -> u64 {
    VALID | cpu as u64
}

/// The redistributor of a collection, if the entry names one of `cpus`.
pub(super) fn unpack_collection(entry: u64, cpus: usize) -> Option<usize> {
    let cpu = usize::try_from(entry & !VALID).ok()?;
    (entry & VALID != 0 && cpu < cpus).then_some(cpu)
}

/// Reads an entry; none if it is not in memory.
pub(super) fn read(memory: &GuestMemory, address: u64) -> Option<u64> {
    memory.read_obj::<u64>(GuestAddress(address)).ok().map(u64::from_le)
}

/// Writes an entry; none if it is not in memory.
pub(super) fn write(memory: &GuestMemory, address: u64, entry: u64) -> Option<()> {
    memory.write_obj(entry.to_le(), GuestAddress(address)).ok()
}
