//! Boards: each one table, from which the bus, the interrupt wiring and the device tree are derived.

pub mod riscv_virt;

use std::sync::Arc;

use emu_core::device::{IrqSink, Mmio, NodeDesc, PropValue};
use emu_core::sync::Port;

/// A device of a board, as it was built.
pub struct Built {
    /// The name in the board's table.
    pub name: &'static str,
    /// Guest-physical address of its registers.
    pub base: u64,
    /// Bytes of register space.
    pub size: u64,
    /// Its inputs of the interrupt controller.
    pub irqs: &'static [u32],
    /// The device.
    pub device: Arc<dyn Mmio>,
    /// Its own part of the device tree; none if the guest is not told of it.
    pub node: Option<NodeDesc>,
    /// The interrupt pins of each hart that it drives, for controllers.
    pub hart_pins: &'static [u32],
}

/// A hart's interrupt pins as an interrupt sink: line n is pin n.
pub struct HartPins(pub Arc<Port>);

impl IrqSink for HartPins {
    fn set_line(&self, line: u32, level: bool) {
        let mask = 1u64.checked_shl(line).unwrap_or(0);
        self.0.set_pins(mask, if level { mask } else { 0 });
    }
}

/// A hart's interrupt pins where an interrupt is an edge: the hart itself takes the level away again.
pub struct HartEdges(pub Arc<Port>);

impl IrqSink for HartEdges {
    fn set_line(&self, line: u32, level: bool) {
        if level {
            let mask = 1u64.checked_shl(line).unwrap_or(0);
            self.0.set_pins(mask, mask);
        }
    }
}

/// A list of cells that hold 64-bit numbers, high half first.
pub fn cells_64(values: &[u64]) -> PropValue {
    PropValue::Cells(values.iter().flat_map(|v| [(v >> 32) as u32, *v as u32]).collect())
}
