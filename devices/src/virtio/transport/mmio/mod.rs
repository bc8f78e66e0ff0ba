//! Virtio over MMIO: one slot of registers with one device behind it, or none.
//!
//! The modern register layout (version 2) is the default, the legacy one (version 1, §4.2.4) is chosen when
//! the slot is built. A slot without a device answers device ID 0, which drivers skip, so a board can have a
//! fixed number of slots.
//!
//! The driver's changes to a queue's registers take effect when it sets DRIVER_OK; later ones are ignored,
//! except that withdrawing a queue (QueueReady or QueuePFN zero) ends its use. A queue that is not valid
//! then, or is found broken later, sets DEVICE_NEEDS_RESET. A driver need not accept VIRTIO_F_VERSION_1:
//! small ones do not.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, Width};
use emu_core::mem::GuestMemory;
use parking_lot::Mutex;
use tracing::warn;

use crate::virtio::queue::{QueueError, QueueLayout};
use crate::virtio::spec::{device_id, feature, split, status};
use crate::virtio::{Activation, DriverSignal, VirtQueue, VirtioDevice};

/// "fery", little endian: what the VendorID register says.
const VENDOR: u32 = u32::from_le_bytes(*b"fery");
/// Status bits that a driver may set.
const DRIVER_STATUS: u32 =
    status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK | status::FEATURES_OK | status::FAILED;

/// Which register layout a slot has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MmioVersion {
    /// Version 1, for operating systems older than virtio 1.0.
    Legacy,
    /// Version 2.
    #[default]
    Modern,
}

/// A virtio-mmio slot.
pub struct VirtioMmio {
    // Configuration.
    version: MmioVersion,
    // Glue.
    device: Option<Arc<dyn VirtioDevice>>,
    mem: GuestMemory,
    interrupt: Arc<Interrupt>,
    // State.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    guest_page_size: u32,
    queue_sel: u32,
    queues: Vec<QueueRegs>,
    /// The queues that the device has, from DRIVER_OK to the next reset.
    active: Option<Vec<Option<Arc<VirtQueue>>>>,
}

#[derive(Clone, Default)]
struct QueueRegs {
    max_size: u16,
    size: u32,
    ready: bool,
    desc: u64,
    driver: u64,
    device: u64,
    align: u32,
    pfn: u32,
}

impl VirtioMmio {
    /// A slot, with `device` behind it if there is one.
    pub fn new(
        version: MmioVersion,
        device: Option<Arc<dyn VirtioDevice>>,
        mem: GuestMemory,
        irq: IrqLine,
    ) -> Arc<Self> {
        let interrupt = Arc::new(Interrupt { line: irq, state: Mutex::default() });
        let state = Mutex::new(State::new(device.as_deref()));
        Arc::new(Self { version, device, mem, interrupt, state })
    }

