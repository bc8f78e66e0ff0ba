//! The firmware configuration interface: numbered items and named files that a firmware reads, kernels among them.
//!
//! Items do not change while the machine runs; beyond their end everything reads as zero. Nothing can be written: a DMA
//! request to do so fails, as the specification has it for items that are read-only.

pub mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use emu_core::device::{AccessError, Mmio, NodeDesc, PropValue, Width};
use emu_core::mem::GuestMemory;
use parking_lot::Mutex;
use vm_memory::{Bytes, GuestAddress};

use spec::{dma, key};

/// Bytes moved at a time.
const CHUNK: usize = 4096;

/// The items of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    items: BTreeMap<u16, Arc<Vec<u8>>>,
    /// Names and sizes of the files, in the order of their keys.
    files: Vec<(String, u32)>,
}

impl Items {
    /// What every machine has: signature, features, and how many CPUs there are.
    pub fn new(cpus: u16) -> Self {
        let mut items = Self { items: BTreeMap::new(), files: Vec::new() };
        items.set(key::SIGNATURE, b"QEMU".to_vec());
        items.set(key::ID, spec::FEATURES.to_le_bytes().to_vec());
        items.set(key::NB_CPUS, cpus.to_le_bytes().to_vec());
        items.set(key::MAX_CPUS, cpus.to_le_bytes().to_vec());
        items
    }

    fn set(&mut self, key: u16, bytes: Vec<u8>) {
        self.items.insert(key, Arc::new(bytes));
    }

    /// An item whose size is in another item; sizes have 32 bits.
    fn sized(mut self, size: u16, data: u16, bytes: Arc<Vec<u8>>) -> Self {
        self.set(size, u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec());
        self.items.insert(data, bytes);
        self
    }

    /// Adds the kernel.
    pub fn kernel(self, bytes: Arc<Vec<u8>>) -> Self {
        self.sized(key::KERNEL_SIZE, key::KERNEL_DATA, bytes)
    }

    /// Adds the initial RAM disk.
    pub fn initrd(self, bytes: Arc<Vec<u8>>) -> Self {
        self.sized(key::INITRD_SIZE, key::INITRD_DATA, bytes)
    }

    /// Adds the kernel's command line.
    pub fn command_line(self, text: &str) -> Self {
        let bytes = text.bytes().chain([0]).collect();
        self.sized(key::CMDLINE_SIZE, key::CMDLINE_DATA, Arc::new(bytes))
    }

    /// Adds a file.
    ///
    /// # Panics
    /// If the name is too long, or there is no key left for another file.
    pub fn file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        assert!(name.len() < spec::NAME_LEN, "the name {name} is too long");
        let key = key::FILE_FIRST + self.files.len() as u16;
        assert!(key < key::MASK, "too many files");
        self.files.push((name.to_owned(), u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        self.set(key, bytes);
        self
    }

    /// The directory: how many files there are, then size, key, two bytes of nothing and the name of each, big endian.
    fn directory(&self) -> Vec<u8> {
        let mut bytes = (self.files.len() as u32).to_be_bytes().to_vec();
        for ((name, size), key) in self.files.iter().zip(key::FILE_FIRST..) {
            bytes.extend(size.to_be_bytes());
            bytes.extend(key.to_be_bytes());
            bytes.extend([0; 2]);
            let padded = name.bytes().chain(std::iter::repeat(0)).take(spec::NAME_LEN);
            bytes.extend(padded);
        }
        bytes
    }
}

/// The interface.
pub struct FwCfg {
    // Configuration.
    items: BTreeMap<u16, Arc<Vec<u8>>>,
    // Glue.
    memory: GuestMemory,
    // State.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    selected: u16,
    /// How far the selected item has been read.
    position: usize,
    /// The upper half of the address of a DMA request.
    address_high: u32,
}

impl FwCfg {
    /// An interface with these items, and the memory for DMA.
    pub fn new(items: Items, memory: GuestMemory) -> Arc<Self> {
        let directory = items.directory();
        let mut items = items;
        items.set(key::FILE_DIR, directory);
        Arc::new(Self { items: items.items, memory, state: Mutex::default() })
    }

