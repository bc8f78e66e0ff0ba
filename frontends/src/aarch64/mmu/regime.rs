//! Translation regimes (DDI 0487, D8.1 "Translation regimes"): which one an access is in, and how its registers set it up.

use super::super::bits::{hcr, sctlr};
use super::super::features::Feature;
use super::super::state::Aarch64;
use super::super::sysreg::Reg;
use super::walk::{Granule, Tables};

/// A translation regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Regime {
    /// EL1&0.
    El10,
    /// EL2, of a hypervisor alone.
    El2,
    /// EL2&0, of a host.
    El20,
    /// EL3.
    El3,
}

impl Regime {
    /// Whether it has two ranges of addresses and is used by EL0, too.
    pub(in super::super) fn has_two_ranges(self) -> bool {
        matches!(self, Self::El10 | Self::El20)
    }

    /// Its translation control register.
    const fn control(self) -> Reg {
        match self {
            Self::El10 => Reg::TCR_EL1,
            Self::El2 | Self::El20 => Reg::TCR_EL2,
            Self::El3 => Reg::TCR_EL3,
        }
    }

    /// Its system control register.
    const fn system(self) -> Reg {
        match self {
            Self::El10 => Reg::SCTLR_EL1,
            Self::El2 | Self::El20 => Reg::SCTLR_EL2,
            Self::El3 => Reg::SCTLR_EL3,
        }
    }

    /// Its memory attribute indirection register.
    pub(super) const fn attributes(self) -> Reg {
        match self {
            Self::El10 => Reg::MAIR_EL1,
            Self::El2 | Self::El20 => Reg::MAIR_EL2,
            Self::El3 => Reg::MAIR_EL3,
        }
    }

    /// The register with the table of the lower or the upper range.
    const fn base(self, upper: bool) -> Reg {
        match (self, upper) {
            (Self::El10, false) => Reg::TTBR0_EL1,
            (Self::El10, true) => Reg::TTBR1_EL1,
            (Self::El2, _) | (Self::El20, false) => Reg::TTBR0_EL2,
            (Self::El20, true) => Reg::TTBR1_EL2,
            (Self::El3, _) => Reg::TTBR0_EL3,
        }
    }
}

/// What the registers of a regime say of one of its ranges of addresses.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Range {
    /// Bits 63 to 56 of addresses do not count, for data accesses.
    pub top_byte_ignored: bool,
    /// The same for instruction fetches.
    pub fetch_top_byte_ignored: bool,
    /// Bits of addresses that are translated.
    pub input_bits: u32,
    /// Walks are disabled: whatever is not cached faults.
    disabled: bool,
    granule: Granule,
    /// Permissions in tables do not count.
    pub flat_permissions: bool,
    /// EL0 has no access to the range.
    pub no_el0: bool,
}

impl Aarch64 {
    /// The regime of code at exception level `el`.
    pub(in super::super) fn regime(&self, el: u8) -> Regime {
        match el {
            0 if self.host() => Regime::El20,
            0 | 1 => Regime::El10,
            2 if self.sys[Reg::HCR_EL2] & hcr::E2H != 0 => Regime::El20,
            2 => Regime::El2,
            _ => Regime::El3,
        }
    }

    /// `TCR` of a regime.
    pub(in super::super) fn control(&self, regime: Regime) -> u64 {
        self.sys[regime.control()]
    }

    /// `SCTLR` of a regime.
    pub(super) fn regime_control(&self, regime: Regime) -> u64 {
        self.sys[regime.system()]
    }

    /// Whether stage 1 is on in a regime.
    pub(super) fn stage1_on(&self, regime: Regime) -> bool {
        let off_by_hypervisor = regime == Regime::El10 && self.hcr() & (hcr::DC | hcr::TGE) != 0;
        self.regime_control(regime) & sctlr::M != 0 && !off_by_hypervisor
    }

    /// Whether stage 2 is on for a regime.
    pub(super) fn stage2_on(&self, regime: Regime) -> bool {
        regime == Regime::El10 && self.hcr() & (hcr::VM | hcr::DC) != 0
    }

