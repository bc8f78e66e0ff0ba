//! Exceptions as the engine carries them, and the syndromes that they report.
//!
//! [`emu_core::exec::Exception::cause`] of a synchronous exception is its syndrome (`ESR_ELx`, without what only the target
//! exception level tells: classes that come in pairs are those "from a lower Exception level"), with the exception level that
//! it is routed to in bits 33 and 32, if a rule says so that does not hold for all of its class. `value` is the faulting
//! address (`FAR_ELx`), `extra` the intermediate physical address of a stage 2 fault. Interrupts have causes of their own
//! ([`INTERRUPT`]).

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
    /// A memory copy or memory set that is not in the state that it must be in.
    pub const MEMORY_OPERATION: u32 = 0x27;
    /// SError interrupt.
    pub const SERROR: u32 = 0x2f;
    /// Breakpoint from a lower exception level; from the same one it is one more.
    pub const BREAKPOINT: u32 = 0x30;
    /// Software step from a lower exception level; from the same one it is one more.
    pub const STEP: u32 = 0x32;
    /// Watchpoint from a lower exception level; from the same one it is one more.
    pub const WATCHPOINT: u32 = 0x34;
    /// `BRK`.
    pub const BRK: u32 = 0x3c;
}

/// The instruction has 32 bits.
pub const IL: u32 = 1 << 25;
/// Data aborts: the access was a write.
pub const WNR: u32 = 1 << 6;
/// Aborts: the fault is one of stage 2, on a walk of stage 1.
pub const S1PTW: u32 = 1 << 7;
/// Data aborts: the access is cache maintenance or address translation.
pub const CM: u32 = 1 << 8;
/// Data aborts: what follows it about the instruction is valid.
pub const ISV: u32 = 1 << 24;
/// Fault status: an alignment fault.
pub const ALIGNMENT_FAULT: u32 = 0x21;
/// Fault status: a synchronous external abort.
pub const EXTERNAL_ABORT: u32 = 0x10;
/// Fault status: a debug exception.
pub const DEBUG_EXCEPTION: u32 = 0x22;
/// Where there is a condition in the syndrome: it is valid, and "always".
pub const CONDITION: u32 = 1 << 24 | 0xe << 20;

/// The bits of a cause that are the syndrome.
pub const SYNDROME: u64 = 0xffff_ffff;
/// Where the exception level is that an exception is routed to; zero if that follows from its class.
const TARGET_SHIFT: u32 = 32;

/// The cause of an interrupt. Its kind is in the bits below.
pub const INTERRUPT: u64 = 1 << 40;

/// A kind of interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Interrupt {
    /// A physical FIQ.
    Fiq,
    /// A physical IRQ.
    Irq,
    /// A virtual SError.
    VirtualSError,
    /// A virtual FIQ.
    VirtualFiq,
    /// A virtual IRQ.
    VirtualIrq,
}

impl Interrupt {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Fiq, Self::Irq, Self::VirtualSError, Self::VirtualFiq, Self::VirtualIrq];

    /// The cause of this interrupt, taken to exception level `el`.
    pub const fn cause(self, el: u8) -> u64 {
        INTERRUPT | (el as u64) << TARGET_SHIFT | self as u64
    }

    /// The interrupt with this cause, if it is one.
    pub fn from_cause(cause: u64) -> Option<Self> {
        Self::ALL.get((cause & 0xff) as usize).copied().filter(|_| cause & INTERRUPT != 0)
    }
}

/// The cause of an exception of `class` by an instruction, with instruction-specific syndrome `iss` (25 bits).
pub const fn syndrome(class: u32, iss: u32) -> u32 {
    class << 26 | IL | iss & 0x1ff_ffff
}

/// The exception class of a synchronous cause.
pub const fn class_of(cause: u64) -> u32 {
    (cause >> 26) as u32 & 0x3f
}

/// The cause of an exception with this syndrome that is routed to exception level 2 or 3; any other is no rule.
pub const fn target(syndrome: u32, el: u8) -> u64 {
    syndrome as u64 | if el >= 2 { (el as u64 & 3) << TARGET_SHIFT } else { 0 }
}

/// The exception level that a cause is routed to by a rule of its own.
pub const fn target_of(cause: u64) -> Option<u8> {
    match (cause >> TARGET_SHIFT & 3) as u8 {
        0 => None,
        el => Some(el),
    }
}

/// The cause of undefined instructions.
pub const UNDEFINED: u32 = syndrome(class::UNKNOWN, 0);
