//! Interrupt lines: level-triggered wires from one device to one input of an interrupt controller or hart.

use std::fmt;
use std::sync::Arc;

/// Something with numbered, level-sensitive inputs: an interrupt controller, or a hart's interrupt pins.
pub trait IrqSink: Send + Sync {
    /// Drives input `line` to `level`. Driving the level that the line already has does nothing.
    fn set_line(&self, line: u32, level: bool);
}

/// One wire. Cloning it gives another handle on the same wire, not a wired-OR.
#[derive(Clone)]
pub struct IrqLine {
    sink: Option<Arc<dyn IrqSink>>,
    line: u32,
}

impl IrqLine {
    /// The wire to input `line` of `sink`.
    pub fn new(sink: Arc<dyn IrqSink>, line: u32) -> Self {
        Self { sink: Some(sink), line }
    }

    /// A wire that leads nowhere, for tests and for outputs that a board leaves open.
    pub fn unconnected() -> Self {
        Self { sink: None, line: 0 }
    }

    /// Drives the wire.
    pub fn set(&self, level: bool) {
        if let Some(sink) = &self.sink {
            sink.set_line(self.line, level);
        }
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sink {
            Some(_) => write!(f, "IrqLine({})", self.line),
            None => f.write_str("IrqLine(unconnected)"),
        }
    }
}
