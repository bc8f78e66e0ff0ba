//! What a machine boots: files read once, put into memory at each power-on.

use std::path::Path;
use std::sync::Arc;

use devices::backend::entropy::{Entropy, HostEntropy};
use devices::fw_cfg::Items;
use emu_core::mem::{GuestMemory, Ram};
use firmware::boot::rules::Reset;
use firmware::boot::{self, BootPlan, Placement, Start};
use firmware::fdt::Chosen;
use firmware::load::Image;

use crate::boards::{Board, Layout, Seeds};
use crate::config::{Firmware, MachineConfig};
use crate::error::Error;

/// The files that a machine boots.
pub struct Files {
    firmware: boot::Firmware,
    kernel: Option<Image>,
    initrd: Option<Vec<u8>>,
    dtb: Option<Vec<u8>>,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// A file cannot be read or is not for this machine.
    pub fn read(config: &MachineConfig, layout: &Layout) -> Result<Self, Error> {
        let image = |path: &Path| Image::open(path, layout.isa, config.memory);
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
        };
        let firmware = match &config.firmware {
            Firmware::Builtin => boot::Firmware::Builtin,
            Firmware::None => boot::Firmware::None,
            Firmware::File(path) => boot::Firmware::Image(image(path)?),
        };
        let kernel = config.kernel.as_deref().map(image).transpose()?;
        let initrd = config.initrd.as_deref().map(|path| read("the initrd", path)).transpose()?;
        let dtb = config.dtb.as_deref().map(|path| read("the device tree", path)).transpose()?;
        Ok(Self { firmware, kernel, initrd, dtb })
    }

    /// Whether the firmware finds kernel and initrd itself.
    fn firmware_finds_all(&self, layout: &Layout) -> bool {
        matches!((&self.firmware, layout.rules.reset), (boot::Firmware::Image(_), Reset::Direct { .. }))
    }

    /// What a firmware is told; kernel and initrd if it finds them itself.
    pub fn fw_cfg(&mut self, config: &MachineConfig, layout: &Layout) -> Items {
        let items = Items::new(u16::try_from(config.cpus).unwrap_or(u16::MAX));
        if !self.firmware_finds_all(layout) {
            return items;
        }
        let items = match self.kernel.take() {
            Some(kernel) => items.kernel(kernel.bytes).command_line(&config.append),
            None => items,
        };
        match self.initrd.take() {
            Some(initrd) => items.initrd(Arc::new(initrd)),
            None => items,
        }
    }
}

/// What goes into memory, and how the CPUs start.
pub struct Boot {
    plan: BootPlan,
    rom: u64,
}

impl Boot {
    /// Decides where the files go.
    ///
    /// # Errors
    /// They do not all fit, or the device tree cannot be used.
    pub fn prepare<B: Board>(config: &MachineConfig, files: Files, board: &B) -> Result<Self, Error> {
        let layout = B::LAYOUT;
        let dram = layout.dram..layout.dram + config.memory;
        let Files { firmware, kernel, initrd, dtb } = files;
        let placement = Placement::new(&layout.rules, dram, &firmware, kernel.as_ref(), initrd)?;
        let bootargs = (!config.append.is_empty()).then(|| config.append.clone());
        let chosen = Chosen { bootargs, initrd: placement.initrd() };
        let blob = match &dtb {
            Some(blob) => chosen.patch(blob)?,
            None => {
                let mut seeds = Seeds::default();
                for bytes in [&mut seeds.rng[..], &mut seeds.kaslr].into_iter().filter(|_| !config.repeatable)
                {
                    if HostEntropy.fill(bytes) < bytes.len() {
                        let source = std::io::ErrorKind::Unsupported.into();
                        return Err(Error::Host { what: "random bytes", source });
                    }
                }
                let mut tree = board.tree(&seeds);
                chosen.apply(&mut tree);
                tree.to_blob()?
            }
        };
        Ok(Self { plan: placement.finish(blob)?, rom: layout.rom.0 })
    }

    /// Puts everything into memory.
    ///
    /// # Errors
    /// Guest memory does not take what was placed in it.
    pub fn load(&self, ram: &Ram, memory: &GuestMemory) -> Result<(), Error> {
        self.plan.load(memory)?;
        let rom = &self.plan.rom;
        if let Some(offset) = ram.offset_of(self.rom, rom.len() as u64) {
            rom.iter().enumerate().for_each(|(i, byte)| ram.store(offset + i, *byte));
        }
        Ok(())
    }

    /// Where the first CPU begins.
    pub fn entry(&self) -> u64 {
        match self.plan.start {
            Start::Kernel { entry } | Start::Reset { entry } => entry,
        }
    }

    /// Where the device tree is.
    pub fn fdt(&self) -> u64 {
        self.plan.fdt
    }
}
