//! What a machine boots: files read once, put into memory at each power-on.

use std::path::Path;

use emu_core::mem::{GuestMemory, Ram};
use firmware::boot::rules::RISCV_VIRT;
use firmware::boot::{self, BootPlan, Placement, Start};
use firmware::fdt::Chosen;
use firmware::load::{Image, Isa};
use firmware::sbi::Sbi;
use frontends::riscv::Model;

use crate::boards::Built;
use crate::boards::riscv_virt::tree::{Description, tree};
use crate::boards::riscv_virt::{DRAM_BASE, ROM_BASE};
use crate::config::{Firmware, MachineConfig};
use crate::error::Error;

/// What goes into memory, and how the harts start.
pub struct Boot {
    plan: BootPlan,
}

impl Boot {
    /// Reads the files and decides where they go.
    ///
    /// # Errors
    /// A file cannot be read or is not for this machine, or it does not all fit.
    pub fn prepare(config: &MachineConfig, model: &Model, devices: &[Built]) -> Result<Self, Error> {
        let image = |path: &Path| Image::open(path, Isa::Riscv64, config.memory);
        let firmware = match &config.firmware {
            Firmware::Builtin => boot::Firmware::Builtin,
            Firmware::None => boot::Firmware::None,
            Firmware::File(path) => boot::Firmware::Image(image(path)?),
        };
        let kernel = config.kernel.as_deref().map(image).transpose()?;
        let initrd = config.initrd.as_deref().map(|path| read("the initrd", path)).transpose()?;
        let dram = DRAM_BASE..DRAM_BASE + config.memory;
        let placement = Placement::new(&RISCV_VIRT, dram, &firmware, kernel.as_ref(), initrd)?;
        let bootargs = (!config.append.is_empty()).then(|| config.append.clone());
        let chosen = Chosen { bootargs, initrd: placement.initrd() };
        let blob = match &config.dtb {
            Some(path) => chosen.patch(&read("the device tree", path)?)?,
            None => {
                let mut rng_seed = [0; 32];
                let filled = rustix::rand::getrandom(&mut rng_seed, rustix::rand::GetRandomFlags::empty());
                filled.map_err(|e| Error::Host { what: "random bytes", source: e.into() })?;
                let about =
                    Description { devices, harts: config.cpus, model, memory: config.memory, rng_seed };
                let mut tree = tree(&about);
                chosen.apply(&mut tree);
                tree.to_blob()?
            }
        };
        Ok(Self { plan: placement.finish(blob)? })
    }

    /// Puts everything into memory and has the firmware, if it is the built-in one, start the first hart.
    ///
    /// # Errors
    /// Guest memory does not take what was placed in it.
    pub fn load(&self, ram: &Ram, memory: &GuestMemory, sbi: Option<&Sbi>) -> Result<(), Error> {
        let BootPlan { rom, start, fdt, .. } = &self.plan;
        self.plan.load(memory)?;
        if let Some(offset) = ram.offset_of(ROM_BASE, rom.len() as u64) {
            rom.iter().enumerate().for_each(|(i, byte)| ram.store(offset + i, *byte));
        }
        if let (Start::Kernel { entry }, Some(sbi)) = (start, sbi) {
            sbi.boot(0, *entry, *fdt);
        }
        Ok(())
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
}
