//! Exceptions as the engine carries them, and the syndromes that they report.
//!
//! [`emu_core::exec::Exception::cause`] of a synchronous exception is its syndrome (`ESR_ELx`, without what only the target
//! exception level tells: abort classes are those "from a lower Exception level"), `value` the faulting address (`FAR_ELx`),
//! `extra` the intermediate physical address of a stage 2 fault. Interrupts have causes above the syndrome's bits.

/// Exception classes, `ESR_ELx.EC` (DDI 0487, D24.2.40 "ESR_EL1").
pub mod class {
    /// Unknown reason: undefined instructions.
    pub const UNKNOWN: u32 = 0x00;
    /// Trapped `WFI` or `WFE`.
    pub const WFX: u32 = 0x01;
    /// Trapped access to Advanced SIMD or floating point.
    pub const FP_ACCESS: u32 = 0x07;
    /// Trapped pointer authentication.
    pub const PAUTH: u32 = 0x09;
    /// Branch target exception.
    pub const BRANCH_TARGET: u32 = 0x0d;
    /// Illegal execution state.
    pub const ILLEGAL_STATE: u32 = 0x0e;
    /// `SVC`.
    pub const SVC: u32 = 0x15;
    /// `HVC`.
    pub const HVC: u32 = 0x16;
    /// `SMC`.
    pub const SMC: u32 = 0x17;
    /// Trapped `MSR`, `MRS` or system instruction.
    pub const SYSTEM: u32 = 0x18;
    /// Instruction abort from a lower exception level; from the same one it is one more.
    pub const INSTRUCTION_ABORT: u32 = 0x20;
    /// PC alignment fault.
    pub const PC_ALIGNMENT: u32 = 0x22;
    /// Data abort from a lower exception level; from the same one it is one more.
    pub const DATA_ABORT: u32 = 0x24;
    /// SP alignment fault.
    pub const SP_ALIGNMENT: u32 = 0x26;
    /// `BRK`.
    pub const BRK: u32 = 0x3c;
}

/// The instruction has 32 bits.
pub const IL: u32 = 1 << 25;
/// Data aborts: the access was a write.
pub const WNR: u32 = 1 << 6;
/// Fault status: an alignment fault.
pub const ALIGNMENT_FAULT: u32 = 0x21;
/// Fault status: a synchronous external abort.
pub const EXTERNAL_ABORT: u32 = 0x10;

/// The cause of an exception of `class` by an instruction, with instruction-specific syndrome `iss` (25 bits).
pub const fn syndrome(class: u32, iss: u32) -> u32 {
    class << 26 | IL | iss & 0x1ff_ffff
}

/// The cause of undefined instructions.
pub const UNDEFINED: u32 = syndrome(class::UNKNOWN, 0);
