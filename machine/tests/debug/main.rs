//! The debugger's server and the traces, on small programs in machine mode.

mod client;
mod gdb;
mod hostile;
mod program;
mod trace;
