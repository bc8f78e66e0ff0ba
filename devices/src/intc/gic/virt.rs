//! The virtual CPU interface: list registers that a hypervisor fills, and the competition of what is in them (IHI 0069H,
//! §6; IHI 0048B, §5). GICv2 shows it as GICH and GICV, GICv3 as ICH_* and ICV_* system registers.
//!
//! Not modelled: virtual LPIs of GICv4, and SGIs that count in vSGIEOICount.

use super::Output;
use super::group::{Group, Groups};
use super::interface::{Interface, Pending};

/// How many list registers there are.
pub(super) const LIST_REGISTERS: usize = 4;

/// ICH_HCR_EL2 and GICH_HCR.
pub(super) mod hcr {
    pub(in super::super) const ENABLE: u64 = 1 << 0;
    pub(super) const UNDERFLOW: u64 = 1 << 1;
    pub(super) const NO_ENTRY: u64 = 1 << 2;
    pub(super) const NONE_PENDING: u64 = 1 << 3;
    /// Four bits: Group 0 enabled, disabled, Group 1 enabled, disabled.
    pub(super) const GROUPS_SHIFT: u32 = 4;
    /// Where the count of ends without an entry begins, and its bits.
    pub(super) const COUNT_SHIFT: u32 = 27;
    pub(super) const COUNT: u64 = 0x1f << COUNT_SHIFT;
    /// What both versions have; GICv3 has traps too.
    pub(in super::super) const V2: u64 = COUNT | 0xff;
    /// TC, TALL0, TALL1 and TDIR; they trap in the front end.
    pub(in super::super) const V3: u64 = V2 | 0b101_1100_0000_0000;
}

/// ICH_VMCR_EL2 and GICH_VMCR: what the virtual interface's registers hold.
mod vmcr {
    pub const ENABLE_0: u64 = 1 << 0;
    pub const ENABLE_1: u64 = 1 << 1;
    pub const ACK_CTL: u64 = 1 << 2;
    pub const FIQ: u64 = 1 << 3;
    pub const COMMON: u64 = 1 << 4;
    pub const EOI_MODE: u64 = 1 << 9;
    pub const POINT_1_SHIFT: u32 = 18;
    pub const POINT_0_SHIFT: u32 = 21;
    pub const MASK_SHIFT: u32 = 24;
}

/// A list register, in the layout of ICH_LR<n>_EL2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListRegister(pub(super) u64);

impl ListRegister {
    const PENDING: u64 = 1 << 62;
    const ACTIVE: u64 = 1 << 63;
    const HARDWARE: u64 = 1 << 61;
    const GROUP_1: u64 = 1 << 60;
    /// Without [`Self::HARDWARE`]: a maintenance interrupt at the end.
    const EOI: u64 = 1 << 41;
    /// What GICv3 has of it; the priority's other bits are not implemented.
    const V3: u64 = 0xf0f8_1fff_0000_ffff;

    pub(super) fn from_v3(value: u64) -> Self {
        let value = value & Self::V3;
        // Without an interrupt of the hardware's, the field for it is but one bit.
        let unused = if value & Self::HARDWARE == 0 { 0x1fff << 32 & !Self::EOI } else { 0 };
        Self(value & !unused)
    }

    /// The layout of GICH_LRn: the same fields, the source of an SGI among them, in half the room.
    pub(super) fn from_v2(value: u32) -> Self {
        let value = u64::from(value);
        let hardware = value >> 31 & 1 != 0;
        let physical = value >> 10 & if hardware { 0x3ff } else { 0b10_0000_0111 };
        Self(
            value & 0x3ff
                | physical << 32
                | (value >> 23 & 0x1f) << 51
                | (value >> 30 & 1) << 60
                | (value >> 31 & 1) << 61
                | (value >> 28 & 3) << 62,
        )
    }

    pub(super) fn to_v2(self) -> u32 {
        let value = self.0;
        (value & 0x3ff
            | (value >> 32 & 0x3ff) << 10
            | (value >> 51 & 0x1f) << 23
            | (value >> 60 & 1) << 30
            | (value >> 61 & 1) << 31
            | (value >> 62 & 3) << 28) as u32
    }

    pub(super) fn intid(self) -> u32 {
        self.0 as u32
    }

