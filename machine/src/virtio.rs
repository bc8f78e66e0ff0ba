//! The virtio devices that a user asked for, and the slots they go into.

use std::sync::Arc;

use devices::backend::chardev::CharBackend;
use devices::backend::entropy::HostEntropy;
use devices::backend::net::{NetBackend, UserNet};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::{Blk, BlkConfig};
use devices::virtio::console::Console as VirtioConsole;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use devices::virtio::transport::mmio::{MmioVersion, VirtioMmio};
use emu_core::device::{IrqLine, Mmio};
use emu_core::mem::GuestMemory;
use emu_core::sync::EventHandle;

use crate::config::{MachineConfig, NetConfig};
use crate::error::Error;

/// The guest's network card address, in the range that is locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// The devices in slot order.
pub struct Slots {
    version: MmioVersion,
    memory: GuestMemory,
    devices: Vec<Arc<dyn VirtioDevice>>,
}

impl Slots {
    /// Opens what the devices need: disks first, then network, then entropy, then the virtio console, which is on
    /// `console`.
    ///
    /// # Errors
    /// A disk or the network cannot be opened, or there are more devices than slots.
    pub fn open(
        config: &MachineConfig,
        slots: usize,
        console: Option<Arc<dyn CharBackend>>,
        events: &EventHandle,
        memory: &GuestMemory,
    ) -> Result<Self, Error> {
        let mut devices: Vec<Arc<dyn VirtioDevice>> = Vec::new();
        for (number, options) in config.disks.iter().enumerate() {
            let disk = disk_formats::open(options)?;
            let id = format!("ferry-disk{number}");
            // A queue for each CPU, of which there are eight at most.
            let blk = BlkConfig { id, queues: config.cpus as u16, ..BlkConfig::default() };
            let blk = Blk::new(events, Arc::from(disk), &blk);
            devices.push(blk.map_err(|source| Error::Host { what: "the threads of a disk", source })?);
        }
        if let NetConfig::User(user) = &config.net {
            let backend = UserNet::start(user.clone())?;
            devices.push(Net::new(events, backend as Arc<dyn NetBackend>, MAC));
        }
        if !config.repeatable {
            devices.push(Rng::new(events, Box::new(HostEntropy)));
        }
        if let Some(backend) = console {
            devices.push(VirtioConsole::new(events, backend));
        }
        if devices.len() > slots {
            let text = format!("{} virtio devices: the virt board has {slots} slots", devices.len());
            return Err(Error::Config(text));
        }
        let version = if config.virtio_legacy { MmioVersion::Legacy } else { MmioVersion::Modern };
        Ok(Self { version, memory: memory.clone(), devices })
    }

    /// The slot with this number.
    pub fn make(&self, slot: usize, irq: IrqLine) -> Arc<dyn Mmio> {
        VirtioMmio::new(self.version, self.devices.get(slot).cloned(), self.memory.clone(), irq)
    }
}
