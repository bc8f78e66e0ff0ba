//! Interrupt groups.

/// An interrupt group (IHI 0069H, §4.6 "Interrupt grouping"; GICv2 has the first and the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Group {
    /// Group 0.
    Zero = 0,
    /// Secure Group 1.
    OneSecure = 1,
    /// Non-secure Group 1, or Group 1 where there is one Security state.
    One = 2,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Zero, Self::OneSecure, Self::One];
}

/// A set of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups(u8);

impl Groups {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(0b111);

    pub(super) const fn only(group: Group) -> Self {
        Self(1 << group as u8)
    }

    pub(super) fn has(self, group: Group) -> bool {
        self.0 & Self::only(group).0 != 0
    }

    pub(super) fn set(&mut self, group: Group, on: bool) {
        let bit = Self::only(group).0;
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
