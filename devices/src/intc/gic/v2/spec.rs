//! Arm Generic Interrupt Controller Architecture version 2.0, IHI 0048B.b: distributor (§4.3), CPU interface (§4.4),
//! virtual interface control (§5.3) and virtual CPU interface (§5.5). Registers are 32 bits wide; besides these the
//! distributor has those of [`super::super::spec`].

/// Bytes of register space of the distributor.
pub const DISTRIBUTOR_SIZE: u64 = 0x1000;
/// Bytes of register space of a CPU interface, physical or virtual.
pub const INTERFACE_SIZE: u64 = 0x2000;
/// Bytes of register space of the virtual interface control.
pub const CONTROL_SIZE: u64 = 0x1000;

/// The distributor's registers.
pub mod gicd {
    /// Forwards groups: bit 0 is Group 0, bit 1 Group 1; for Non-secure accesses bit 0 is Group 1.
    pub const CTLR: u64 = 0x000;
    /// How many interrupts and CPUs there are.
    pub const TYPER: u64 = 0x004;
    /// Implementer.
    pub const IIDR: u64 = 0x008;
    /// Software-generated interrupts; write-only.
    pub const SGIR: u64 = 0xf00;
    /// Clears the CPUs that an SGI is pending from, a byte for each SGI.
    pub const CPENDSGIR: u64 = 0xf10;
    /// Sets them.
    pub const SPENDSGIR: u64 = 0xf20;
    /// The first identification register.
    pub const ID: u64 = 0xfd0;
    /// The identification registers from there on, those of the GIC-400: PIDR4 to 7, PIDR0 to 3, CIDR0 to 3.
    pub const ID_VALUES: [u8; 12] = [4, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
    /// TYPER: there are two Security states.
    pub const TYPER_SECURITY: u32 = 1 << 10;
}

/// IIDR of distributor and CPU interface: Arm, architecture version 2.
pub const IIDR: u32 = 0x0002_043b;

/// The CPU interface's registers, physical and virtual.
pub mod gicc {
    /// Control.
    pub const CTLR: u64 = 0x000;
    /// Priority mask.
    pub const PMR: u64 = 0x004;
    /// Binary point.
    pub const BPR: u64 = 0x008;
    /// Interrupt acknowledge; reading it takes the interrupt.
    pub const IAR: u64 = 0x00c;
    /// End of interrupt; write-only.
    pub const EOIR: u64 = 0x010;
    /// Running priority.
    pub const RPR: u64 = 0x014;
    /// Highest priority pending interrupt.
    pub const HPPIR: u64 = 0x018;
    /// The binary point of Group 1.
    pub const ABPR: u64 = 0x01c;
    /// As IAR, for Group 1.
    pub const AIAR: u64 = 0x020;
    /// As EOIR, for Group 1.
    pub const AEOIR: u64 = 0x024;
    /// As HPPIR, for Group 1.
    pub const AHPPIR: u64 = 0x028;
    /// Active priorities of Group 0 (of all groups, for the virtual interface).
    pub const APR: u64 = 0x0d0;
    /// Active priorities of Group 1.
    pub const NSAPR: u64 = 0x0e0;
    /// Implementer and version.
    pub const IIDR: u64 = 0x0fc;
    /// Deactivate; write-only.
    pub const DIR: u64 = 0x1000;
}

/// Bits of the CPU interface's control register as Secure software sees it, or all software where there is one
/// Security state.
pub mod ctlr {
    /// Signals Group 0.
    pub const ENABLE_0: u32 = 1 << 0;
    /// Signals Group 1.
    pub const ENABLE_1: u32 = 1 << 1;
    /// IAR acknowledges Group 1 too.
    pub const ACK_CTL: u32 = 1 << 2;
    /// Group 0 is signalled as FIQ.
    pub const FIQ: u32 = 1 << 3;
    /// Group 1 has Group 0's binary point.
    pub const COMMON: u32 = 1 << 4;
    /// The end of an interrupt does not deactivate it.
    pub const EOI_MODE: u32 = 1 << 9;
    /// The same for Non-secure software.
    pub const EOI_MODE_NS: u32 = 1 << 10;
    /// As Non-secure software sees it: signals Group 1.
    pub const NS_ENABLE: u32 = 1 << 0;
}

/// The virtual interface control's registers.
pub mod gich {
    /// Control.
    pub const HCR: u64 = 0x000;
    /// What there is.
    pub const VTR: u64 = 0x004;
    /// The state of the virtual CPU interface.
    pub const VMCR: u64 = 0x008;
    /// Why there is a maintenance interrupt.
    pub const MISR: u64 = 0x010;
    /// List registers whose interrupt has ended.
    pub const EISR: u64 = 0x020;
    /// List registers that are free.
    pub const ELRSR: u64 = 0x030;
    /// Active priorities.
    pub const APR: u64 = 0x0f0;
    /// The first list register.
    pub const LR: u64 = 0x100;
    /// VTR: five bits of priority, five of preemption; the number of list registers less one goes below.
    pub const VTR_VALUE: u32 = 4 << 29 | 4 << 26;
}

/// The INTID that says: there is an interrupt, but it is of Group 1.
pub const GROUP_1_PENDING: u32 = 1022;
