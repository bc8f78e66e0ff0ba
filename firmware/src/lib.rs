//! What stands between a board and an operating system: the description of the hardware, the loading of
//! kernels, and the firmware services that a kernel calls.
//!
//! It depends on `emu-core` only and sees descriptors and guest memory, never a device or a vCPU.
//!
//! - [`fdt`]: device trees, written for our boards and read from users' files.
//! - [`load`]: finds out what a kernel file is and unpacks it.
//! - [`boot`]: where everything goes in memory, and how the harts start.
//! - [`sbi`]: the built-in RISC-V supervisor firmware.
//! - [`smccc`]: the built-in Arm firmware, PSCI first of all.

pub mod boot;
pub mod fdt;
mod lifecycle;
pub mod load;
pub mod sbi;
pub mod smccc;
#[cfg(test)]
mod testing;