    /// The device-tree node, the same for empty slots.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("virtio_mmio", &["virtio,mmio"])
    }

    fn legacy(&self) -> bool {
        self.version == MmioVersion::Legacy
    }

    fn offered(&self, device: &dyn VirtioDevice) -> u64 {
        let transport = match self.version {
            MmioVersion::Legacy => 1 << feature::ANY_LAYOUT,
            MmioVersion::Modern => 1 << feature::VERSION_1,
        };
        let all = device.features() | 1 << feature::INDIRECT_DESC | 1 << feature::EVENT_IDX | transport;
        if self.legacy() { all & u64::from(u32::MAX) } else { all }
    }

    fn read_register(&self, device: &dyn VirtioDevice, offset: u64) -> u32 {
        let state = self.state.lock();
        let half = |value: u64, sel| match sel {
            0 => value as u32,
            1 => (value >> 32) as u32,
            _ => 0,
        };
        let queue = state.queues.get(state.queue_sel as usize);
        match offset {
            spec::DEVICE_FEATURES => half(self.offered(device), state.device_features_sel),
            spec::QUEUE_SIZE_MAX => queue.map_or(0, |queue| queue.max_size.into()),
            spec::QUEUE_PFN if self.legacy() => queue.map_or(0, |queue| queue.pfn),
            spec::QUEUE_READY if !self.legacy() => queue.is_some_and(|queue| queue.ready).into(),
            spec::INTERRUPT_STATUS => self.interrupt.state.lock().status,
            spec::STATUS => {
                let broken = self.interrupt.state.lock().needs_reset;
                state.status | if broken { status::DEVICE_NEEDS_RESET } else { 0 }
            }
            spec::SHM_LEN_LOW..=spec::SHM_BASE_HIGH if !self.legacy() => u32::MAX,
            spec::CONFIG_GENERATION if !self.legacy() => self.interrupt.state.lock().generation,
            _ => 0,
        }
    }

    fn write_register(&self, device: &dyn VirtioDevice, offset: u64, value: u32) {
        let mut state = self.state.lock();
        let state = &mut *state;
        match offset {
            spec::DEVICE_FEATURES_SEL => state.device_features_sel = value,
            spec::DRIVER_FEATURES_SEL => state.driver_features_sel = value,
            spec::DRIVER_FEATURES => state.set_driver_features(value),
            spec::GUEST_PAGE_SIZE if self.legacy() => state.guest_page_size = value,
            spec::QUEUE_SEL => state.queue_sel = value,
            spec::INTERRUPT_ACK => self.interrupt.acknowledge(value),
            spec::STATUS if value == 0 => self.reset_device(state, device),
            spec::STATUS => self.set_status(state, device, value & DRIVER_STATUS),
            spec::QUEUE_READY | spec::QUEUE_PFN => self.set_queue_used(state, offset, value),
            _ => self.set_queue(state, offset, value),
        }
    }

    /// Registers that lay out the selected queue; they are fixed while it is in use.
    fn set_queue(&self, state: &mut State, offset: u64, value: u32) {
        let index = state.queue_sel as usize;
        let Some(queue) = state.queues.get_mut(index).filter(|queue| !queue.ready && queue.pfn == 0) else {
            return;
        };
        let low = |address: u64| address & !u64::from(u32::MAX) | u64::from(value);
        let high = |address: u64| address & u64::from(u32::MAX) | u64::from(value) << 32;
        match (offset, self.version) {
            (spec::QUEUE_SIZE, _) => queue.size = value,
            (spec::QUEUE_ALIGN, MmioVersion::Legacy) => queue.align = value,
            (_, MmioVersion::Legacy) => {}
            (spec::QUEUE_DESC_LOW, _) => queue.desc = low(queue.desc),
            (spec::QUEUE_DESC_HIGH, _) => queue.desc = high(queue.desc),
            (spec::QUEUE_DRIVER_LOW, _) => queue.driver = low(queue.driver),
            (spec::QUEUE_DRIVER_HIGH, _) => queue.driver = high(queue.driver),
            (spec::QUEUE_DEVICE_LOW, _) => queue.device = low(queue.device),
            (spec::QUEUE_DEVICE_HIGH, _) => queue.device = high(queue.device),
            _ => {}
        }
    }

    /// Puts the selected queue to use, or withdraws it.
    fn set_queue_used(&self, state: &mut State, offset: u64, value: u32) {
        let index = state.queue_sel as usize;
        let Some(queue) = state.queues.get_mut(index) else { return };
        let withdrawn = match (offset, self.version) {
            (spec::QUEUE_READY, MmioVersion::Modern) => value & 1 == 0,
            (spec::QUEUE_PFN, MmioVersion::Legacy) => value == 0,
            _ => return,
        };
        if !withdrawn && state.active.is_some() {
            return;
        }
        match self.version {
            MmioVersion::Legacy => queue.pfn = value,
            MmioVersion::Modern => queue.ready = !withdrawn,
        }
        if let Some(active) = state.active.as_mut().and_then(|queues| queues.get_mut(index)?.take()) {
            active.retire();
        }
    }

    fn set_status(&self, state: &mut State, device: &dyn VirtioDevice, value: u32) {
        let mut set = value & !state.status;
        if set & status::FEATURES_OK != 0 && state.driver_features & !self.offered(device) != 0 {
            set &= !status::FEATURES_OK;
        }
        state.status |= set;
        if set & status::DRIVER_OK != 0 {
            self.activate(state, device);
        }
    }

    fn activate(&self, state: &mut State, device: &dyn VirtioDevice) {
        if state.active.is_some() {
            return;
        }
        let features = state.driver_features & self.offered(device);
        let page_size = state.guest_page_size;
        let queues = state.queues.iter().zip(0u16..).map(|(regs, index)| {
            let layout = if self.legacy() { regs.legacy_layout(page_size) } else { regs.layout() };
            let event_idx = features >> feature::EVENT_IDX & 1 != 0;
            let signal = Arc::clone(&self.interrupt) as Arc<dyn DriverSignal>;
            layout
                .map(|layout| {
                    VirtQueue::new(index, regs.max_size, layout, event_idx, self.mem.clone(), signal)
                })
                .transpose()
        });
        match queues.collect::<Result<Vec<_>, QueueError>>() {
            Ok(queues) => {
                state.active = Some(queues.clone());
                let signal = Arc::clone(&self.interrupt) as Arc<dyn DriverSignal>;
                device.activate(Activation { features, queues, signal });
            }
            Err(error) => {
                warn!(device = device.id(), "virtio device needs a reset: {error}");
                self.interrupt.needs_reset();
            }
        }
    }

    fn notify(&self, device: &dyn VirtioDevice, queue: u32) {
        {
            let mut state = self.state.lock();
            // §3.1.2: a legacy driver may use the device before it says that it is ready.
            if self.legacy() && state.status & status::DRIVER != 0 {
                self.activate(&mut state, device);
            }
            if state.active.is_none() {
                return;
            }
        }
        if let Some(queue) =
            u16::try_from(queue).ok().filter(|q| usize::from(*q) < device.queue_sizes().len())
        {
            device.notify(queue);
        }
    }

    fn reset_device(&self, state: &mut State, device: &dyn VirtioDevice) {
        for queue in state.active.iter().flatten().flatten() {
            queue.retire();
        }
        device.reset();
        // Linux says it once, before the reset that begins each driver's initialisation: it belongs to the
        // transport, not to the device.
        let guest_page_size = state.guest_page_size;
        *state = State { guest_page_size, ..State::new(Some(device)) };
        self.interrupt.clear();
    }
}

