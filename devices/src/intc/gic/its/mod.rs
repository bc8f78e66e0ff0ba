//! The Interrupt Translation Service of a GICv3: it turns a device's number and the number of one of its events into an
//! LPI of some CPU, by tables in guest memory that a queue of commands maintains.
//!
//! Commands are taken in small batches: the first when software rings (CWRITER), the others on the event queue's
//! thread, so that no queue, however full, keeps a vCPU long. A command that makes no sense is passed over; one that is
//! not in memory stalls the queue.
//!
//! Not modelled: collections and events held in the ITS itself, virtual LPIs (GICv4), system errors.

pub mod spec;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, Mmio, NodeDesc, PropValue, Width};
use emu_core::mem::GuestMemory;
use emu_core::sync::{EventHandle, weakly};
use parking_lot::Mutex;
use vm_memory::{Bytes, GuestAddress};

use super::Gic;
use super::lpi;
use super::v3::{self, GicV3};
use crate::part::Part;
use spec::command;
use tables::{Device, Event, Table};

/// How much is done before others have their turn: commands, or this many LPIs that a command looks at.
const BATCH: usize = 256;

/// An ITS.
pub struct Its {
    // Glue.
    gic: Arc<Gic>,
    memory: GuestMemory,
    events: EventHandle,
    this: Weak<Self>,
    // State.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    enabled: bool,
    queue: u64,
    write: u64,
    read: u64,
    tables: [u64; 2],
    /// A batch of commands is on the event queue.
    posted: bool,
}

/// A command: four little-endian words.
#[derive(Clone, Copy)]
struct Command([u64; 4]);

impl Command {
    fn device(&self) -> u32 {
        (self.0[0] >> 32) as u32
    }

    fn event(&self) -> u32 {
        self.0[1] as u32
    }

    fn collection(&self) -> u16 {
        self.0[2] as u16
    }

    fn valid(&self) -> bool {
        self.0[2] & spec::VALID != 0
    }

    /// The number of the redistributor in word `word`.
    fn redistributor(&self, word: usize, cpus: usize) -> Option<usize> {
        let number = usize::try_from(self.0[word] >> 16 & 0x7_ffff_ffff).ok()?;
        (number < cpus).then_some(number)
    }
}

impl Its {
    /// The ITS of `gic`; none if that has no LPIs.
    pub fn new(gic: &GicV3, events: &EventHandle) -> Option<Arc<Self>> {
        let memory = gic.memory.clone()?;
        let (gic, events) = (Arc::clone(&gic.gic), events.clone());
        Some(Arc::new_cyclic(|this| Self {
            gic,
            memory,
            events,
            this: Weak::clone(this),
            state: Mutex::default(),
        }))
    }

