//! The performance monitoring extension (SBI 3.0, chapter 11).
//!
//! Logical counter numbers are those of the CSRs for hardware counters (0 `cycle`, 2 `instret`, 3 and up
//! `hpmcounter`; Linux relies on it), then the firmware counters follow. 1, which would be `time`, and
//! programmable counters that the hart lacks are holes: invalid numbers below [`Call::num_counters`].
//!
//! Snapshot memory is not offered; the specification makes it optional.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vm_memory::{Address, Bytes, GuestAddress};

use super::{Call, SbiError, SbiResult, csr};

pub(super) const ID: u64 = 0x50_4d55;

const FW_COUNTERS: usize = 16;
const CYCLE: u8 = 0;
const INSTRET: u8 = 2;

const CONFIG_SKIP_MATCH: u64 = 1 << 0;
const CONFIG_CLEAR_VALUE: u64 = 1 << 1;
const CONFIG_AUTO_START: u64 = 1 << 2;
/// The five privilege mode filters, in bits 7:3 for VU, VS, U, S, M.
const CONFIG_FILTERS: u64 = 0b1_1111 << 3;
const CONFIG_ALL: u64 = CONFIG_SKIP_MATCH | CONFIG_CLEAR_VALUE | CONFIG_AUTO_START | CONFIG_FILTERS;
/// The same filters in `mhpmevent`, `mcyclecfg` and `minstretcfg` are bits 62:58, in the same order.
const FILTER_SHIFT: u32 = 58 - 3;
/// The overflow bit of `mhpmevent` (Sscofpmf): while it is set, an overflow raises no interrupt.
const MHPMEVENT_OF: u64 = 1 << 63;

const START_SET_INIT_VALUE: u64 = 1 << 0;
const START_INIT_SNAPSHOT: u64 = 1 << 1;
const STOP_RESET: u64 = 1 << 0;
const STOP_TAKE_SNAPSHOT: u64 = 1 << 1;

/// The most entries that one `sbi_pmu_event_get_info` takes, so that it ends soon.
const MOST_EVENTS: u64 = 4096;

/// A hardware event (SBI 3.0, §11.1 to §11.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HwEvent {
    /// A general event, by code: 1 is CPU cycles, 2 instructions, 10 reference cycles.
    General(u16),
    /// A cache event, by code: cache in bits 15:3, operation in 2:1, result in 0.
    Cache(u16),
    /// Whatever `mhpmevent` counts with this value in its low bits.
    Raw(u64),
}

/// How programmable counters count an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSelector {
    /// What bits 57:0 of `mhpmevent` are set to.
    pub value: u64,
    /// Which counters can count it: bit *n* is `mhpmcounter`*n*; bits 2:0 do not count.
    pub counters: u32,
}

/// The firmware events that this firmware has, with their codes (SBI 3.0, §11.5). The trap events (0 to 4)
/// are not among them: all these traps go to S-mode directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FwEvent {
    SetTimer = 5,
    IpiSent = 6,
    IpiReceived = 7,
    FenceISent = 8,
    FenceIReceived = 9,
    SfenceVmaSent = 10,
    SfenceVmaReceived = 11,
    SfenceVmaAsidSent = 12,
    SfenceVmaAsidReceived = 13,
}

const FW_EVENTS: [FwEvent; 9] = [
    FwEvent::SetTimer,
    FwEvent::IpiSent,
    FwEvent::IpiReceived,
    FwEvent::FenceISent,
    FwEvent::FenceIReceived,
    FwEvent::SfenceVmaSent,
    FwEvent::SfenceVmaReceived,
    FwEvent::SfenceVmaAsidSent,
    FwEvent::SfenceVmaAsidReceived,
];

/// One hart's part of the extension.
#[derive(Debug, Default)]
pub(super) struct Pmu {
    /// How often each of [`FW_EVENTS`] has happened since power-on, counted whether or not anybody looks.
    totals: [AtomicU64; FW_EVENTS.len()],
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    /// The hardware counters that have been given an event, by number.
    mapped: u32,
    /// Those of them that run.
    started: u32,
    firmware: [FwCounter; FW_COUNTERS],
}

/// A firmware counter: the total of its event, less an offset while it runs.
#[derive(Clone, Copy, Debug, Default)]
struct FwCounter {
    event: Option<FwEvent>,
    started: bool,
    /// The counter's value while it is stopped; what is subtracted from the total while it runs.
    value: u64,
}