impl State {
    fn new(device: Option<&dyn VirtioDevice>) -> Self {
        let sizes = device.map_or(&[][..], |device| device.queue_sizes());
        let queue = |max_size: &u16| QueueRegs {
            max_size: *max_size,
            size: u32::from(*max_size),
            ..QueueRegs::default()
        };
        Self { queues: sizes.iter().map(queue).collect(), ..Self::default() }
    }

    /// §2.2.1: features are fixed once FEATURES_OK is set.
    fn set_driver_features(&mut self, value: u32) {
        if self.status & (status::FEATURES_OK | status::DRIVER_OK) != 0 {
            return;
        }
        let shift = match self.driver_features_sel {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features =
            self.driver_features & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
    }
}

impl QueueRegs {
    /// Where the queue is, if it is to be used.
    fn layout(&self) -> Option<QueueLayout> {
        let Self { size, desc, driver, device, .. } = *self;
        self.ready.then_some(QueueLayout { size, desc, avail: driver, used: device })
    }

    /// §2.7.2 "Legacy Interfaces: A Note on Virtqueue Layout". Nonsense becomes a layout that is not valid.
    fn legacy_layout(&self, page_size: u32) -> Option<QueueLayout> {
        if self.pfn == 0 {
            return None;
        }
        let desc = u64::from(self.pfn) * u64::from(page_size);
        let avail = desc.saturating_add(split::DESC_SIZE * u64::from(self.size));
        let end = avail.saturating_add(split::avail_len(self.size.into()));
        let used =
            if self.align.is_power_of_two() { end.checked_next_multiple_of(self.align.into()) } else { None };
        Some(QueueLayout { size: self.size, desc, avail, used: used.unwrap_or(u64::MAX) })
    }
}

impl Mmio for VirtioMmio {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        if let Some(offset) = offset.checked_sub(spec::CONFIG) {
            let mut bytes = [0; 8];
            if let Some(device) = &self.device {
                device.read_config(offset, &mut bytes[..width.bytes() as usize]);
            }
            return Ok(u64::from_le_bytes(bytes));
        }
        width.expect_word(offset)?;
        let value = match (offset, &self.device) {
            (spec::MAGIC_VALUE, _) => spec::MAGIC,
            (spec::VERSION, _) if self.legacy() => spec::VERSION_LEGACY,
            (spec::VERSION, _) => spec::VERSION_MODERN,
            (spec::DEVICE_ID, device) => device.as_ref().map_or(device_id::NONE, |device| device.id()),
            (spec::VENDOR_ID, _) => VENDOR,
            (_, Some(device)) => self.read_register(device.as_ref(), offset),
            (_, None) => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        if let Some(offset) = offset.checked_sub(spec::CONFIG) {
            if let Some(device) = &self.device {
                device.write_config(offset, &value.to_le_bytes()[..width.bytes() as usize]);
            }
            return Ok(());
        }
        width.expect_word(offset)?;
        let value = value as u32;
        match (offset, &self.device) {
            (spec::QUEUE_NOTIFY, Some(device)) => self.notify(device.as_ref(), value),
            (_, Some(device)) => self.write_register(device.as_ref(), offset, value),
            (_, None) => {}
        }
        Ok(())
    }

    fn reset(&self) {
        if let Some(device) = &self.device {
            let mut state = self.state.lock();
            self.reset_device(&mut state, device.as_ref());
            state.guest_page_size = 0;
        }
    }
}

/// The interrupt line and what it stands for. Its lock is the last that is taken: devices signal with theirs
/// held.
struct Interrupt {
    line: IrqLine,
    state: Mutex<InterruptState>,
}

#[derive(Default)]
struct InterruptState {
    status: u32,
    needs_reset: bool,
    generation: u32,
}

impl Interrupt {
    fn acknowledge(&self, bits: u32) {
        let mut state = self.state.lock();
        state.status &= !bits;
        self.update_irq(&state);
    }

    fn raise(&self, change: impl FnOnce(&mut InterruptState)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.update_irq(&state);
    }

    fn clear(&self) {
        self.raise(|state| {
            state.status = 0;
            state.needs_reset = false;
        });
    }

    fn update_irq(&self, state: &InterruptState) {
        self.line.set(state.status != 0);
    }
}

impl DriverSignal for Interrupt {
    fn used(&self, _queue: u16) {
        self.raise(|state| state.status |= spec::INTERRUPT_USED);
    }

    fn config_changed(&self) {
        self.raise(|state| {
            state.generation = state.generation.wrapping_add(1);
            state.status |= spec::INTERRUPT_CONFIG;
        });
    }

    fn needs_reset(&self) {
        self.raise(|state| {
            state.needs_reset = true;
            state.status |= spec::INTERRUPT_CONFIG;
        });
    }
}
