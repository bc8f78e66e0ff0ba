//! The PL031 real-time clock: seconds, and one alarm.
//!
//! It shows the host's time and runs from power-on. The guest may set the time; that lasts until the machine is reset.
//! Setting the time to, or past, an alarm's does not raise it: an alarm is raised at the second that it names.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, PropValue, Width};
use emu_core::sync::{EventHandle, Timer, weakly};
use parking_lot::Mutex;

use crate::primecell::id_register;

const NS_PER_S: u64 = 1_000_000_000;

/// A PL031.
pub struct Pl031 {
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

#[derive(Default)]
struct State {
    /// What the guest's idea of the time is beyond the host's, modulo 2³².
    offset: u32,
    /// What was written last, to be read back.
    load: u32,
    matches: u32,
    /// When the alarm is to be raised, in nanoseconds since 1970 by the host's time.
    due: Option<u64>,
    raised: bool,
    mask: bool,
}

impl Pl031 {
    /// A clock that shows `epoch_ns`, in nanoseconds since 1970 UTC, when the machine's clock shows zero.
    pub fn new(irq: IrqLine, events: &EventHandle, epoch_ns: u64) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let expired = weakly(this, |this| this.update_irq(&mut this.state.lock()));
            Self {
                epoch: epoch_ns,
                irq,
                events: events.clone(),
                alarm: events.timer(expired),
                state: Mutex::default(),
            }
        })
    }

    /// The device-tree node; the board adds the clock that it names.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("pl031", &["arm,pl031", "arm,primecell"])
            .prop("clock-names", PropValue::Str("apb_pclk".into()))
    }

    /// Nanoseconds since 1970 by the host's time.
    fn now(&self) -> u64 {
        self.events.clock().now_ns().wrapping_add(self.epoch)
    }

    fn seconds(&self, state: &State) -> u32 {
        ((self.now() / NS_PER_S) as u32).wrapping_add(state.offset)
    }

    /// Sees to it that the alarm is raised at the beginning of the second that it names.
    fn set_alarm(&self, state: &mut State) {
        let now = self.now();
        let left = state.matches.wrapping_sub(self.seconds(state));
        state.due = Some(now / NS_PER_S * NS_PER_S + u64::from(left) * NS_PER_S);
    }

    /// Raises an alarm whose time has come, sees to one whose time has not, and drives the line.
    fn update_irq(&self, state: &mut State) {
        match state.due {
            Some(due) if due > self.now() => self.alarm.arm(due.wrapping_sub(self.epoch)),
            Some(_) => {
                state.due = None;
                state.raised = true;
                self.alarm.disarm();
            }
            None => self.alarm.disarm(),
        }
        self.irq.set(state.raised && state.mask);
    }
}

impl Mmio for Pl031 {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_word(offset)?;
        let state = self.state.lock();
        let value = match offset {
            spec::DR => self.seconds(&state),
            spec::MR => state.matches,
            spec::LR => state.load,
            spec::CR => 1,
            spec::IMSC => state.mask.into(),
            spec::RIS => state.raised.into(),
            spec::MIS => (state.raised && state.mask).into(),
            _ => id_register(offset, spec::PERIPHERAL_ID).unwrap_or(0).into(),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_word(offset)?;
        let value = value as u32;
        let mut state = self.state.lock();
        match offset {
            spec::LR => {
                state.load = value;
                state.offset = value.wrapping_sub((self.now() / NS_PER_S) as u32);
                if state.due.is_some() {
                    self.set_alarm(&mut state);
                }
            }
            spec::MR => {
                state.matches = value;
                self.set_alarm(&mut state);
            }
            spec::IMSC => state.mask = value & 1 != 0,
            spec::ICR if value & 1 != 0 => state.raised = false,
            _ => {}
        }
        self.update_irq(&mut state);
        Ok(())
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State::default();
        self.update_irq(&mut state);
    }
}
