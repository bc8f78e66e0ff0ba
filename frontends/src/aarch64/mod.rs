//! Arm, AArch64 state: the A64 instruction set as tables and lift functions, and the system level.
//!
//! Specification: *Arm Architecture Reference Manual for A-profile architecture*, DDI 0487, issue L.a (cited by section).
//!
//! # What blocks depend on
//!
//! [`Context`] holds all of PSTATE and the system registers that lifting depends on. What is not in there is decided at run
//! time: PAN and UAO by the translation spaces of [`emu_core::ir::View`]s, traps and enables of system instructions by their
//! helpers. `SPSel` decides which stack pointer the slot [`SP`] holds; the others wait in slots of their own.
//!
//! # BTYPE
//!
//! PSTATE.BTYPE is not zero only between an indirect branch and the instruction that it goes to. There it is in bits 1:0 of
//! the program counter, where an address has none: `state.pc` of a vCPU between blocks is the address with BTYPE. So code
//! that is entered by an indirect branch is a block of its own, and only that one checks its landing pad. An exception that
//! the first instruction of such a block raises for another reason saves a BTYPE of zero: it has been checked.

pub mod decode;
pub mod disas;
mod disas_vector;
pub mod features;
pub mod gic;
pub mod helper;
pub mod lift;
pub mod pauth;
pub mod syndrome;

mod bits;
mod call;
mod crc;
mod debug;
mod exception;
mod immediate;
mod isa;
mod mmu;
mod model;
mod pmu;
mod state;
mod sysop;
mod sysreg;
#[cfg(test)]
mod tests;
mod timer;
mod wait;

pub use exception::{enter, is_waking, reset};
pub use mmu::translate_debug;
pub use model::{MODELS, Model};
pub use state::{Aarch64, Conduit, Config, Cpu, Pstate, Wiring};
pub use sysreg::{Reg, sysreg_list, sysreg_name, sysreg_read_debug, sysreg_write_debug};
pub use timer::{Alarm, Timer};

use emu_core::ir::{Class, SlotInfo};

/// Slot of `x0`; 31 of them follow one another. Where an instruction means the zero register there is none.
pub const X: u16 = 0;
/// Slot of the current stack pointer.
pub const SP: u16 = 31;
/// Slot of the condition flags: N in bit 31, Z 30, C 29, V 28, the others zero.
pub const NZCV: u16 = 32;
/// Slot of `SP_EL0`; those of EL1 to EL3 follow. That of the stack pointer in [`SP`] is out of date.
pub const SP_EL: u16 = 33;
/// Slot of `TPIDR_EL0`; those of EL1 to EL3 follow.
pub const TPIDR_EL: u16 = 37;
/// Slot of `TPIDRRO_EL0`.
pub const TPIDRRO: u16 = 41;
/// Slots of the pointer authentication keys, low and high half each: IA, IB, DA, DB, GA.
pub const KEYS: u16 = 42;
/// Slot of `v0`; each of the 32 registers takes two.
pub const V: u16 = 64;

/// How many slots there are besides those of the vector registers.
const PLAIN: usize = 52;

/// The register slots.
pub const SLOTS: &[SlotInfo] = &slots();

const fn slots() -> [SlotInfo; PLAIN + 32] {
    const NAMES: [&str; PLAIN + 32] = [
        "x0",
        "x1",
        "x2",
        "x3",
        "x4",
        "x5",
        "x6",
        "x7",
        "x8",
        "x9",
        "x10",
        "x11",
        "x12",
        "x13",
        "x14",
        "x15",
        "x16",
        "x17",
        "x18",
        "x19",
        "x20",
        "x21",
        "x22",
        "x23",
        "x24",
        "x25",
        "x26",
        "x27",
        "x28",
        "x29",
        "x30",
        "sp",
        "nzcv",
        "sp_el0",
        "sp_el1",
        "sp_el2",
        "sp_el3",
        "tpidr_el0",
        "tpidr_el1",
        "tpidr_el2",
        "tpidr_el3",
        "tpidrro_el0",
        "apia_lo",
        "apia_hi",
        "apib_lo",
        "apib_hi",
        "apda_lo",
        "apda_hi",
        "apdb_lo",
        "apdb_hi",
        "apga_lo",
        "apga_hi",
        "v0",
        "v1",
        "v2",
        "v3",
        "v4",
        "v5",
        "v6",
        "v7",
        "v8",
        "v9",
        "v10",
        "v11",
        "v12",
        "v13",
        "v14",
        "v15",
        "v16",
        "v17",
        "v18",
        "v19",
        "v20",
        "v21",
        "v22",
        "v23",
        "v24",
        "v25",
        "v26",
        "v27",
        "v28",
        "v29",
        "v30",
        "v31",
    ];
    let mut slots = [SlotInfo { name: "", class: Class::Int, index: 0 }; PLAIN + 32];
    let mut i = 0;
    while i < PLAIN + 32 {
        let (class, index) =
            if i < PLAIN { (Class::Int, i) } else { (Class::Vec, V as usize + 2 * (i - PLAIN)) };
        slots[i] = SlotInfo { name: NAMES[i], class, index: index as u16 };
        i += 1;
    }
    slots
}

