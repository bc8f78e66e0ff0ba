//! A GICv2m frame: message-signalled interrupts for a GIC that knows none (Arm Server Base System Architecture, DEN0029,
//! appendix "GICv2m Architecture"). A write of an interrupt's number makes an edge on that interrupt's line.

use std::ops::Range;
use std::sync::Arc;

use emu_core::device::{AccessError, IrqSink, Mmio, NodeDesc, PropValue, Width};

/// Bytes of register space.
pub const SIZE: u64 = 0x1000;
/// Read-only: the first INTID in bits 25:16, how many there are in bits 9:0.
pub const MSI_TYPER: u64 = 0x008;
/// Write-only: an INTID in bits 9:0 makes that interrupt pending.
pub const MSI_SETSPI_NS: u64 = 0x040;
/// Implementer: Arm.
pub const MSI_IIDR: u64 = 0xfcc;

const IIDR: u32 = 0x0000_043b;

/// A frame.
pub struct V2mFrame {
    lines: Range<u32>,
    inputs: Arc<dyn IrqSink>,
}

impl V2mFrame {
    /// A frame for shared interrupts `lines` (0 is INTID 32), which are `inputs` of a GIC.
    pub fn new(inputs: Arc<dyn IrqSink>, lines: Range<u32>) -> Arc<Self> {
        Arc::new(Self { lines, inputs })
    }

    /// The device-tree node; the board adds the address.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("v2m", &["arm,gic-v2m-frame"]).prop("msi-controller", PropValue::Empty)
    }
}

impl Mmio for V2mFrame {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_word(offset)?;
        let value = match offset {
            MSI_TYPER => (self.lines.start + 32) << 16 | self.lines.len() as u32,
            MSI_IIDR => IIDR,
            _ => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_aligned(offset)?;
        if !matches!(width, Width::Half | Width::Word) {
            return Err(AccessError::Width);
        }
        let line = (value as u32 & 0x3ff).checked_sub(32).filter(|line| self.lines.contains(line));
        if let (MSI_SETSPI_NS, Some(line)) = (offset, line) {
            self.inputs.set_line(line, true);
            self.inputs.set_line(line, false);
        }
        Ok(())
    }

    fn reset(&self) {}
}
