//! The priority logic of a CPU interface: masking, preemption and what runs. GICv2 and GICv3, physical and virtual
//! interfaces, are all the same in this; they differ in the registers that show it.

use super::block::PRIORITY_MASK;
use super::group::{Group, Groups};

/// The running priority when nothing runs.
pub(super) const IDLE: u8 = 0xff;

/// Right shift from a priority to its level, the number of its bit in an active-priorities register.
const LEVEL_SHIFT: u32 = PRIORITY_MASK.trailing_zeros();

/// An interrupt that could be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) intid: u32,
    pub(super) priority: u8,
    pub(super) group: Group,
}

/// A CPU interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) enabled: Groups,
    /// The priority mask: only higher priorities, lower numbers, are signalled.
    pub(super) mask: u8,
    /// The binary points of the groups, as their registers show them.
    binary_point: [u8; 3],
    /// Group 1 (Secure, the other) has Group 0's binary point.
    pub(super) common_secure: bool,
    pub(super) common: bool,
    /// The active priorities of each group, a bit for each level.
    pub(super) active: [u32; 3],
}

impl Interface {
    pub(super) fn new() -> Self {
        Self {
            enabled: Groups::NONE,
            mask: 0,
            binary_point: Group::ALL.map(Self::least_binary_point),
            common_secure: false,
            common: false,
            active: [0; 3],
        }
    }

    /// The least value of a binary point register, at which all implemented bits are group priority. The register
    /// of Non-secure Group 1 says one more than it means (IHI 0069H, §4.8.2).
    fn least_binary_point(group: Group) -> u8 {
        let least = LEVEL_SHIFT as u8 - 1;
        if group == Group::One { least + 1 } else { least }
    }

    pub(super) fn binary_point(&self, group: Group) -> u8 {
        self.binary_point[group as usize]
    }

    pub(super) fn set_binary_point(&mut self, group: Group, value: u64) {
        self.binary_point[group as usize] = (value as u8 & 7).max(Self::least_binary_point(group));
    }

    pub(super) fn set_mask(&mut self, value: u8) {
        self.mask = value & PRIORITY_MASK;
    }

    /// Whether the group's binary point is that of Group 0.
    pub(super) fn is_common(&self, group: Group) -> bool {
        match group {
            Group::Zero => true,
            Group::OneSecure => self.common_secure,
            Group::One => self.common,
        }
    }

    /// The part of `priority` that decides about preemption.
    fn group_priority(&self, group: Group, priority: u8) -> u8 {
        let point = match group {
            _ if self.is_common(group) => self.binary_point(Group::Zero),
            Group::One => self.binary_point(group) - 1,
            _ => self.binary_point(group),
        };
        priority & (u32::from(u8::MAX) << (point + 1)) as u8
    }

    fn level(&self, group: Group, priority: u8) -> u32 {
        u32::from(self.group_priority(group, priority)) >> LEVEL_SHIFT
    }

    /// The highest active priority.
    pub(super) fn running(&self) -> u8 {
        match self.active.iter().fold(0, |all, levels| all | levels) {
            0 => IDLE,
            levels => (levels.trailing_zeros() as u8) << LEVEL_SHIFT,
        }
    }

    /// The group of the highest active priority.
    pub(super) fn running_group(&self) -> Option<Group> {
        let of = |group: Group| self.active[group as usize].trailing_zeros();
        Group::ALL.into_iter().min_by_key(|group| of(*group)).filter(|group| of(*group) < u32::BITS)
    }

    /// Whether `pending` is to interrupt the CPU: its group is enabled, and it is above the mask and what runs.
    pub(super) fn signals(&self, pending: &Pending) -> bool {
        let Pending { priority, group, .. } = *pending;
        let running = self.running();
        let preempts =
            running == IDLE || self.group_priority(group, priority) < self.group_priority(group, running);
        self.enabled.has(group) && priority < self.mask && preempts
    }

    /// The interrupt is acknowledged: its priority becomes active.
    pub(super) fn activate(&mut self, pending: &Pending) {
        self.active[pending.group as usize] |= 1 << self.level(pending.group, pending.priority);
    }

    /// The highest active priority of `group` is no longer active.
    pub(super) fn drop_priority(&mut self, group: Group) {
        let levels = &mut self.active[group as usize];
        *levels &= levels.saturating_sub(1);
    }
}

/// How Non-secure software sees a priority: the lower half of the range, as the whole of it (IHI 0069H, §4.8.6
/// "Software accesses of interrupt priority"). Priorities that it cannot have are zero, the highest.
pub(super) fn shifted_view(priority: u8) -> u8 {
    match priority {
        IDLE => IDLE,
        0x80.. => priority << 1,
        _ => 0,
    }
}

/// The priority that Non-secure software means by `value`.
pub(super) fn from_shifted_view(value: u8) -> u8 {
    (0x80 | value >> 1) & PRIORITY_MASK
}