    /// The CPU that an SGI of a GICv2 is from.
    pub(super) fn source(self) -> u32 {
        if self.has(Self::HARDWARE) { 0 } else { (self.0 >> 32) as u32 & 7 }
    }

    /// The physical interrupt that ends with this one.
    fn physical(self) -> Option<u32> {
        self.has(Self::HARDWARE).then_some((self.0 >> 32) as u32 & 0x1fff)
    }

    fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    fn valid(self) -> bool {
        self.has(Self::PENDING | Self::ACTIVE)
    }

    fn pending(self) -> Pending {
        let group = if self.has(Self::GROUP_1) { Group::One } else { Group::Zero };
        Pending { intid: self.intid(), priority: (self.0 >> 48) as u8, group }
    }
}

/// The virtual CPU interface of one CPU.
pub(super) struct Virtual {
    hcr: u64,
    /// VMCR without what is in [`Virtual::interface`]: AckCtl, FIQEn and EOImode.
    flags: u64,
    pub(super) interface: Interface,
    pub(super) list: [ListRegister; LIST_REGISTERS],
}

impl Virtual {
    /// `fiq` is whether Group 0 is signalled as a virtual FIQ from the start, as it always is for GICv3.
    pub(super) fn new(fiq: bool) -> Self {
        let list = [ListRegister::default(); LIST_REGISTERS];
        Self { hcr: 0, flags: if fiq { vmcr::FIQ } else { 0 }, interface: Interface::new(), list }
    }

    pub(super) fn hcr(&self) -> u64 {
        self.hcr
    }

    pub(super) fn set_hcr(&mut self, value: u64, implemented: u64) {
        self.hcr = value & implemented;
    }

    pub(super) fn vmcr(&self) -> u64 {
        let interface = &self.interface;
        let bit = |on, bit| if on { bit } else { 0 };
        self.flags
            | bit(interface.enabled.has(Group::Zero), vmcr::ENABLE_0)
            | bit(interface.enabled.has(Group::One), vmcr::ENABLE_1)
            | bit(interface.common, vmcr::COMMON)
            | u64::from(interface.binary_point(Group::One)) << vmcr::POINT_1_SHIFT
            | u64::from(interface.binary_point(Group::Zero)) << vmcr::POINT_0_SHIFT
            | u64::from(interface.mask) << vmcr::MASK_SHIFT
    }

    /// Writes VMCR. Of the flags, GICv3 has EOImode only: its Group 0 is always signalled as FIQ.
    pub(super) fn set_vmcr(&mut self, value: u64, v3: bool) {
        self.flags = match v3 {
            false => value & (vmcr::ACK_CTL | vmcr::FIQ | vmcr::EOI_MODE),
            true => value & vmcr::EOI_MODE | vmcr::FIQ,
        };
        let interface = &mut self.interface;
        interface.enabled.set(Group::Zero, value & vmcr::ENABLE_0 != 0);
        interface.enabled.set(Group::One, value & vmcr::ENABLE_1 != 0);
        interface.common = value & vmcr::COMMON != 0;
        interface.set_binary_point(Group::One, value >> vmcr::POINT_1_SHIFT);
        interface.set_binary_point(Group::Zero, value >> vmcr::POINT_0_SHIFT);
        interface.set_mask((value >> vmcr::MASK_SHIFT) as u8);
    }

    /// An end of interrupt drops the priority only; deactivation is a step of its own.
    pub(super) fn eoi_mode(&self) -> bool {
        self.flags & vmcr::EOI_MODE != 0
    }

    pub(super) fn set_eoi_mode(&mut self, on: bool) {
        self.set_flag(vmcr::EOI_MODE, on);
    }

    pub(super) fn ack_ctl(&self) -> bool {
        self.flags & vmcr::ACK_CTL != 0
    }

    pub(super) fn set_ack_ctl(&mut self, on: bool) {
        self.set_flag(vmcr::ACK_CTL, on);
    }

    pub(super) fn fiq(&self) -> bool {
        self.flags & vmcr::FIQ != 0
    }

    pub(super) fn set_fiq(&mut self, on: bool) {
        self.set_flag(vmcr::FIQ, on);
    }