impl Pmu {
    /// Notes that `event` has happened on this hart.
    pub(super) fn count(&self, event: FwEvent) {
        self.total(event).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reset(&self) {
        *self.counters.lock() = Counters::default();
    }

    fn total(&self, event: FwEvent) -> &AtomicU64 {
        &self.totals[event as usize - FW_EVENTS[0] as usize]
    }

    fn read(&self, counter: &FwCounter) -> u64 {
        match counter.event {
            Some(event) if counter.started => {
                self.total(event).load(Ordering::Relaxed).wrapping_sub(counter.value)
            }
            _ => counter.value,
        }
    }

    fn start(&self, counter: &mut FwCounter, initial: Option<u64>) -> Result<(), SbiError> {
        let event = counter.event.ok_or(SbiError::InvalidParam)?;
        if counter.started {
            return Err(SbiError::AlreadyStarted);
        }
        let value = initial.unwrap_or(counter.value);
        counter.value = self.total(event).load(Ordering::Relaxed).wrapping_sub(value);
        counter.started = true;
        Ok(())
    }

    fn stop(&self, counter: &mut FwCounter) -> Result<(), SbiError> {
        counter.value = self.read(counter);
        let started = std::mem::take(&mut counter.started);
        started.then_some(()).ok_or(SbiError::AlreadyStopped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// By CSR number less that of `cycle`.
    Hardware(u8),
    Firmware(usize),
}

impl Counter {
    /// Whether it counts one event for ever.
    fn is_fixed(self) -> bool {
        matches!(self, Self::Hardware(CYCLE | INSTRET))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Hardware(HwEvent),
    Firmware(FwEvent),
    /// A code that the specification defines and this firmware does not have.
    Absent,
}

impl Event {
    /// Decodes an `event_idx` and its data; [`SbiError::InvalidParam`] where the specification reserves the
    /// value.
    fn decode(index: u64, data: u64) -> Result<Self, SbiError> {
        let code = index as u16;
        let (cache, operation) = (code >> 3, code >> 1 & 3);
        Ok(match index >> 16 {
            0 if code == 0 && data == 0 => Self::Absent,
            0 if code <= 10 && data == 0 => Self::Hardware(HwEvent::General(code)),
            1 if cache <= 6 && operation <= 2 && data == 0 => Self::Hardware(HwEvent::Cache(code)),
            2 if code == 0 && data < 1 << 48 => Self::Hardware(HwEvent::Raw(data)),
            3 if code == 0 && data < 1 << 58 => Self::Hardware(HwEvent::Raw(data)),
            15 => match (code, data) {
                (0..=21, 0) => FW_EVENTS
                    .into_iter()
                    .find(|&event| event as u16 == code)
                    .map_or(Self::Absent, Self::Firmware),
                (256..0xffff, 0) | (0xffff, _) => Self::Absent,
                _ => return Err(SbiError::InvalidParam),
            },
            _ => return Err(SbiError::InvalidParam),
        })
    }
}

impl Call<'_> {
    pub(super) fn pmu(mut self) -> SbiResult {
        let [a0, a1, a2, a3, a4, ..] = self.args;
        match self.function {
            0 => Ok(self.num_counters()),
            1 => match self.counter(a0)? {
                Counter::Hardware(n) => Ok(u64::from(csr::CYCLE + u16::from(n)) | 63 << 12),
                Counter::Firmware(_) => Ok(1 << 63 | 63 << 12),
            },
            2 => self.config_matching(a0, a1, a2, Event::decode(a3, a4)?),
            3 => self.start(a0, a1, a2, a3),
            4 => self.stop(a0, a1, a2),
            5 => self.fw_read(a0),
            // The upper half of a value that fits the register.
            6 => self.fw_read(a0).map(|_| 0),
            8 => self.event_info(a0, a1, a2, a3),
            _ => Err(SbiError::NotSupported),
        }
    }

    /// The hardware counters of the hart, by number.
    fn hardware(&self) -> u32 {
        self.platform.hpm_counters() & !0b111 | 1 << CYCLE | 1 << INSTRET
    }

    fn num_counters(&self) -> u64 {
        u64::from(32 - self.hardware().leading_zeros()) + FW_COUNTERS as u64
    }

    fn counter(&self, index: u64) -> Result<Counter, SbiError> {
        let hardware = self.hardware();
        let first_firmware = u64::from(32 - hardware.leading_zeros());
        match index.checked_sub(first_firmware) {
            None if hardware >> index & 1 != 0 => Ok(Counter::Hardware(index as u8)),
            Some(n) if n < FW_COUNTERS as u64 => Ok(Counter::Firmware(n as usize)),
            _ => Err(SbiError::InvalidParam),
        }
    }

    /// The counters of a set argument, all valid.
    fn counter_set(&self, base: u64, mask: u64) -> Result<Vec<(u64, Counter)>, SbiError> {
        let bits = (0..64).filter(|bit| mask >> bit & 1 != 0);
        bits.map(|bit| {
            let index = base.checked_add(bit).ok_or(SbiError::InvalidParam)?;
            Ok((index, self.counter(index)?))
        })
        .collect()
    }

    fn config_matching(&mut self, base: u64, mask: u64, flags: u64, event: Event) -> SbiResult {
        let set = self.counter_set(base, mask)?;
        if flags & !CONFIG_ALL != 0 {
            return Err(SbiError::InvalidParam);
        }
        let pmu = &self.state.pmu;
        let mut counters = pmu.counters.lock();
        let selector = match event {
            Event::Hardware(event) => self.platform.event_selector(event),
            _ => None,
        };
        let free = |counter| match counter {
            Counter::Hardware(n) => counters.mapped >> n & 1 == 0 && can_count(n, event, selector),
            Counter::Firmware(n) => {
                matches!(event, Event::Firmware(_)) && counters.firmware[n].event.is_none()
            }
        };
        let chosen = if flags & CONFIG_SKIP_MATCH != 0 {
            set.first().copied().ok_or(SbiError::InvalidParam)?
        } else {
            // Programmable counters first: the fixed ones can neither interrupt nor, without Smcntrpmf, filter.
            let candidates = set.into_iter().filter(|&(_, counter)| free(counter));
            candidates.min_by_key(|&(_, counter)| counter.is_fixed()).ok_or(SbiError::NotSupported)?
        };
        let (index, counter) = chosen;
        match (counter, event) {
            (Counter::Hardware(n), _) if can_count(n, event, selector) => {
                let filters = (flags & CONFIG_FILTERS) << FILTER_SHIFT;
                let (register, value) = match n {
                    CYCLE => (csr::MCYCLECFG, 0),
                    INSTRET => (csr::MINSTRETCFG, 0),
                    _ => (csr::MHPMEVENT + u16::from(n), selector.map_or(0, |selector| selector.value)),
                };
                self.platform.write_csr(register, value & !(0b11_1111 << 58) | filters);
                counters.mapped |= 1 << n;
            }
            (Counter::Firmware(n), Event::Firmware(event)) => {
                let counter = &mut counters.firmware[n];
                let value = pmu.read(counter);
                *counter = FwCounter { event: Some(event), started: false, value };
            }
            _ => return Err(SbiError::NotSupported),
        }
        drop(counters);
        if flags & CONFIG_CLEAR_VALUE != 0 {
            self.set_value(counter, 0);
        }
        if flags & CONFIG_AUTO_START != 0 {
            // One that runs already, chosen without matching, goes on running.
            let _ = self.start_one(counter, None);
        }
        Ok(index)
    }

    fn set_value(&mut self, counter: Counter, value: u64) {
        match counter {
            Counter::Hardware(n) => self.platform.write_csr(csr::MCYCLE + u16::from(n), value),
            Counter::Firmware(n) => self.state.pmu.counters.lock().firmware[n].value = value,
        }
    }

    fn start(&mut self, base: u64, mask: u64, flags: u64, initial: u64) -> SbiResult {
        let set = self.counter_set(base, mask)?;
        if flags & !(START_SET_INIT_VALUE | START_INIT_SNAPSHOT) != 0 {
            return Err(SbiError::InvalidParam);
        }
        if flags & START_INIT_SNAPSHOT != 0 {
            return Err(SbiError::NoSharedMemory);
        }
        let initial = (flags & START_SET_INIT_VALUE != 0).then_some(initial);
        self.each(&set, |call, counter| call.start_one(counter, initial))
    }

    fn start_one(&mut self, counter: Counter, initial: Option<u64>) -> Result<(), SbiError> {
        let pmu = &self.state.pmu;
        let mut counters = pmu.counters.lock();
        let n = match counter {
            Counter::Hardware(n) => n,
            Counter::Firmware(n) => return pmu.start(&mut counters.firmware[n], initial),
        };
        if counters.mapped >> n & 1 == 0 {
            return Err(SbiError::InvalidParam);
        }
        if counters.started >> n & 1 != 0 {
            return Err(SbiError::AlreadyStarted);
        }
        counters.started |= 1 << n;
        drop(counters);
        if n > INSTRET {
            self.update_csr(csr::MHPMEVENT + u16::from(n), MHPMEVENT_OF, 0);
        }
        if let Some(initial) = initial {
            self.set_value(counter, initial);
        }
        self.update_csr(csr::MCOUNTINHIBIT, 1 << n, 0);
        Ok(())
    }

    fn stop(&mut self, base: u64, mask: u64, flags: u64) -> SbiResult {
        let set = self.counter_set(base, mask)?;
        if flags & !(STOP_RESET | STOP_TAKE_SNAPSHOT) != 0 {
            return Err(SbiError::InvalidParam);
        }
        if flags & STOP_TAKE_SNAPSHOT != 0 {
            return Err(SbiError::NoSharedMemory);
        }
        self.each(&set, |call, counter| call.stop_one(counter, flags & STOP_RESET != 0))
    }

    /// Stops a counter; with `reset` also takes its event away, if it was stopped before as well.
    fn stop_one(&mut self, counter: Counter, reset: bool) -> Result<(), SbiError> {
        let pmu = &self.state.pmu;
        let mut counters = pmu.counters.lock();
        let n = match counter {
            Counter::Hardware(n) => n,
            Counter::Firmware(n) => {
                let result = pmu.stop(&mut counters.firmware[n]);
                if reset {
                    counters.firmware[n].event = None;
                }
                return result;
            }
        };
        let started = counters.started >> n & 1 != 0;
        counters.started &= !(1 << n);
        if reset {
            counters.mapped &= !(1 << n);
        }
        drop(counters);
        if started {
            self.update_csr(csr::MCOUNTINHIBIT, 0, 1 << n);
        }
        if reset && n > INSTRET {
            self.platform.write_csr(csr::MHPMEVENT + u16::from(n), 0);
        }
        started.then_some(()).ok_or(SbiError::AlreadyStopped)
    }

    /// Does `action` to every counter of the set, whatever becomes of the others; the first error, if there
    /// was one.
    fn each(
        &mut self,
        set: &[(u64, Counter)],
        mut action: impl FnMut(&mut Self, Counter) -> Result<(), SbiError>,
    ) -> SbiResult {
        let results = set.iter().map(|&(_, counter)| action(self, counter));
        results.fold(Ok(()), Result::and).map(|()| 0)
    }

    fn update_csr(&mut self, number: u16, clear: u64, set: u64) {
        if let Some(value) = self.platform.read_csr(number) {
            self.platform.write_csr(number, value & !clear | set);
        }
    }

    fn fw_read(&self, index: u64) -> SbiResult {
        match self.counter(index)? {
            Counter::Hardware(_) => Err(SbiError::InvalidParam),
            Counter::Firmware(n) => {
                let pmu = &self.state.pmu;
                Ok(pmu.read(&pmu.counters.lock().firmware[n]))
            }
        }
    }

    fn event_info(&mut self, low: u64, high: u64, entries: u64, flags: u64) -> SbiResult {
        if flags != 0 || !low.is_multiple_of(16) {
            return Err(SbiError::InvalidParam);
        }
        let len = entries.checked_mul(16).ok_or(SbiError::InvalidAddress)?;
        let at = self.memory_range(low, high, len).ok_or(SbiError::InvalidAddress)?;
        if entries > MOST_EVENTS {
            return Err(SbiError::Failed);
        }
        for entry in (0..len).step_by(16).map(|offset| at.unchecked_add(offset)) {
            let read = |at: GuestAddress| self.platform.memory().read_obj::<u64>(at);
            let index = read(entry).map_err(|_| SbiError::Failed)? & 0xffff_ffff;
            let data = read(entry.unchecked_add(8)).map_err(|_| SbiError::Failed)?;
            let supported = self.supports(Event::decode(index, data)?);
            let output = entry.unchecked_add(4);
            self.platform.memory().write_obj(u32::from(supported), output).map_err(|_| SbiError::Failed)?;
        }
        Ok(0)
    }

    fn supports(&self, event: Event) -> bool {
        let Event::Hardware(hardware) = event else { return matches!(event, Event::Firmware(_)) };
        let selector = self.platform.event_selector(hardware);
        let counters = self.hardware();
        (0..32).any(|n| counters >> n & 1 != 0 && can_count(n, event, selector))
    }
}

/// Whether hardware counter `n` can count an event that programmable counters count by `selector`.
fn can_count(n: u8, event: Event, selector: Option<EventSelector>) -> bool {
    match n {
        CYCLE => event == Event::Hardware(HwEvent::General(1)),
        INSTRET => event == Event::Hardware(HwEvent::General(2)),
        _ => selector.is_some_and(|selector| selector.counters >> n & 1 != 0),
    }
}
