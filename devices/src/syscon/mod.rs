//! The SiFive test finisher, through which a RISC-V guest switches itself off, restarts, or hands back an
//! exit code.
//!
//! A failure whose exit code is zero is reported as code 1, so that no failure looks like a success. Other
//! values written, and the rest of the register space, do nothing; reads give zero.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, Mmio, NodeDesc, PowerRequest, PowerSink, PropValue, Width};

/// A test finisher.
pub struct TestFinisher {
    power: Arc<dyn PowerSink>,
}

impl TestFinisher {
    /// A finisher that acts on `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> Arc<Self> {
        Arc::new(Self { power })
    }

    /// The device-tree node.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("test", &["sifive,test1", "sifive,test0", "syscon"])
    }

    /// The nodes, at the root of the tree, that tell an operating system which values power off and reboot.
    /// `device` is the name under which the board knows this finisher.
    pub fn describe_power(device: &str) -> [NodeDesc; 2] {
        let node = |name, compatible, value: u16| {
            NodeDesc::new(name, compatible)
                .prop("regmap", PropValue::Phandle(device.into()))
                .prop("offset", PropValue::Cells(vec![spec::FINISHER as u32]))
                .prop("value", PropValue::Cells(vec![value.into()]))
        };
        [node("poweroff", &["syscon-poweroff"], spec::PASS), node("reboot", &["syscon-reboot"], spec::RESET)]
    }
}

impl Mmio for TestFinisher {
    fn read(&self, _offset: u64, _width: Width) -> Result<u64, AccessError> {
        Ok(0)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        if !matches!(width, Width::Half | Width::Word) {
            return Err(AccessError::Width);
        }
        let (status, code) = (value as u16, (value >> 16) as u16);
        let request = match (offset, status) {
            (spec::FINISHER, spec::PASS) => PowerRequest::Off { code: 0 },
            (spec::FINISHER, spec::FAIL) => PowerRequest::Off { code: code.max(1) },
            (spec::FINISHER, spec::RESET) => PowerRequest::Reset,
            _ => return Ok(()),
        };
        self.power.request(request);
        Ok(())
    }

    fn reset(&self) {}
}
