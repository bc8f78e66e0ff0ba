//! What helps to find out what a guest does: a server for debuggers, and traces. `docs/debugging.md` is its manual.

pub mod gate;
pub mod gdb;
pub mod trace;
