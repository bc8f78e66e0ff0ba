//! What lifted code calls at run time: instructions that work on more than registers and memory.
//!
//! The lifter emits `call` operations with these numbers; `Isa::call` runs them. A helper sees the exact program counter
//! of its instruction.

use crate::helper::helpers;

helpers! {
    /// Reads CSR `a`. `b` is the instruction's bits, for the trap value if it is illegal; so it is in all CSR helpers.
    CsrRead,
    /// Writes `c` to CSR `a` without reading it.
    CsrWrite,
    /// Writes `c` to CSR `a`; the old value.
    CsrSwap,
    /// Sets the bits `c` in CSR `a`; the old value.
    CsrSet,
    /// Clears the bits `c` in CSR `a`; the old value.
    CsrClear,
    /// `ECALL`: raises the exception, or asks for the built-in firmware.
    Ecall,
    /// `MRET`; the address to go on at. `a` is the instruction's bits, `b` how many instructions precede it in its block.
    Mret,
    /// `SRET`; the address to go on at. `a` is the instruction's bits, `b` how many instructions precede it in its block.
    Sret,
    /// `WFI`. `a` is the instruction's bits.
    Wfi,
    /// `WRS.NTO` and `WRS.STO`.
    Wrs,
    /// `PAUSE`.
    Pause,
    /// `SFENCE.VMA` and `SINVAL.VMA` of address `a` and address space `b`. Bits of `c`: 0 an address is given, 1 an address
    /// space is given; the instruction's bits are in its upper half.
    SfenceVma,
    /// `SFENCE.W.INVAL` and `SFENCE.INVAL.IR`. `a` is the instruction's bits.
    SfenceInval,
    /// `FENCE.I`.
    FenceI,
    /// `CBO.INVAL`, `CBO.CLEAN`, `CBO.FLUSH`, `CBO.ZERO` (`b` = 0, 1, 2, 4) of the block at address `a`. `c` is the
    /// instruction's bits.
    Cbo,
    /// Load-reserved of `b` bytes at `a`, sign-extended, where the store-conditional is not in the same block: other harts
    /// stop until then.
    LoadReserved,
    /// Store-conditional of value `b`, `c` bytes, at `a`; 0 if it has stored, else 1.
    StoreConditional,
    /// Sets `mstatus.FS` to Dirty.
    FpDirty,
    /// Waits for a bounded time while the `c` bytes at `a` are `b`, their value as a load-reserved gives it.
    WaitWhile,
}
