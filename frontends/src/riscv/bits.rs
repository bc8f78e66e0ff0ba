//! Bits and fields of control and status registers, with the names of the specification.

/// `mstatus` and `sstatus` (Priv., "Machine Status (mstatus and mstatush) Registers").
pub mod mstatus {
    /// Interrupts of S-mode are enabled in S-mode.
    pub const SIE: u64 = 1 << 1;
    /// Interrupts of M-mode are enabled in M-mode.
    pub const MIE: u64 = 1 << 3;
    /// `SIE` before the last trap into S-mode.
    pub const SPIE: u64 = 1 << 5;
    /// `MIE` before the last trap into M-mode.
    pub const MPIE: u64 = 1 << 7;
    /// The last trap into S-mode came from S-mode.
    pub const SPP: u64 = 1 << 8;
    /// The mode that the last trap into M-mode came from; two bits from [`MPP_SHIFT`].
    pub const MPP: u64 = 3 << MPP_SHIFT;
    /// Position of `MPP`.
    pub const MPP_SHIFT: u32 = 11;
    /// State of the floating-point unit: 0 off, 1 initial, 2 clean, 3 dirty.
    pub const FS: u64 = 3 << FS_SHIFT;
    /// Position of `FS`.
    pub const FS_SHIFT: u32 = 13;
    /// Data accesses in M-mode use the rights of `MPP`.
    pub const MPRV: u64 = 1 << 17;
    /// S-mode may access user pages.
    pub const SUM: u64 = 1 << 18;
    /// Executable pages are readable.
    pub const MXR: u64 = 1 << 19;
    /// `satp` and `SFENCE.VMA` trap in S-mode.
    pub const TVM: u64 = 1 << 20;
    /// `WFI` traps below M-mode.
    pub const TW: u64 = 1 << 21;
    /// `SRET` traps in S-mode.
    pub const TSR: u64 = 1 << 22;
    /// U-mode is 64-bit; read-only.
    pub const UXL_64: u64 = 2 << 32;
    /// S-mode is 64-bit; read-only.
    pub const SXL_64: u64 = 2 << 34;
    /// Some state is dirty; read-only.
    pub const SD: u64 = 1 << 63;
}

/// `mip` and `mie`; a bit's position is the interrupt's code.
pub mod mip {
    /// Supervisor software interrupt.
    pub const SSIP: u64 = 1 << 1;
    /// Machine software interrupt.
    pub const MSIP: u64 = 1 << 3;
    /// Supervisor timer interrupt.
    pub const STIP: u64 = 1 << 5;
    /// Machine timer interrupt.
    pub const MTIP: u64 = 1 << 7;
    /// Supervisor external interrupt.
    pub const SEIP: u64 = 1 << 9;
    /// Machine external interrupt.
    pub const MEIP: u64 = 1 << 11;
    /// Local counter-overflow interrupt.
    pub const LCOFIP: u64 = 1 << 13;
}

/// `menvcfg` and `senvcfg`.
pub mod envcfg {
    /// Fences of I/O imply memory.
    pub const FIOM: u64 = 1 << 0;
    /// What `CBO.INVAL` does below: 0 traps, 1 flushes, 3 invalidates.
    pub const CBIE: u64 = 3 << 4;
    /// `CBO.CLEAN` and `CBO.FLUSH` are allowed below.
    pub const CBCFE: u64 = 1 << 6;
    /// `CBO.ZERO` is allowed below.
    pub const CBZE: u64 = 1 << 7;
    /// The hart updates A and D bits.
    pub const ADUE: u64 = 1 << 61;
    /// Svpbmt is enabled.
    pub const PBMTE: u64 = 1 << 62;
    /// `stimecmp` is enabled.
    pub const STCE: u64 = 1 << 63;
}

/// `mseccfg` (Smepmp).
pub mod mseccfg {
    /// Machine-mode lockdown.
    pub const MML: u64 = 1;
    /// Machine-mode allow-list policy.
    pub const MMWP: u64 = 2;
    /// Rule-locking bypass.
    pub const RLB: u64 = 4;
}

/// Exception codes of `mcause` and `scause`.
pub mod cause {
    /// Set in the cause of interrupts.
    pub const INTERRUPT: u64 = 1 << 63;
    /// Instruction address misaligned.
    pub const FETCH_MISALIGNED: u64 = 0;
    /// Instruction access fault.
    pub const FETCH_ACCESS: u64 = 1;
    /// Illegal instruction.
    pub const ILLEGAL: u64 = 2;
    /// Breakpoint.
    pub const BREAKPOINT: u64 = 3;
    /// Load address misaligned.
    pub const LOAD_MISALIGNED: u64 = 4;
    /// Load access fault.
    pub const LOAD_ACCESS: u64 = 5;
    /// Store or AMO address misaligned.
    pub const STORE_MISALIGNED: u64 = 6;
    /// Store or AMO access fault.
    pub const STORE_ACCESS: u64 = 7;
    /// Environment call from U-mode; from S-mode it is one more, from M-mode three more.
    pub const ECALL: u64 = 8;
    /// Instruction page fault.
    pub const FETCH_PAGE: u64 = 12;
    /// Load page fault.
    pub const LOAD_PAGE: u64 = 13;
    /// Store or AMO page fault.
    pub const STORE_PAGE: u64 = 15;
}
