//! Named CPU models.

use super::features::{Feature, FeatureSet};

/// What a processor implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people who choose.
    pub summary: &'static str,
    /// What it has beyond Armv8.0 with Advanced SIMD and floating point.
    pub features: FeatureSet,
    /// `MIDR_EL1`.
    pub midr: u64,
    /// How often the generic timer's counter ticks in a second.
    pub counter_hz: u64,
    /// Bits of physical addresses: 32, 36, 40, 42, 44 or 48.
    pub physical_bits: u32,
}

/// What the generic timer of Armv8.6 must count at. So a tick is a nanosecond of the machine's clock.
const MODERN_HZ: u64 = 1_000_000_000;
/// What many boards with older processors count at, and firmware made for those expects.
const TRADITIONAL_HZ: u64 = 62_500_000;

/// What a Cortex-A57 has.
const CORTEX_A57: &[Feature] =
    &[Feature::Crc32, Feature::Aes, Feature::Pmull, Feature::Sha1, Feature::Sha256];

/// What a Neoverse N1 has of what is implemented here.
const NEOVERSE_N1: &[Feature] = &[
    Feature::Crc32,
    Feature::Aes,
    Feature::Pmull,
    Feature::Sha1,
    Feature::Sha256,
    Feature::Ras,
    Feature::Lse,
    Feature::Lor,
    Feature::Rdm,
    Feature::Pan,
    Feature::Pan2,
    Feature::Hpds,
    Feature::Hpds2,
    Feature::Hafdbs,
    Feature::Vmid16,
    Feature::Vhe,
    Feature::Fp16,
    Feature::Uao,
    Feature::Dpb,
    Feature::Xnx,
    Feature::DotProd,
    Feature::Lrcpc,
    Feature::Ttcnp,
    Feature::Ssbs,
    Feature::Csv2,
    Feature::Csv3,
];

/// The models, the default first.
pub const MODELS: &[Model] = &[
    Model {
        name: "max",
        summary: "everything that is implemented",
        features: FeatureSet::of(Feature::ALL),
        // Implementer 0 is reserved for software: no work-around for anybody's errata applies.
        midr: 0x000f_f000,
        counter_hz: MODERN_HZ,
        physical_bits: 48,
    },
    Model {
        name: "cortex-a57",
        summary: "Armv8.0, as Arm's Cortex-A57 without AArch32",
        features: FeatureSet::of(CORTEX_A57),
        midr: 0x411f_d070,
        counter_hz: TRADITIONAL_HZ,
        physical_bits: 44,
    },
    Model {
        name: "cortex-a72",
        summary: "Armv8.0, as Arm's Cortex-A72 without AArch32",
        features: FeatureSet::of(CORTEX_A57),
        midr: 0x410f_d083,
        counter_hz: TRADITIONAL_HZ,
        physical_bits: 44,
    },
    Model {
        name: "neoverse-n1",
        summary: "Armv8.2, as Arm's Neoverse N1 without AArch32 and statistical profiling",
        features: FeatureSet::of(NEOVERSE_N1),
        midr: 0x414f_d0c1,
        counter_hz: TRADITIONAL_HZ,
        physical_bits: 48,
    },
];

impl Model {
    /// The model with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// `ID_AA64MMFR0_EL1.PARange`.
    pub(super) fn physical_range(&self) -> u64 {
        match self.physical_bits {
            ..36 => 0,
            36..40 => 1,
            40..42 => 2,
            42..44 => 3,
            44..48 => 4,
            _ => 5,
        }
    }
}
