//! The PL061: eight lines, each an input with interrupt or an output.
//!
//! As an [`IrqSink`] it has an input for each line, pulled down where nothing drives it. An output drives its wire while its
//! direction is out; otherwise the wire is low.
//!
//! Not modelled: alternate functions of the lines; AFSEL is stored only.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, IrqLine, IrqSink, Mmio, NodeDesc, PropValue, Width};
use parking_lot::Mutex;

use crate::primecell::id_register;
use spec::LINES;

/// A PL061.
pub struct Pl061 {
    // Glue.
    irq: IrqLine,
    outputs: [IrqLine; LINES],
    // State.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The levels that are driven from outside.
    inputs: u8,
    /// What software has written.
    latch: u8,
    direction: u8,
    level_sense: u8,
    both_edges: u8,
    event: u8,
    enable: u8,
    /// Edges that have been seen.
    edges: u8,
    alternate: u8,
}

impl State {
    /// The levels of the lines.
    fn lines(&self) -> u8 {
        self.latch & self.direction | self.inputs & !self.direction
    }

    /// Takes note of edges, after a change from the levels `old`.
    fn changed(&mut self, old: u8) {
        let (new, single) = (self.lines(), !self.both_edges);
        let wanted = self.both_edges | single & !(self.event ^ new);
        self.edges |= (old ^ new) & wanted & !self.level_sense & !self.direction;
    }

    fn raised(&self) -> u8 {
        let levels = !(self.lines() ^ self.event) & self.level_sense & !self.direction;
        self.edges & !self.level_sense | levels
    }
}

impl Pl061 {
    /// Eight lines, with the wires that they drive as outputs.
    pub fn new(irq: IrqLine, outputs: [IrqLine; LINES]) -> Arc<Self> {
        Arc::new(Self { irq, outputs, state: Mutex::default() })
    }

    /// The device-tree node; the board adds the clock that it names.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("pl061", &["arm,pl061", "arm,primecell"])
            .prop("clock-names", PropValue::Str("apb_pclk".into()))
            .prop("#gpio-cells", PropValue::Cells(vec![2]))
            .prop("gpio-controller", PropValue::Empty)
    }

    /// Drives the interrupt line and the outputs. It is called with the lock held, so that two threads' changes reach
    /// them in the order in which they happened.
    fn update(&self, state: &State) {
        for (line, output) in self.outputs.iter().enumerate() {
            output.set(state.latch & state.direction & 1 << line != 0);
        }
        self.irq.set(state.raised() & state.enable != 0);
    }
}

impl IrqSink for Pl061 {
    fn set_line(&self, line: u32, level: bool) {
        if line >= LINES as u32 {
            return;
        }
        let mut state = self.state.lock();
        let old = state.lines();
        state.inputs = state.inputs & !(1 << line) | u8::from(level) << line;
        state.changed(old);
        self.update(&state);
    }
}

impl Mmio for Pl061 {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        // Drivers use words and bytes for the same registers.
        width.expect_low_part(offset)?;
        let state = self.state.lock();
        let value = match offset {
            spec::DATA..spec::DIR => state.lines() & (offset >> 2) as u8,
            spec::DIR => state.direction,
            spec::IS => state.level_sense,
            spec::IBE => state.both_edges,
            spec::IEV => state.event,
            spec::IE => state.enable,
            spec::RIS => state.raised(),
            spec::MIS => state.raised() & state.enable,
            spec::AFSEL => state.alternate,
            _ => id_register(offset, spec::PERIPHERAL_ID).unwrap_or(0),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_low_part(offset)?;
        let value = value as u8;
        let mut state = self.state.lock();
        let old = state.lines();
        match offset {
            spec::DATA..spec::DIR => {
                let mask = (offset >> 2) as u8 & state.direction;
                state.latch = state.latch & !mask | value & mask;
            }
            spec::DIR => state.direction = value,
            spec::IS => state.level_sense = value,
            spec::IBE => state.both_edges = value,
            spec::IEV => state.event = value,
            spec::IE => state.enable = value,
            spec::IC => state.edges &= !value,
            spec::AFSEL => state.alternate = value,
            _ => {}
        }
        state.changed(old);
        self.update(&state);
        Ok(())
    }

    /// The levels that are driven from outside are not ours to reset.
    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { inputs: state.inputs, ..State::default() };
        self.update(&state);
    }
}