    fn set_flag(&mut self, flag: u64, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// A bit for each list register that `test` is true of.
    fn list_where(&self, test: impl Fn(ListRegister) -> bool) -> u64 {
        self.list.iter().enumerate().fold(0, |all, (i, entry)| all | u64::from(test(*entry)) << i)
    }

    /// EISR: list registers whose interrupt has ended, and whose end is to be told.
    pub(super) fn ended(&self) -> u64 {
        self.list_where(|entry| {
            !entry.valid() && !entry.has(ListRegister::HARDWARE) && entry.has(ListRegister::EOI)
        })
    }

    /// ELRSR: list registers that are free.
    pub(super) fn free(&self) -> u64 {
        let told = self.ended();
        self.list_where(|entry| !entry.valid()) & !told
    }

    /// MISR: the reasons for a maintenance interrupt.
    pub(super) fn reasons(&self) -> u64 {
        let bit = |on: bool, bit: u32| u64::from(on) << bit;
        let asked = |flag| self.hcr & flag != 0;
        let valid = self.list_where(ListRegister::valid).count_ones();
        let waiting =
            self.list_where(|entry| entry.has(ListRegister::PENDING) && !entry.has(ListRegister::ACTIVE));
        let (zero, one) = (self.interface.enabled.has(Group::Zero), self.interface.enabled.has(Group::One));
        let groups = bit(zero, 0) | bit(!zero, 1) | bit(one, 2) | bit(!one, 3);
        bit(self.ended() != 0, 0)
            | bit(asked(hcr::UNDERFLOW) && valid <= 1, 1)
            | bit(asked(hcr::NO_ENTRY) && asked(hcr::COUNT), 2)
            | bit(asked(hcr::NONE_PENDING) && waiting == 0, 3)
            | (groups << hcr::GROUPS_SHIFT) & self.hcr
    }

    /// The level of the maintenance interrupt.
    pub(super) fn maintenance(&self) -> bool {
        self.hcr & hcr::ENABLE != 0 && self.reasons() != 0
    }

    /// The pending entry with the highest priority, if the virtual interface is on.
    pub(super) fn highest(&self) -> Option<(usize, Pending)> {
        if self.hcr & hcr::ENABLE == 0 {
            return None;
        }
        let waiting = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.has(ListRegister::PENDING) && !entry.has(ListRegister::ACTIVE));
        let waiting = waiting.map(|(index, entry)| (index, entry.pending()));
        waiting
            .filter(|(_, pending)| self.interface.enabled.has(pending.group))
            .min_by_key(|(_, pending)| pending.priority)
    }

    /// The entry that is signalled.
    pub(super) fn signalled(&self) -> Option<(usize, Pending)> {
        self.highest().filter(|(_, pending)| self.interface.signals(pending))
    }

    /// The virtual pins, a bit for each [`Output`].
    pub(super) fn outputs(&self) -> u8 {
        match self.signalled() {
            None => 0,
            Some((_, pending)) if pending.group == Group::Zero && self.fiq() => 1 << Output::Vfiq as u8,
            Some(_) => 1 << Output::Virq as u8,
        }
    }

    /// The guest takes what is signalled to it from list register `index`.
    pub(super) fn acknowledge(&mut self, index: usize, pending: &Pending) {
        let entry = &mut self.list[index];
        entry.0 &= !ListRegister::PENDING;
        if !(1020..1024).contains(&pending.intid) {
            entry.0 |= ListRegister::ACTIVE;
            self.interface.activate(pending);
        }
    }

    /// The highest active priority is no longer active; false if none was.
    pub(super) fn drop_priority(&mut self) -> bool {
        let group = self.interface.running_group();
        group.inspect(|group| self.interface.drop_priority(*group)).is_some()
    }

    /// An interrupt of one of `groups` is no longer active; the physical one that ends with it. One that is in no
    /// list register is counted.
    pub(super) fn deactivate(&mut self, intid: u32, groups: Groups) -> Option<u32> {
        let active = |entry: &&mut ListRegister| {
            entry.has(ListRegister::ACTIVE) && entry.intid() == intid && groups.has(entry.pending().group)
        };
        match self.list.iter_mut().find(active) {
            Some(entry) => {
                entry.0 &= !ListRegister::ACTIVE;
                entry.physical()
            }
            None => {
                let count = (self.hcr + (1 << hcr::COUNT_SHIFT)) & hcr::COUNT;
                self.hcr = self.hcr & !hcr::COUNT | count;
                None
            }
        }
    }
}
