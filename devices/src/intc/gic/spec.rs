//! The part of the register map that the distributor of a GICv2 (IHI 0048B, §4.3), that of a GICv3 and the SGI frame of
//! a GICv3 redistributor (IHI 0069H, §12.9 and §12.11) have in common: for each interrupt a bit in some registers, a
//! byte or two bits in others. All are 32-bit registers; those of bytes can be accessed by bytes too.

/// Groups: GICD_IGROUPR, GICR_IGROUPR0.
pub const IGROUPR: u64 = 0x080;
/// Set-enable.
pub const ISENABLER: u64 = 0x100;
/// Clear-enable.
pub const ICENABLER: u64 = 0x180;
/// Set-pending.
pub const ISPENDR: u64 = 0x200;
/// Clear-pending.
pub const ICPENDR: u64 = 0x280;
/// Set-active.
pub const ISACTIVER: u64 = 0x300;
/// Clear-active.
pub const ICACTIVER: u64 = 0x380;
/// Priorities, a byte each.
pub const IPRIORITYR: u64 = 0x400;
/// The CPUs that an interrupt is for, a byte each; GICv2 only.
pub const ITARGETSR: u64 = 0x800;
/// Configurations, two bits each: the upper one is set for edge-triggered interrupts.
pub const ICFGR: u64 = 0xc00;
/// Group modifiers; GICv3 only.
pub const IGRPMODR: u64 = 0xd00;
/// Non-secure access control, two bits each; not implemented, so that Non-secure software has none.
pub const NSACR: u64 = 0xe00;

/// What registers of one bit for each interrupt hold or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bit {
    /// IGROUPR
    Group,
    /// ISENABLER
    SetEnable,
    /// ICENABLER
    ClearEnable,
    /// ISPENDR
    SetPending,
    /// ICPENDR
    ClearPending,
    /// ISACTIVER
    SetActive,
    /// ICACTIVER
    ClearActive,
    /// IGRPMODR
    GroupModifier,
}

/// A register of this part of the map, with the number of the word, or of the INTID that its first byte is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// One bit for each of 32 interrupts.
    Bits(Bit, usize),
    /// A byte for each interrupt: IPRIORITYR.
    Priority(usize),
    /// A byte for each interrupt: ITARGETSR.
    Targets(usize),
    /// Two bits for each of 16 interrupts: ICFGR.
    Config(usize),
}

impl Register {
    /// The register at `offset`; none where the map has others.
    pub fn at(offset: u64) -> Option<Self> {
        const BITS: [(u64, Bit); 8] = [
            (IGROUPR, Bit::Group),
            (ISENABLER, Bit::SetEnable),
            (ICENABLER, Bit::ClearEnable),
            (ISPENDR, Bit::SetPending),
            (ICPENDR, Bit::ClearPending),
            (ISACTIVER, Bit::SetActive),
            (ICACTIVER, Bit::ClearActive),
            (IGRPMODR, Bit::GroupModifier),
        ];
        Some(match offset {
            IGROUPR..IPRIORITYR | IGRPMODR..NSACR => {
                let (base, bit) = BITS.into_iter().rev().find(|(base, _)| *base <= offset)?;
                Self::Bits(bit, ((offset - base) / 4) as usize)
            }
            IPRIORITYR..ITARGETSR => Self::Priority((offset - IPRIORITYR) as usize),
            ITARGETSR..ICFGR => Self::Targets((offset - ITARGETSR) as usize),
            ICFGR..IGRPMODR => Self::Config(((offset - ICFGR) / 4) as usize),
            _ => return None,
        })
    }
}