    /// The device-tree node.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("fw-cfg", &["qemu,fw-cfg-mmio"]).prop("dma-coherent", PropValue::Empty)
    }

    /// The rest of the selected item. That of what does not exist is empty.
    fn rest(&self, state: &State) -> &[u8] {
        let item = self.items.get(&(state.selected & !key::WRITE));
        item.and_then(|item| item.get(state.position..)).unwrap_or_default()
    }

    fn select(state: &mut State, key: u16) {
        state.selected = key;
        state.position = 0;
    }

    /// The next bytes, the first in the lowest place.
    fn read_data(&self, state: &mut State, len: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(self.rest(state)).take(len).for_each(|(to, from)| *to = *from);
        state.position = state.position.saturating_add(len);
        u64::from_le_bytes(bytes)
    }

    /// Carries out the request at `address`, and says there how it went. One that is not in memory has nobody to tell.
    fn run_dma(&self, state: &mut State, address: u64) {
        let mut request = [0; dma::LEN];
        if self.memory.read_slice(&mut request, GuestAddress(address)).is_err() {
            return;
        }
        let request = u128::from_be_bytes(request);
        let (control, len, to) = ((request >> 96) as u32, (request >> 64) as u32, request as u64);
        if control & dma::SELECT != 0 {
            Self::select(state, (control >> 16) as u16);
        }
        let done = match control & (dma::READ | dma::SKIP | dma::WRITE) {
            0 => true,
            op if op & dma::READ != 0 => self.copy_out(state, GuestAddress(to), len as usize).is_some(),
            op if op & dma::WRITE != 0 => false,
            _ => {
                state.position = state.position.saturating_add(len as usize);
                true
            }
        };
        let answer = if done { 0 } else { dma::ERROR };
        // It was read from there a moment ago.
        let _ = self.memory.write_slice(&answer.to_be_bytes(), GuestAddress(address));
    }

    /// Copies the next `len` bytes to memory, zeros behind the item's end; none if that is not all memory.
    fn copy_out(&self, state: &mut State, to: GuestAddress, len: usize) -> Option<()> {
        use vm_memory::GuestMemoryBackend;

        if !self.memory.check_range(to, len) {
            return None;
        }
        let rest = self.rest(state);
        let (bytes, mut zeros) = (&rest[..rest.len().min(len)], len.saturating_sub(rest.len()));
        self.memory.write_slice(bytes, to).ok()?;
        let mut at = to.0.checked_add(bytes.len() as u64)?;
        while zeros > 0 {
            let chunk = &[0; CHUNK][..zeros.min(CHUNK)];
            self.memory.write_slice(chunk, GuestAddress(at)).ok()?;
            zeros -= chunk.len();
            at += chunk.len() as u64;
        }
        state.position = state.position.saturating_add(len);
        Some(())
    }
}

impl Mmio for FwCfg {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        match offset {
            spec::DATA..spec::SELECTOR => Ok(self.read_data(&mut self.state.lock(), width.bytes() as usize)),
            spec::DMA.. if offset.is_multiple_of(width.bytes()) => {
                let signature = spec::DMA_SIGNATURE.to_be();
                Ok(signature >> ((offset - spec::DMA) * 8) & width.mask())
            }
            _ => Ok(0),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let mut state = self.state.lock();
        match (offset, width) {
            (spec::SELECTOR, Width::Half) => Self::select(&mut state, (value as u16).swap_bytes()),
            (spec::DMA, Width::Double) => self.run_dma(&mut state, value.swap_bytes()),
            (spec::DMA, Width::Word) => state.address_high = (value as u32).swap_bytes(),
            (spec::DMA_LOW, Width::Word) => {
                let high = std::mem::take(&mut state.address_high);
                let low = (value as u32).swap_bytes();
                self.run_dma(&mut state, u64::from(high) << 32 | u64::from(low));
            }
            _ => {}
        }
        Ok(())
    }

    fn reset(&self) {
        *self.state.lock() = State::default();
    }
}
