//! What stands between a board and an operating system: the description of the hardware, the loading of
//! kernels, and the firmware services that a kernel calls.
//!
//! It depends on `emu-core` only and sees descriptors and guest memory, never a device or a vCPU.
//!
//! - [`fdt`]: device trees, written for our boards and read from users' files.
//! - [`load`]: finds out what a kernel file is and unpacks it.
//! - [`boot`]: where everything goes in memory, and how the harts start.
//! - [`sbi`]: the built-in RISC-V supervisor firmware.

pub mod boot;
pub mod fdt;
pub mod load;
pub mod sbi;
#[cfg(test)]
mod testing;
