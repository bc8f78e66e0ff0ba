//! Arm Generic Interrupt Controller Architecture Specification, GIC architecture version 3 and version 4, IHI 0069H:
//! distributor (§12.9), redistributors (§12.11), and the system registers of the CPU interface (§12.2 to §12.5).
//! Distributor and SGI frames also have the registers of [`super::super::spec`].

/// Bytes of register space of the distributor.
pub const DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Bytes of register space of one CPU's redistributor: two frames.
pub const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// Where the frame of SGIs and PPIs begins in it.
pub const SGI_FRAME: u64 = 0x1_0000;

/// The first identification register of a frame, and its value for the parts of a GIC: PIDR4 to 7, PIDR0 to 3, CIDR0
/// to 3.
pub const ID: u64 = 0xffd0;
/// The identification registers from [`ID`] on; `part` is the low byte of the part number.
pub const fn id_values(part: u8) -> [u8; 12] {
    [0x44, 0, 0, 0, part, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]
}
/// Part numbers: distributor, redistributor, ITS.
pub const PARTS: [u8; 3] = [0x92, 0x93, 0x94];
/// IIDR of distributor, redistributors and ITS: Arm.
pub const IIDR: u32 = 0x0000_043b;

/// The distributor's registers.
pub mod gicd {
    /// Control.
    pub const CTLR: u64 = 0x0000;
    /// What there is.
    pub const TYPER: u64 = 0x0004;
    /// Implementer.
    pub const IIDR: u64 = 0x0008;
    /// The affinity that a shared interrupt is for, 64 bits for each INTID.
    pub const IROUTER: u64 = 0x6000;
    /// Behind the last of them.
    pub const IROUTER_END: u64 = IROUTER + 8 * 1020;

    /// CTLR: forwards Group 0.
    pub const ENABLE_0: u32 = 1 << 0;
    /// CTLR: forwards Non-secure Group 1, or Group 1.
    pub const ENABLE_1: u32 = 1 << 1;
    /// CTLR: forwards Secure Group 1.
    pub const ENABLE_1S: u32 = 1 << 2;
    /// CTLR: affinity routing, which is always on (in Non-secure state or with one state; in Secure state).
    pub const ARE: u32 = 1 << 4;
    /// CTLR, as Secure software sees it where there are two Security states: the same for Non-secure state.
    pub const ARE_NS: u32 = 1 << 5;
    /// CTLR: there is one Security state; once set it stays.
    pub const DS: u32 = 1 << 6;

    /// TYPER: two Security states.
    pub const TYPER_SECURITY: u32 = 1 << 10;
    /// TYPER: LPIs.
    pub const TYPER_LPIS: u32 = 1 << 17;
    /// TYPER: where the number of INTID bits, less one, begins.
    pub const TYPER_ID_BITS_SHIFT: u32 = 19;
    /// TYPER: no interrupts for one of several CPUs.
    pub const TYPER_NO_1_OF_N: u32 = 1 << 25;
}

/// A redistributor's registers.
pub mod gicr {
    /// Control.
    pub const CTLR: u64 = 0x0000;
    /// Implementer.
    pub const IIDR: u64 = 0x0004;
    /// Which CPU it is for; 64 bits.
    pub const TYPER: u64 = 0x0008;
    /// Power management.
    pub const WAKER: u64 = 0x0014;
    /// The table of LPI configurations; 64 bits.
    pub const PROPBASER: u64 = 0x0070;
    /// The table of pending LPIs; 64 bits.
    pub const PENDBASER: u64 = 0x0078;

    /// CTLR: LPIs are enabled.
    pub const ENABLE_LPIS: u32 = 1 << 0;
    /// CTLR: they can be disabled again.
    pub const CES: u32 = 1 << 1;
    /// WAKER: the CPU sleeps; interrupts are not forwarded.
    pub const PROCESSOR_SLEEP: u32 = 1 << 1;
    /// WAKER: the interface to the CPU sleeps.
    pub const CHILDREN_ASLEEP: u32 = 1 << 2;
    /// TYPER: physical LPIs.
    pub const TYPER_PLPIS: u64 = 1 << 0;
    /// TYPER: the last redistributor in a row.
    pub const TYPER_LAST: u64 = 1 << 4;
}

/// Registers of the CPU interface, physical and virtual.
pub mod icc {
    use super::encoding;

