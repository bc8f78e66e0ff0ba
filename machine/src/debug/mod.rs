//! What helps to find out what a guest does: a server for debuggers, and traces. `docs/debugging.md` is its manual.

mod aarch64;
pub mod gate;
pub mod gdb;
pub mod inspect;
mod riscv;
pub mod trace;
