//! Machines: boards assembled from devices, the threads that run their vCPUs, and what a user does with them.
//!
//! It may use every other crate of the workspace but `cli`. Start with [`MachineConfig`], then [`boards`] for what a
//! machine is made of and [`hart`] for how it runs.

pub mod boards;
mod config;
mod error;
mod hart;
mod power;

pub use config::{Accel, Arch, Console, DiskConfig, Firmware, MachineConfig, NetConfig, TraceConfig};
pub use error::Error;
