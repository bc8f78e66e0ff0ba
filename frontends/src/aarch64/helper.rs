//! What lifted code calls at run time: instructions that work on more than registers and memory.
//!
//! The lifter emits `call` operations with these numbers; `Isa::call` runs them. A helper sees the exact program counter
//! of its instruction. A system register or instruction is named by its encoding, [`sysreg`].

use crate::helper::helpers;

/// The encoding of a system register or instruction, as [`Helper::Mrs`] and its like take it: op0 in bits 15:14, op1 in 13:11,
/// CRn in 10:7, CRm in 6:3, op2 in 2:0.
pub const fn sysreg(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

helpers! {
    /// `MRS`: the value of register `a`, for general register `a >> 16`. `b` is how many instructions precede it in its
    /// block.
    Mrs,
    /// `MSR (register)`: writes `b` to register `a`, from general register `a >> 16`. `c` is how many instructions precede it
    /// in its block.
    Msr,
    /// `MSR (immediate)`: writes `b` to the field of PSTATE that `a` names as op1:op2.
    MsrImmediate,
    /// `SYS` instruction `a` on `b`, which is general register `a >> 16`: cache, translation and other maintenance.
    Sys,
    /// `SYSL` instruction `a`; its result, for general register `a >> 16`.
    Sysl,
    /// `ISB`: code written before is visible to instructions fetched after.
    Isb,
    /// `HVC` with immediate `a`.
    Hvc,
    /// `SMC` with immediate `a`.
    Smc,
    /// `ERET`, `ERETAA` and `ERETAB`; the address to go on at. `a` is the authenticated `ELR` if `b` is 1. `c` is how many
    /// instructions precede it in its block.
    Eret,
    /// `WFI`.
    Wfi,
    /// `WFE`.
    Wfe,
    /// `WFE` while the `c` bytes at `a` are `b`.
    WfeWhile,
    /// `SEV`.
    Sev,
    /// `SEVL`.
    Sevl,
    /// `YIELD`.
    Yield,
    /// An instruction begins that software step steps over.
    Step,
    /// Load-exclusive of `b` bytes (1 to 16) at `a`, zero-extended, whose store-exclusive is not in the same block: other
    /// vCPUs stop until then. The low 64 bits of what it has read.
    LoadExclusive,
    /// The high 64 bits of what the last load-exclusive has read.
    LoadExclusiveHigh,
    /// Store-exclusive of value `b`, `c` bytes (1 to 8), at `a`; 0 if it has stored, else 1.
    StoreExclusive,
    /// Store-exclusive of 16 bytes at `a`, low half `b`, high half `c`; 0 if it has stored, else 1.
    StoreExclusivePair,
    /// `CLREX`.
    Clrex,
    /// CRC32 of `c` bytes of `b`, beginning with `a`.
    Crc32,
    /// CRC32C of `c` bytes of `b`, beginning with `a`.
    Crc32c,
    /// Pointer `a` with an authentication code for modifier `b` by key `c` ([`super::pauth::Key`]).
    Pac,
    /// Pointer `a` authenticated for modifier `b` by key `c`: the pointer without its code, or what the model makes of one that
    /// is wrong.
    Aut,
    /// Pointer `a` without its code; `b` is 1 for data pointers.
    Xpac,
    /// The generic code of `a` for modifier `b`.
    Pacga,
    /// A random number, for `RNDR` (`a` = 0) and `RNDRRS` (`a` = 1); it sets the flags.
    Random,
}
