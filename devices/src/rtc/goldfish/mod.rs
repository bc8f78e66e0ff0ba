//! The goldfish real-time clock: wall-clock time in nanoseconds, and one alarm.
//!
//! The guest may set the time; that lasts until the machine is reset. Registers that do not exist read as
//! zero and ignore writes; accesses that are not aligned words are refused. Nothing of the datasheet is left
//! out.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, Width};
use emu_core::sync::{EventHandle, Timer, weakly};
use parking_lot::Mutex;

/// A goldfish RTC.
pub struct GoldfishRtc {
    // Configuration.
    /// The wall-clock time at which the machine's clock showed zero, in nanoseconds since 1970.
    epoch: u64,
    // Glue.
    irq: IrqLine,
    events: EventHandle,
    alarm: Timer,
    // State.
    state: Mutex<State>,
}

struct State {
    /// What the guest's idea of the time is beyond the machine's clock, modulo 2⁶⁴.
    offset: u64,
    latched_high: u32,
    alarm_low: u32,
    alarm_high: u32,
    /// The alarm is set and has not gone off.
    armed: bool,
    pending: bool,
    enabled: bool,
}

impl State {
    fn new(epoch: u64) -> Self {
        Self {
            offset: epoch,
            latched_high: 0,
            alarm_low: 0,
            alarm_high: 0,
            armed: false,
            pending: false,
            enabled: false,
        }
    }

    fn alarm(&self) -> u64 {
        join(self.alarm_high, self.alarm_low)
    }
}

impl GoldfishRtc {
    /// A clock that shows `epoch_ns`, in nanoseconds since 1970 UTC, when the machine's clock shows zero.
    pub fn new(irq: IrqLine, events: &EventHandle, epoch_ns: u64) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let expired = weakly(this, |this| this.update_irq(&mut this.state.lock()));
            Self {
                epoch: epoch_ns,
                irq,
                events: events.clone(),
                alarm: events.timer(expired),
                state: Mutex::new(State::new(epoch_ns)),
            }
        })
    }

    /// The device-tree node.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("rtc", &["google,goldfish-rtc"])
    }

    fn now(&self, state: &State) -> u64 {
        self.events.clock().now_ns().wrapping_add(state.offset)
    }

    fn set_time(&self, state: &mut State, time: u64) {
        state.offset = time.wrapping_sub(self.events.clock().now_ns());
    }

    /// Lets an alarm go off whose time has come, sees to one whose time has not, and drives the line.
    fn update_irq(&self, state: &mut State) {
        if state.armed {
            match state.alarm().checked_sub(self.now(state)).filter(|left| *left > 0) {
                Some(left) => self.alarm.arm(self.events.clock().now_ns().saturating_add(left)),
                None => {
                    state.armed = false;
                    state.pending = true;
                }
            }
        }
        if !state.armed {
            self.alarm.disarm();
        }
        self.irq.set(state.pending && state.enabled);
    }
}

impl Mmio for GoldfishRtc {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_word(offset)?;
        let mut state = self.state.lock();
        let value = match offset {
            spec::TIME_LOW => {
                let (high, low) = split(self.now(&state));
                state.latched_high = high;
                low
            }
            spec::TIME_HIGH => state.latched_high,
            spec::ALARM_LOW => state.alarm_low,
            spec::ALARM_HIGH => state.alarm_high,
            spec::IRQ_ENABLED => state.enabled.into(),
            spec::ALARM_STATUS => state.armed.into(),
            _ => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_word(offset)?;
        let value = value as u32;
        let mut state = self.state.lock();
        let (high, low) = split(self.now(&state));
        match offset {
            spec::TIME_LOW => self.set_time(&mut state, join(high, value)),
            spec::TIME_HIGH => self.set_time(&mut state, join(value, low)),
            spec::ALARM_LOW => {
                state.alarm_low = value;
                state.armed = true;
            }
            spec::ALARM_HIGH => state.alarm_high = value,
            spec::IRQ_ENABLED => state.enabled = value & 1 != 0,
            spec::CLEAR_ALARM => state.armed = false,
            spec::CLEAR_INTERRUPT => state.pending = false,
            _ => {}
        }
        self.update_irq(&mut state);
        Ok(())
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State::new(self.epoch);
        self.update_irq(&mut state);
    }
}

fn split(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