/// The modes of `FPCR` that lifting depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fpcr {
    /// `RMode`: 0 nearest, 1 up, 2 down, 3 toward zero.
    pub round: u8,
    /// `FZ`: single and double precision subnormals are flushed to zero.
    pub flush: bool,
    /// `FZ16`: those of half precision are.
    pub flush16: bool,
    /// `DN`: every NaN result is the default NaN.
    pub default_nan: bool,
    /// `AHP`: conversions to and from half precision use the alternative format.
    pub alternative_half: bool,
}

impl Fpcr {
    /// The bits of `FPCR` that are implemented: `AHP`, `DN`, `FZ`, `RMode`, `FZ16`.
    pub const MASK: u64 = 1 << 26 | 1 << 25 | 1 << 24 | 3 << 22 | 1 << 19;

    /// The modes that a value of the register means.
    pub const fn from_register(fpcr: u64) -> Self {
        Self {
            round: (fpcr >> 22 & 3) as u8,
            flush: fpcr >> 24 & 1 != 0,
            flush16: fpcr >> 19 & 1 != 0,
            default_nan: fpcr >> 25 & 1 != 0,
            alternative_half: fpcr >> 26 & 1 != 0,
        }
    }
}

/// What lifting depends on besides the code itself: the context bits of a block's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The exception level, 0 to 3.
    pub el: u8,
    /// The stack pointer is that of the exception level, not `SP_EL0`.
    pub sp_sel: bool,
    /// Advanced SIMD and floating point do not trap.
    pub fp_on: bool,
    /// Modes of floating point.
    pub fpcr: Fpcr,
    /// `SCTLR_ELx.A`: data accesses must be aligned.
    pub align: bool,
    /// `SCTLR_ELx.SA` or `SA0`: the stack pointer must be aligned where it is a base.
    pub sp_align: bool,
    /// Keys IA, IB, DA and DB (bits 0 to 3) are enabled in `SCTLR_ELx`.
    pub pauth: u8,
    /// Where pointers have their authentication codes, if they are computed by [`pauth::Algorithm::Fast`] and the place is
    /// usual: see [`pauth::usual_layouts`]. Else zero.
    pub pointers: u8,
    /// Pointer authentication traps to EL2 or EL3.
    pub pauth_trap: bool,
    /// PSTATE.IL: every instruction raises an illegal execution state exception.
    pub illegal: bool,
    /// Software step: 0 inactive, 1 active and not pending, 2 active and pending (D2.12 "Software Step exceptions").
    pub step: u8,
    /// `SCTLR_ELx.BT`: `PACIASP` and `PACIBSP` do not let jumps land, only calls.
    pub bt: bool,
    /// The block's page is guarded: indirect branches may only go to landing pads. This depends on the page, not on the
    /// processor ([`Context::GUARDED`]).
    pub guarded: bool,
    /// `DC ZVA` neither traps nor is prohibited.
    pub zva: bool,
    /// Memory copy and memory set are enabled.
    pub mops: bool,
}

impl Context {
    /// The bit of [`Context::guarded`].
    pub const GUARDED: u32 = 1 << 20;

    /// Packs it into [`emu_core::ir::BlockKey::ctx`].
    pub const fn bits(self) -> u32 {
        let f = self.fpcr;
        (self.el & 3) as u32
            | (self.fp_on as u32) << 2
            | ((f.round & 3) as u32) << 3
            | (f.flush as u32) << 5
            | (f.flush16 as u32) << 6
            | (f.default_nan as u32) << 7
            | (f.alternative_half as u32) << 8
            | (self.align as u32) << 9
            | (self.sp_align as u32) << 10
            | ((self.pauth & 15) as u32) << 11
            | (self.pauth_trap as u32) << 15
            | (self.illegal as u32) << 16
            | ((self.step & 3) as u32) << 17
            | (self.bt as u32) << 19
            | if self.guarded { Self::GUARDED } else { 0 }
            | (self.sp_sel as u32) << 21
            | (self.zva as u32) << 22
            | ((self.pointers & 31) as u32) << 23
            | (self.mops as u32) << 28
    }

    /// Unpacks it.
    pub const fn from_bits(bits: u32) -> Self {
        const fn bit(bits: u32, n: u32) -> bool {
            bits >> n & 1 != 0
        }
        Self {
            el: (bits & 3) as u8,
            fp_on: bit(bits, 2),
            fpcr: Fpcr {
                round: (bits >> 3 & 3) as u8,
                flush: bit(bits, 5),
                flush16: bit(bits, 6),
                default_nan: bit(bits, 7),
                alternative_half: bit(bits, 8),
            },
            align: bit(bits, 9),
            sp_align: bit(bits, 10),
            pauth: (bits >> 11 & 15) as u8,
            pauth_trap: bit(bits, 15),
            illegal: bit(bits, 16),
            step: (bits >> 17 & 3) as u8,
            bt: bit(bits, 19),
            guarded: bits & Self::GUARDED != 0,
            sp_sel: bit(bits, 21),
            zva: bit(bits, 22),
            pointers: (bits >> 23 & 31) as u8,
            mops: bit(bits, 28),
        }
    }
}
