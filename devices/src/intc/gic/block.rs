//! The state of 32 interrupts with consecutive INTIDs: a word per property, with a bit for each.

use super::group::{Group, Groups};

/// How many interrupts a block holds.
pub(super) const LEN: usize = 32;

/// The bits of a priority that are implemented: 32 levels.
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// 32 interrupts.
#[derive(Clone)]
pub(super) struct Block {
    /// GICD_IGROUPR: Group 1 (Non-secure Group 1, where there are two Security states).
    pub(super) group: u32,
    /// GICD_IGRPMODR: Secure Group 1, where [`Block::group`] is clear and there are two Security states.
    pub(super) modifier: u32,
    pub(super) enabled: u32,
    /// Pending since an edge or a write of software, until the interrupt is acknowledged.
    pub(super) latch: u32,
    /// The levels of the input lines.
    pub(super) level: u32,
    pub(super) active: u32,
    /// Edge-triggered, not level-sensitive.
    pub(super) edge: u32,
    pub(super) priority: [u8; LEN],
    /// The CPUs that may take it, a bit each; of no meaning for private interrupts.
    pub(super) targets: [u8; LEN],
    /// GICD_IROUTER: the affinity that the targets come from.
    pub(super) route: [u32; LEN],
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            group: 0,
            modifier: 0,
            enabled: 0,
            latch: 0,
            level: 0,
            active: 0,
            edge: 0,
            priority: [0; LEN],
            targets: [0; LEN],
            route: [0; LEN],
        }
    }

    /// The block after a reset: its input lines are not its own to reset.
    pub(super) fn reset(&mut self, fresh: Self) {
        *self = Self { level: self.level, ..fresh };
    }

    pub(super) fn pending(&self) -> u32 {
        self.latch | self.level & !self.edge
    }

    /// Those that could be forwarded to a CPU if their group and the CPU's state allow it.
    pub(super) fn candidates(&self) -> u32 {
        self.pending() & self.enabled & !self.active
    }

    /// Drives an input line; whether that can make a difference to a CPU.
    pub(super) fn set_level(&mut self, bit: usize, level: bool) -> bool {
        let mask = 1u32 << bit;
        if (self.level & mask != 0) == level {
            return false;
        }
        self.level ^= mask;
        if self.edge & mask == 0 {
            return true;
        }
        self.latch |= self.level & mask;
        level
    }

    /// The interrupts that belong to one of `groups`.
    pub(super) fn members(&self, groups: Groups, single_state: bool) -> u32 {
        let modifier = if single_state { 0 } else { self.modifier };
        let part = |group, bits: u32| if groups.has(group) { bits } else { 0 };
        part(Group::Zero, !self.group & !modifier)
            | part(Group::OneSecure, !self.group & modifier)
            | part(Group::One, self.group)
    }

    pub(super) fn group_of(&self, bit: usize, single_state: bool) -> Group {
        let mask = 1u32 << bit;
        if self.group & mask != 0 {
            Group::One
        } else if self.modifier & mask != 0 && !single_state {
            Group::OneSecure
        } else {
            Group::Zero
        }
    }
}

/// The positions of the bits that are set, in ascending order.
pub(super) fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.checked_sub(1)?;
        Some(bit)
    })
}
