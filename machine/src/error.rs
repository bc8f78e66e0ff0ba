//! What can go wrong when a machine is built or run, in words for the person who started it.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the machine.
#[derive(Debug, Error)]
pub enum Error {
    /// A setting is out of range or contradicts another.
    #[error("{0}")]
    Config(String),
    /// A file cannot be read.
    #[error("cannot read {what} {path}", path = path.display())]
    Read {
        /// What it was to be: kernel, initial RAM disk, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {what} {path}", path = path.display())]
    Write {
        /// What it was to be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A kernel or firmware file cannot be used.
    #[error(transparent)]
    Load(#[from] firmware::load::LoadError),
    /// What is to be booted does not fit together.
    #[error(transparent)]
    Boot(#[from] firmware::boot::BootError),
    /// The device tree cannot be read or written.
    #[error("the device tree cannot be used")]
    DeviceTree(#[from] firmware::fdt::FdtError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] disk_formats::Error),
    /// The network cannot be set up.
    #[error(transparent)]
    Net(#[from] devices::backend::net::NetError),
    /// The host does not give what the machine needs.
    #[error("cannot set up {what}")]
    Host {
        /// What is missing.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody can debug the machine there.
    #[error("cannot wait for a debugger at {address:?}: expected HOST:PORT, :PORT or the path of a socket")]
    Debugger {
        /// Where it was to connect.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Memory cannot be set up.
    #[error(transparent)]
    Memory(#[from] emu_core::mem::RamError),
    /// The board's table contradicts itself.
    #[error(transparent)]
    Map(#[from] emu_core::mem::MapError),
    /// The emulator failed while the guest ran.
    #[error("{0}")]
    Failed(String),
}
