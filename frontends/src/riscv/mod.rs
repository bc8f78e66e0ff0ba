//! RISC-V, 64 bits: the unprivileged ISA as tables and lift functions, and the privileged architecture.
//!
//! Specifications: *The RISC-V Instruction Set Manual*, Volumes I and II, version 20250508 (cited as "Unpriv." and
//! "Priv." with the section's title).

pub mod bits;
pub mod counters;
pub mod decode;
pub mod disas;
pub mod ext;
pub mod helper;
pub mod lift;
pub mod pmp;

mod boot;
mod call;
mod csr;
mod isa;
mod mmu;
mod model;
mod state;
#[cfg(test)]
mod tests;
mod trap;

pub use boot::enter_supervisor;
pub use call::CACHE_BLOCK;
pub use csr::{csr_list, csr_name, csr_read_debug, csr_write_debug};
pub use mmu::translate_debug;
pub use model::{MODELS, Model, Paging};
pub use state::{Config, Csrs, Hart, HartTimer, Riscv, reset};
pub use trap::{PINS, privilege_write_debug};

use emu_core::ir::{Class, SlotInfo};

/// Slot of `x0`, which is never written: the lifter turns reads of it into the constant zero.
pub const X: u16 = 0;
/// Slot of `f0`.
pub const F: u16 = 32;

/// The register slots: `x0` to `x31`, then `f0` to `f31` (each in 64 bits, narrow values NaN-boxed).
pub const SLOTS: &[SlotInfo] = &slots();

const fn slots() -> [SlotInfo; 64] {
    const NAMES: [&str; 64] = [
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
        "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
        "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3",
        "fa4", "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11",
        "ft8", "ft9", "ft10", "ft11",
    ];
    let mut slots = [SlotInfo { name: "", class: Class::Int, index: 0 }; 64];
    let mut i = 0;
    while i < 64 {
        let class = if i < 32 { Class::Int } else { Class::Float };
        slots[i] = SlotInfo { name: NAMES[i], class, index: i as u16 };
        i += 1;
    }
    slots
}

/// A privilege mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Privilege {
    /// U
    User = 0,
    /// S
    Supervisor = 1,
    /// M
    Machine = 3,
}

/// What lifting depends on besides the code itself: the context bits of a block's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The privilege mode.
    pub privilege: Privilege,
    /// `mstatus.FS` is not Off: floating-point instructions are legal.
    pub fp_on: bool,
    /// `mstatus.FS` is Dirty. Where it is on but not dirty, the first floating-point instruction that changes state calls
    /// [`helper::Helper::FpDirty`] and ends the block after itself with a `lookup`.
    pub fp_dirty: bool,
    /// `frm`: the dynamic rounding mode; values from 5 make instructions that use it illegal.
    pub frm: u8,
    /// `cbo.zero` is allowed; else a helper says so.
    pub zero: bool,
}

impl Context {
    /// Packs it into [`emu_core::ir::BlockKey::ctx`].
    pub const fn bits(self) -> u32 {
        self.privilege as u32
            | (self.fp_on as u32) << 2
            | (self.fp_dirty as u32) << 3
            | ((self.frm & 7) as u32) << 4
            | (self.zero as u32) << 7
    }

    /// Unpacks it.
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            privilege: match bits & 3 {
                0 => Privilege::User,
                1 => Privilege::Supervisor,
                _ => Privilege::Machine,
            },
            fp_on: bits & 4 != 0,
            fp_dirty: bits & 8 != 0,
            frm: (bits >> 4 & 7) as u8,
            zero: bits >> 7 & 1 != 0,
        }
    }
}
