//! What a machine boots: files read once, put into memory at each power-on.

use std::path::Path;

use emu_core::mem::{GuestMemory, Ram};
use firmware::fdt::FdtError;
use frontends::riscv::Model;
use vm_memory::{Bytes, GuestAddress};

use crate::boards::Built;
use crate::boards::riscv_virt::tree::{Description, tree};
use crate::boards::riscv_virt::{self as board};
use crate::config::{Firmware, MachineConfig};
use crate::error::Error;

/// The pieces that go into memory.
pub struct Boot {
    pieces: Vec<(u64, Vec<u8>)>,
    entry: u64,
    fdt: u64,
}

impl Boot {
    /// Reads the files and decides where they go.
    pub fn prepare(
        config: &MachineConfig,
        model: &Model,
        devices: &[Built],
        _ram: &Ram,
    ) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| Error::Read {
                what: "kernel",
                path: path.to_owned(),
                source,
            })
        };
        let mut pieces = Vec::new();
        let entry = if config.firmware == Firmware::Builtin { 0x8020_0000 } else { 0x8000_0000 };
        if let Some(kernel) = &config.kernel {
            pieces.push((entry, read(kernel)?));
        }
        let mut initrd = None;
        if let Some(path) = &config.initrd {
            let bytes = read(path)?;
            let at = 0x8000_0000 + (config.memory / 2).min(512 << 20);
            initrd = Some(at..at + bytes.len() as u64);
            pieces.push((at, bytes));
        }
        let about = Description {
            devices,
            harts: config.cpus,
            model,
            memory: config.memory,
            bootargs: Some(config.append.clone()),
            initrd,
            rng_seed: [7; 32],
        };
        let blob = tree(&about).to_blob().map_err(|e: FdtError| Error::Config(e.to_string()))?;
        let fdt = (board::DRAM_BASE + config.memory - blob.len() as u64) & !0x1f_ffff;
        pieces.push((fdt, blob));
        Ok(Self { pieces, entry, fdt })
    }

    /// Puts everything into memory.
    pub fn load(&self, _ram: &Ram, memory: &GuestMemory) -> Result<(), Error> {
        for (at, bytes) in &self.pieces {
            memory.write_slice(bytes, GuestAddress(*at)).map_err(|e| Error::Config(e.to_string()))?;
        }
        Ok(())
    }

    /// Where the kernel is entered.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Where the device tree is.
    pub fn fdt(&self) -> u64 {
        self.fdt
    }
}
