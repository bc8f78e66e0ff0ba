//! The ISA-neutral heart of ferry: the intermediate representation and its interpreter, guest memory and address
//! translation, the run loop, the cross-vCPU protocol, and the traits that devices implement.
//!
//! It depends on no other crate of this workspace and names no instruction set. Start with [`ir`] for what guest
//! code is turned into, [`exec`] for how it runs, [`mem`] for what it may reach, [`device`] for the world outside.

pub mod device;
pub mod exec;
pub mod fp;
pub mod interp;
pub mod ir;
pub mod mem;
pub mod sync;
pub mod testing;
pub mod time;
