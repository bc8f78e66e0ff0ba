//! Guest instruction sets: decode tables, lifting to IR, and the privileged architecture of each.
//!
//! It depends on `emu-core` alone. Each module holds one instruction set; start with its `mod.rs`, then the tables
//! (`*.dec`), then `lift`.

pub mod aarch64;
pub mod decode;
pub mod riscv;

mod exclusive;
mod helper;
mod lift;
mod spin;
mod tally;