    /// Priority mask.
    pub const PMR: u16 = encoding(0, 4, 6, 0);
    /// Acknowledges Group 0.
    pub const IAR0: u16 = encoding(0, 12, 8, 0);
    /// End of an interrupt of Group 0.
    pub const EOIR0: u16 = encoding(0, 12, 8, 1);
    /// The highest pending interrupt, if it is of Group 0.
    pub const HPPIR0: u16 = encoding(0, 12, 8, 2);
    /// Binary point of Group 0.
    pub const BPR0: u16 = encoding(0, 12, 8, 3);
    /// Active priorities of Group 0.
    pub const AP0R0: u16 = encoding(0, 12, 8, 4);
    /// Active priorities of Group 1.
    pub const AP1R0: u16 = encoding(0, 12, 9, 0);
    /// Deactivates an interrupt.
    pub const DIR: u16 = encoding(0, 12, 11, 1);
    /// Running priority.
    pub const RPR: u16 = encoding(0, 12, 11, 3);
    /// Sends SGIs of Group 1.
    pub const SGI1R: u16 = encoding(0, 12, 11, 5);
    /// Sends SGIs of the other Security state's Group 1.
    pub const ASGI1R: u16 = encoding(0, 12, 11, 6);
    /// Sends SGIs of Group 0.
    pub const SGI0R: u16 = encoding(0, 12, 11, 7);
    /// Acknowledges Group 1.
    pub const IAR1: u16 = encoding(0, 12, 12, 0);
    /// End of an interrupt of Group 1.
    pub const EOIR1: u16 = encoding(0, 12, 12, 1);
    /// The highest pending interrupt, if it is of Group 1.
    pub const HPPIR1: u16 = encoding(0, 12, 12, 2);
    /// Binary point of Group 1.
    pub const BPR1: u16 = encoding(0, 12, 12, 3);
    /// Control.
    pub const CTLR: u16 = encoding(0, 12, 12, 4);
    /// System register enable, at EL1.
    pub const SRE: u16 = encoding(0, 12, 12, 5);
    /// Enables Group 0.
    pub const IGRPEN0: u16 = encoding(0, 12, 12, 6);
    /// Enables Group 1.
    pub const IGRPEN1: u16 = encoding(0, 12, 12, 7);
    /// System register enable, at EL2.
    pub const SRE_EL2: u16 = encoding(4, 12, 9, 5);
    /// Control, at EL3.
    pub const CTLR_EL3: u16 = encoding(6, 12, 12, 4);
    /// System register enable, at EL3.
    pub const SRE_EL3: u16 = encoding(6, 12, 12, 5);
    /// Enables both Group 1s.
    pub const IGRPEN1_EL3: u16 = encoding(6, 12, 12, 7);
}

/// Registers of the virtual interface's control.
pub mod ich {
    use super::encoding;

    /// Active priorities of Group 0.
    pub const AP0R0: u16 = encoding(4, 12, 8, 0);
    /// Active priorities of Group 1.
    pub const AP1R0: u16 = encoding(4, 12, 9, 0);
    /// Control.
    pub const HCR: u16 = encoding(4, 12, 11, 0);
    /// What there is.
    pub const VTR: u16 = encoding(4, 12, 11, 1);
    /// Why there is a maintenance interrupt.
    pub const MISR: u16 = encoding(4, 12, 11, 2);
    /// List registers whose interrupt has ended.
    pub const EISR: u16 = encoding(4, 12, 11, 3);
    /// List registers that are free.
    pub const ELRSR: u16 = encoding(4, 12, 11, 5);
    /// The state of the virtual interface.
    pub const VMCR: u16 = encoding(4, 12, 11, 7);
    /// The first list register; the others follow.
    pub const LR0: u16 = encoding(4, 12, 12, 0);
    /// VTR: five bits of priority, five of preemption, 16 of INTIDs, no GICv4, affinity 3; the number of list
    /// registers less one goes below.
    pub const VTR_VALUE: u64 = 4 << 29 | 4 << 26 | 1 << 21 | 1 << 20 | 1 << 19;
}

/// ICC_CTLR_EL1, and ICC_CTLR_EL3 where its bits are the same.
pub mod ctlr {
    /// Group 1 has Group 0's binary point.
    pub const COMMON: u64 = 1 << 0;
    /// The end of an interrupt does not deactivate it.
    pub const EOI_MODE: u64 = 1 << 1;
    /// Five bits of priority, 16 of INTIDs, affinity 3.
    pub const FIXED: u64 = 4 << 8 | 1 << 15;
    /// EL3: the common binary point of Non-secure state; that of Secure state is [`COMMON`].
    pub const EL3_COMMON_NS: u64 = 1 << 1;
    /// EL3: the split of the end at EL3, in Secure state, in Non-secure state.
    pub const EL3_EOI_MODES: [u64; 3] = [1 << 2, 1 << 3, 1 << 4];
    /// EL3: there is one Security state for good.
    pub const EL3_NDS: u64 = 1 << 17;
}

/// ICC_SRE: the system registers are all that there is, and lower exception levels may see that.
pub const SRE: u64 = 0b111;
/// The same at EL2 and EL3.
pub const SRE_ENABLE: u64 = 1 << 3;

/// INTID at EL3: there is an interrupt of Secure Group 1.
pub const SECURE_PENDING: u32 = 1020;
/// INTID at EL3: there is an interrupt of Non-secure Group 1.
pub const NONSECURE_PENDING: u32 = 1021;

/// The number of a system register with op0 = 3: bits 20 to 5 of the instructions that access it (Arm ARM, C5.2).
pub const fn encoding(op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    3 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}
