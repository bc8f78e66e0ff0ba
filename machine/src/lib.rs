//! Machines: boards assembled from devices, the threads that run their vCPUs, and what a user does with them.
//!
//! It may use every other crate of the workspace but `cli`. Start with [`MachineConfig`], then [`Machine`] for
//! how it runs and [`boards`] for what it is made of.

pub mod boards;
mod boot;
mod config;
mod debug;
mod error;
pub mod lockstep;
mod power;
mod stats;
mod supervisor;
mod translations;
mod vcpu;
mod virtio;
mod vm;

// What settings are made of, for those who use no other crate.
pub use devices::backend::chardev::{CharBackend, CharDevice};
pub use devices::backend::net;
pub use firmware::load::{Isa, identify_file};

pub use config::{
    Accel, Arch, Console, Effort, Firmware, GicVersion, InputFilter, MachineConfig, NetConfig, TraceConfig,
};
pub use error::Error;
pub use stats::{Stats, VcpuStats};
pub use translations::Translations;
pub use vm::{Control, Ended, Machine};