    /// The device-tree node; the board adds the address.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("its", &["arm,gic-v3-its"])
            .prop("msi-controller", PropValue::Empty)
            .prop("#msi-cells", PropValue::Cells(vec![1]))
    }

    /// `event` of the device with this number happens: what a device's write to the translation register means.
    pub fn signal(&self, device: u32, event: u32) {
        let state = self.state.lock();
        if state.enabled
            && let Some((target, cpu)) = self.translate(&state, device, event)
        {
            self.set_pending(cpu, target.intid, true);
        }
    }

    fn set_pending(&self, cpu: usize, intid: u32, pending: bool) {
        self.gic.state.lock().set_lpi(cpu, intid, pending, &self.memory);
    }

    /// The event's entry: its address and what is there.
    fn find(&self, state: &State, device: u32, event: u32) -> Option<(u64, Event)> {
        let address = self.device(state, device)?.event(event)?;
        Some((address, Event::unpack(tables::read(&self.memory, address)?)?))
    }

    fn device(&self, state: &State, device: u32) -> Option<Device> {
        let address = Table(state.tables[spec::DEVICES]).entry(device, &self.memory)?;
        Device::unpack(tables::read(&self.memory, address)?)
    }

    fn collection(&self, state: &State, collection: u16) -> Option<usize> {
        let address = Table(state.tables[spec::COLLECTIONS]).entry(collection.into(), &self.memory)?;
        tables::unpack_collection(tables::read(&self.memory, address)?, self.gic.cpus)
    }

    /// What an event is, and the CPU that it is for.
    fn translate(&self, state: &State, device: u32, event: u32) -> Option<(Event, usize)> {
        let (_, target) = self.find(state, device, event)?;
        Some((target, self.collection(state, target.collection)?))
    }

    /// Takes commands until there are no more, or enough have been taken; the rest goes to the event queue.
    fn take_commands(&self, state: &mut State) {
        let mut left = BATCH;
        while self.has_commands(state) {
            if left == 0 {
                self.post(state);
                return;
            }
            let address = (state.queue & spec::CBASER_ADDRESS) + (state.read & spec::QUEUE_OFFSET);
            let mut bytes = [0; spec::COMMAND as usize];
            if self.memory.read_slice(&mut bytes, GuestAddress(address)).is_err() {
                state.read |= spec::STALLED;
                return;
            }
            let (words, _) = bytes.as_chunks::<8>();
            let mut command = Command([0; 4]);
            command.0.iter_mut().zip(words).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            let mut cost = 1;
            // A command that names what is not there has no effect.
            let _ = self.run(state, &command, &mut cost);
            left = left.saturating_sub(cost);
            state.read = (state.read + spec::COMMAND) % Self::queue_len(state);
        }
    }

    fn post(&self, state: &mut State) {
        if !std::mem::replace(&mut state.posted, true) {
            self.events.post(weakly(&self.this, |this| {
                let mut state = this.state.lock();
                state.posted = false;
                this.take_commands(&mut state);
            }));
        }
    }

    fn queue_len(state: &State) -> u64 {
        ((state.queue & 0xff) + 1) * 4096
    }

    fn has_commands(&self, state: &State) -> bool {
        let write = state.write & spec::QUEUE_OFFSET;
        state.enabled
            && state.queue & spec::VALID != 0
            && state.read & spec::STALLED == 0
            && write < Self::queue_len(state)
            && state.read != write
    }

    /// Runs a command; none if it names what is not there. `cost` rises with what it has to look at.
    fn run(&self, state: &mut State, command: &Command, cost: &mut usize) -> Option<()> {
        let (memory, cpus) = (&self.memory, self.gic.cpus);
        let (device, event) = (command.device(), command.event());
        match command.0[0] as u8 {
            command::MAPD => {
                let address = Table(state.tables[spec::DEVICES]).entry(device, memory)?;
                let size = command.0[1] as u8 & 0x1f;
                let entry = match command.valid() {
                    true if u32::from(size) >= spec::ID_BITS || device >> spec::ID_BITS != 0 => return None,
                    true => Device { events: command.0[2], size }.pack(),
                    false => 0,
                };
                tables::write(memory, address, entry)
            }
            command::MAPC => {
                let table = Table(state.tables[spec::COLLECTIONS]);
                let address = table.entry(command.collection().into(), memory)?;
                let entry = match command.valid() {
                    true => tables::pack_collection(command.redistributor(2, cpus)?),
                    false => 0,
                };
                tables::write(memory, address, entry)
            }
            id @ (command::MAPTI | command::MAPI) => {
                let intid = if id == command::MAPI { event } else { (command.0[1] >> 32) as u32 };
                if !(lpi::FIRST..1 << lpi::INTID_BITS).contains(&intid) {
                    return None;
                }
                let address = self.device(state, device)?.event(event)?;
                tables::write(memory, address, Event { intid, collection: command.collection() }.pack())
            }
            command::MOVI => {
                let (address, target) = self.find(state, device, event)?;
                let moved = Event { collection: command.collection(), ..target };
                let to = self.collection(state, moved.collection)?;
                let from = self.collection(state, target.collection);
                tables::write(memory, address, moved.pack())?;
                let mut gic = self.gic.state.lock();
                if let Some(from) = from
                    && gic.cpus[from].lpis.is_pending(target.intid)
                {
                    gic.set_lpi(from, target.intid, false, memory);
                    gic.set_lpi(to, target.intid, true, memory);
                }
                Some(())
            }
            command::INT => {
                let (target, cpu) = self.translate(state, device, event)?;
                self.set_pending(cpu, target.intid, true);
                Some(())
            }
            command::CLEAR => {
                let (target, cpu) = self.translate(state, device, event)?;
                self.set_pending(cpu, target.intid, false);
                Some(())
            }
            command::DISCARD => {
                let (address, target) = self.find(state, device, event)?;
                if let Some(cpu) = self.collection(state, target.collection) {
                    self.set_pending(cpu, target.intid, false);
                }
                tables::write(memory, address, 0)
            }
            command::INV => {
                let (target, cpu) = self.translate(state, device, event)?;
                let mut gic = self.gic.state.lock();
                let shifted = !gic.single_state;
                gic.cpus[cpu].lpis.refresh(target.intid, memory, shifted);
                gic.update(cpu);
                Some(())
            }
            command::INVALL => {
                let cpu = self.collection(state, command.collection())?;
                let mut gic = self.gic.state.lock();
                let shifted = !gic.single_state;
                *cost += gic.cpus[cpu].lpis.len();
                gic.cpus[cpu].lpis.refresh_all(memory, shifted);
                gic.update(cpu);
                Some(())
            }
            command::MOVALL => {
                let from = command.redistributor(2, cpus)?;
                let to = command.redistributor(3, cpus)?;
                let mut gic = self.gic.state.lock();
                let shifted = !gic.single_state;
                if from != to {
                    let moved = gic.cpus[from].lpis.take_all();
                    *cost += moved.len();
                    for intid in moved {
                        gic.cpus[to].lpis.raise(intid, memory, shifted);
                    }
                    gic.update(from);
                    gic.update(to);
                }
                Some(())
            }
            // Every effect is there when the command has run.
            command::SYNC => Some(()),
            _ => None,
        }
    }

    /// A table register as software reads it.
    fn table_register(state: &State, index: usize) -> u64 {
        state.tables.get(index).map_or(0, |table| {
            table | spec::TYPES[index] << spec::TYPE_SHIFT | (spec::ENTRY - 1) << spec::ENTRY_SHIFT
        })
    }

    fn read_wide(state: &State, register: u64) -> Option<u64> {
        Some(match register {
            spec::TYPER => spec::TYPER_VALUE,
            spec::CBASER => state.queue,
            spec::CWRITER => state.write,
            spec::CREADR => state.read,
            spec::BASER.. => {
                let index = (register - spec::BASER) as usize / 8;
                return (index < spec::BASERS).then(|| Self::table_register(state, index));
            }
            _ => return None,
        })
    }
}

