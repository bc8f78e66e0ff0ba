//! The physical address map: memory, and the devices between it.

use std::sync::Arc;

use thiserror::Error;

use super::Ram;
use crate::device::{AccessError, Mmio, Width};

/// Why a device could not be mapped.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("device {name} at {base:#x}, {len:#x} bytes, lies over {other}")]
pub struct MapError {
    name: String,
    base: u64,
    len: u64,
    other: String,
}

struct Mapped {
    name: String,
    base: u64,
    len: u64,
    device: Arc<dyn Mmio>,
}

/// Collects the devices of a board.
pub struct BusBuilder {
    ram: Arc<Ram>,
    devices: Vec<Mapped>,
}

impl BusBuilder {
    /// A bus with memory alone.
    pub fn new(ram: Arc<Ram>) -> Self {
        Self { ram, devices: Vec::new() }
    }

    /// Maps `device` at `len` bytes from guest-physical `base`.
    pub fn map(
        &mut self,
        name: impl Into<String>,
        base: u64,
        len: u64,
        device: Arc<dyn Mmio>,
    ) -> Result<(), MapError> {
        let name = name.into();
        let overlaps = |other_base: u64, other_len: u64| {
            base < other_base + other_len && other_base - base.min(other_base) < len
        };
        let conflict = |other: &str| Err(MapError { name: name.clone(), base, len, other: other.into() });
        if len == 0 || base.checked_add(len).is_none() {
            return conflict("the end of the address space");
        }
        if let Some(region) = self.ram.regions().iter().find(|r| overlaps(r.base, r.len)) {
            return conflict(region.name);
        }
        if let Some(other) = self.devices.iter().find(|d| overlaps(d.base, d.len)) {
            return conflict(&other.name);
        }
        self.devices.push(Mapped { name, base, len, device });
        Ok(())
    }

    /// The finished map.
    pub fn build(self) -> Bus {
        let Self { ram, mut devices } = self;
        devices.sort_by_key(|device| device.base);
        Bus { ram, devices }
    }
}

/// The physical address space as a vCPU sees it. It does not change while the machine runs.
pub struct Bus {
    ram: Arc<Ram>,
    devices: Vec<Mapped>,
}

impl Bus {
    /// The memory on this bus.
    pub fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    /// Reads a device register. An access that no single device holds whole is [`AccessError::Unmapped`].
    pub fn read(&self, pa: u64, width: Width) -> Result<u64, AccessError> {
        let (device, offset) = self.device_at(pa, width)?;
        Ok(device.read(offset, width)? & width.mask())
    }

    /// Writes a device register.
    pub fn write(&self, pa: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let (device, offset) = self.device_at(pa, width)?;
        device.write(offset, width, value & width.mask())
    }

    /// Returns all devices to their power-on state.
    pub fn reset(&self) {
        for mapped in &self.devices {
            mapped.device.reset();
        }
    }

    /// Name and offset of what is mapped at `pa`, for messages and traces.
    pub fn name_at(&self, pa: u64) -> Option<(&str, u64)> {
        let device = self.find(pa).map(|d| (d.name.as_str(), pa - d.base));
        device.or_else(|| self.ram.region_at(pa).map(|r| (r.name, pa - r.base)))
    }

    fn find(&self, pa: u64) -> Option<&Mapped> {
        let index = self.devices.partition_point(|device| device.base <= pa).checked_sub(1)?;
        self.devices.get(index).filter(|device| pa - device.base < device.len)
    }

    fn device_at(&self, pa: u64, width: Width) -> Result<(&dyn Mmio, u64), AccessError> {
        let mapped = self.find(pa).ok_or(AccessError::Unmapped)?;
        let offset = pa - mapped.base;
        if width.bytes() > mapped.len - offset {
            return Err(AccessError::Unmapped);
        }
        Ok((mapped.device.as_ref(), offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::RamBuilder;

    struct Echo;

    impl Mmio for Echo {
        fn read(&self, offset: u64, _width: Width) -> Result<u64, AccessError> {
            Ok(0xffff_ffff_ffff_ff00 | offset)
        }
        fn write(&self, _offset: u64, _width: Width, _value: u64) -> Result<(), AccessError> {
            Err(AccessError::Width)
        }
        fn reset(&self) {}
    }

    #[test]
    fn finds_devices_and_refuses_overlaps() {
        let ram = RamBuilder::new().region("dram", 0x8000, 0x1000, true).and_then(RamBuilder::build).unwrap();
        let mut bus = BusBuilder::new(Arc::new(ram));
        bus.map("a", 0x100, 0x10, Arc::new(Echo)).unwrap();
        bus.map("b", 0x110, 0x10, Arc::new(Echo)).unwrap();
        for (base, len) in
            [(0x10f, 2), (0x80, 0x81), (0x80, 0x1000), (0x8fff, 1), (0x7000, 0x1001), (0, 0), (u64::MAX, 1)]
        {
            assert!(bus.map("c", base, len, Arc::new(Echo)).is_err(), "{base:#x} {len:#x}");
        }
        let bus = bus.build();
        assert_eq!(bus.read(0x112, Width::Half), Ok(0xff02));
        assert_eq!(bus.read(0x11f, Width::Half), Err(AccessError::Unmapped));
        assert_eq!(bus.read(0x8000, Width::Byte), Err(AccessError::Unmapped));
        assert_eq!(bus.write(0x100, Width::Byte, 1), Err(AccessError::Width));
        assert_eq!(bus.name_at(0x8010), Some(("dram", 0x10)));
        assert_eq!(bus.name_at(0x11f), Some(("b", 0xf)));
    }
}
