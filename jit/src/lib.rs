//! Compilers from the intermediate representation to host code. They know no instruction set.
//!
//! [`Jit`] is an engine like the interpreter: it runs a vCPU. What it runs is made by tier 1, the template compiler, at
//! the first execution of each block, and kept in code memory that all vCPUs of a machine share ([`JitShared`]). Loops that
//! take time are made again by tier 2, which compiles regions of many blocks ([`RegionConfig`]).
//!
//! Translated code comes back to Rust only for what is rare. It goes from block to block by jumps that are patched when they
//! are first taken, where both blocks are in one page of memory; by each vCPU's cache of jump targets elsewhere. Every
//! cycle of jumps looks at the vCPU's attention flags.

mod bulk;
mod cache;
mod engine;
mod faults;
mod frame;
mod helpers;
mod region;
mod shared;
mod stats;
mod stubs;
mod template;
mod warm;

pub use engine::Jit;
pub use region::{Dump, RegionConfig};
pub use shared::{JitConfig, JitShared};
pub use stats::JitStats;
pub use warm::Damaged;