impl Mmio for Its {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_aligned(offset)?;
        let state = self.state.lock();
        if let Some(value) = Self::read_wide(&state, offset & !7) {
            return Ok(Part::of(offset, width)?.get(value));
        }
        width.expect_word(offset)?;
        let value = match offset {
            spec::CTLR => {
                let quiescent = if self.has_commands(&state) { 0 } else { spec::QUIESCENT };
                quiescent | if state.enabled { spec::ENABLED } else { 0 }
            }
            spec::IIDR => v3::spec::IIDR,
            _ => v3::id_register(offset, v3::spec::PARTS[2]),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_aligned(offset)?;
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(old) = Self::read_wide(state, offset & !7) {
            let value = Part::of(offset, width)?.set(old, value);
            match offset & !7 {
                spec::CBASER if !state.enabled => {
                    state.queue = value & spec::CBASER_BITS;
                    state.read = 0;
                }
                spec::CWRITER => state.write = value & spec::QUEUE_OFFSET,
                register @ spec::BASER.. if !state.enabled => {
                    let index = (register - spec::BASER) as usize / 8;
                    if let Some(table) = state.tables.get_mut(index) {
                        *table = value & spec::BASER_BITS;
                    }
                }
                _ => return Ok(()),
            }
        } else if offset == spec::TRANSLATER {
            // A CPU's write is no device's: there is no device number to translate.
            return if width < Width::Half || width > Width::Word { Err(AccessError::Width) } else { Ok(()) };
        } else if width != Width::Word {
            return Err(AccessError::Width);
        } else if offset == spec::CTLR {
            state.enabled = value as u32 & spec::ENABLED != 0;
        } else {
            return Ok(());
        }
        if !state.posted {
            self.take_commands(state);
        }
        Ok(())
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { posted: state.posted, ..State::default() };
    }
}