    /// What the registers say of the range that `va` is in: whichever its bit 55 selects.
    pub(in super::super) fn range(&self, regime: Regime, va: u64) -> Range {
        let control = self.sys[regime.control()];
        let on = |bit: u32| control >> bit & 1 != 0;
        if !regime.has_two_ranges() {
            let ignored = on(20);
            return Range {
                top_byte_ignored: ignored,
                fetch_top_byte_ignored: ignored && !(on(29) && self.has(Feature::PAuth)),
                input_bits: 64 - (control & 0x3f) as u32,
                disabled: false,
                granule: Granule::of_lower(control >> 14),
                flat_permissions: on(24) && self.has(Feature::Hpds),
                no_el0: false,
            };
        }
        let upper = va >> 55 & 1 != 0;
        let n = u32::from(upper);
        let (size, disabled, granule) = if upper {
            (control >> 16, on(23), Granule::of_upper(control >> 30))
        } else {
            (control, on(7), Granule::of_lower(control >> 14))
        };
        let ignored = on(37 + n);
        Range {
            top_byte_ignored: ignored,
            fetch_top_byte_ignored: ignored && !(on(51 + n) && self.has(Feature::PAuth)),
            input_bits: 64 - (size & 0x3f) as u32,
            disabled,
            granule,
            flat_permissions: on(41 + n) && self.has(Feature::Hpds),
            no_el0: on(55 + n) && self.has(Feature::E0pd),
        }
    }

    /// The tables that translate `va`; none if it lies in no range, or in one without walks.
    pub(super) fn stage1_tables(&self, regime: Regime, va: u64, range: &Range) -> Option<Tables> {
        let upper = regime.has_two_ranges() && va >> 55 & 1 != 0;
        let unused = if range.top_byte_ignored { 8 } else { 0 };
        let sign = if upper { u64::MAX } else { 0 };
        let longest =
            if self.has(Feature::Ttst) { 48 - u32::from(range.granule == Granule::G64K) } else { 39 };
        if !(16..=longest).contains(&(64 - range.input_bits)) {
            return None;
        }
        if range.disabled || (va ^ sign) << unused >> unused >> range.input_bits != 0 {
            return None;
        }
        let control = self.sys[regime.control()];
        let (size, updates) = if regime.has_two_ranges() { (control >> 32, 39) } else { (control >> 16, 21) };
        let hardware = |bit: u32| control >> bit & 1 != 0 && self.has(Feature::Hafdbs);
        Some(Tables {
            base: self.sys[regime.base(upper)] & 0xffff_ffff_fffe,
            granule: range.granule,
            input_bits: range.input_bits,
            start: range.granule.start_level(range.input_bits),
            output_bits: self.output_bits(size),
            updates_access: hardware(updates),
            updates_dirty: hardware(updates) && hardware(updates + 1),
        })
    }

    /// The tables of stage 2; none if `VTCR_EL2` sets them up in a way that no walk can follow.
    pub(super) fn stage2_tables(&self) -> Option<Tables> {
        let control = self.sys[Reg::VTCR_EL2];
        let granule = Granule::of_lower(control >> 14);
        let input_bits = 64 - (control & 0x3f) as u32;
        let selected = (control >> 6 & 3) as i32;
        let start = match granule {
            Granule::G4K => [2, 1, 0, 3][selected as usize],
            _ => 3 - selected,
        };
        let reserved = granule == Granule::G4K && start == 3 && !self.has(Feature::Ttst)
            || granule != Granule::G4K && start == 0;
        // Up to sixteen tables of the level may stand together in place of one of the level before.
        let below = granule.bits_below(start);
        let fits = input_bits > below && input_bits <= below + granule.stride() + 4;
        if reserved || !fits || !(16..=48).contains(&(64 - input_bits)) {
            return None;
        }
        let hardware = |bit: u32| control >> bit & 1 != 0 && self.has(Feature::Hafdbs);
        Some(Tables {
            base: self.sys[Reg::VTTBR_EL2] & 0xffff_ffff_fffe,
            granule,
            input_bits,
            start,
            output_bits: self.output_bits(control >> 16),
            updates_access: hardware(21),
            updates_dirty: hardware(21) && hardware(22),
        })
    }

    /// Bits of physical addresses, of a size field and of the model.
    fn output_bits(&self, size: u64) -> u32 {
        let model = self.config.model.physical_bits;
        match size & 7 {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        }
        .min(model)
    }
}
