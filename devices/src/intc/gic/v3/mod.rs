//! GICv3: distributor and redistributors as memory-mapped registers, CPU interfaces as system registers
//! ([`SystemRegisters`]).
//!
//! Affinity routing and the system registers are always on: there is no GICv2 in it. CPU n has affinity 0.0.0.n.
//!
//! Not modelled: interrupts for one of several CPUs, message-based SPIs, extended INTID ranges, direct injection of
//! LPIs by registers, Non-secure access control (GICD_NSACR reads as zero), non-maskable interrupts, GICv4.

mod redistributor;
pub mod spec;
mod system;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, IrqLine, IrqSink, Mmio, NodeDesc, PropValue, Width};
use emu_core::mem::GuestMemory;

use super::block::LEN;
use super::distributor::{self, Frame};
use super::group::Group;
use super::lpi;
use super::spec::Register;
use super::state::State;
use super::{Gic, GicConfig, Outputs, Security, Version};
use crate::part::Part;
use redistributor::Redistributors;
use spec::gicd;
pub use system::{Requester, SystemRegisters};

/// A GICv3.
pub struct GicV3 {
    pub(super) gic: Arc<Gic>,
    /// Where the tables of LPIs are; without it there are none.
    pub(super) memory: Option<GuestMemory>,
}

impl GicV3 {
    /// A GIC with a CPU for each of `outputs`, and LPIs if it has `memory` for their tables.
    ///
    /// # Panics
    /// If there are no CPUs, more than [`super::MAX_CPUS`], or the number of shared interrupts is not a multiple of 32
    /// from 32 to [`super::MAX_SPIS`].
    pub fn new(config: GicConfig, outputs: Vec<Outputs>, memory: Option<GuestMemory>) -> Self {
        Self { gic: Gic::new(GicConfig { version: Version::V3, ..config }, outputs), memory }
    }

    /// The input lines of the shared interrupts: line n is INTID 32 + n.
    pub fn inputs(&self) -> Arc<dyn IrqSink> {
        Arc::clone(&self.gic) as Arc<dyn IrqSink>
    }

    /// The wire to the private peripheral interrupt `intid` (16 to 31) of `cpu`.
    pub fn ppi(&self, cpu: usize, intid: u32) -> IrqLine {
        self.gic.ppi(cpu, intid)
    }

    /// The distributor. Resetting any view resets the whole GIC but for its ITS.
    pub fn distributor(&self, security: Security) -> Arc<dyn Mmio> {
        Arc::new(Distributor { gic: Arc::clone(&self.gic), security, lpis: self.memory.is_some() })
    }

    /// The redistributors of all CPUs, one behind the other.
    pub fn redistributors(&self, security: Security) -> Arc<dyn Mmio> {
        Arc::new(Redistributors { gic: Arc::clone(&self.gic), memory: self.memory.clone(), security })
    }

    /// The system registers of `cpu`.
    pub fn system_registers(&self, cpu: usize) -> SystemRegisters {
        SystemRegisters::new(&self.gic, cpu)
    }

    /// The device-tree node; the board adds the addresses, and the maintenance interrupt.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("intc", &["arm,gic-v3"])
            .prop("#interrupt-cells", PropValue::Cells(vec![3]))
            .prop("interrupt-controller", PropValue::Empty)
            .prop("#redistributor-regions", PropValue::Cells(vec![1]))
    }
}

/// The identification registers that all frames of a GICv3 end with; zero between them.
pub(super) fn id_register(offset: u64, part: u8) -> u32 {
    let index = offset.checked_sub(spec::ID).map(|at| at as usize / 4);
    index.and_then(|index| spec::id_values(part).get(index).copied()).unwrap_or(0).into()
}

/// The CPU with an affinity.
fn cpu_at(cpus: usize, affinity: u32) -> Option<usize> {
    Some(affinity as usize).filter(|&cpu| cpu < cpus)
}

struct Distributor {
    gic: Arc<Gic>,
    security: Security,
    lpis: bool,
}

impl Distributor {
    fn frame(&self, state: &State) -> Frame {
        let restricted = Gic::restricted(state, self.security);
        Frame { cpu: 0, words: 1..usize::MAX, restricted, v2: false }
    }

    fn control(&self, state: &State, restricted: bool) -> u32 {
        let enabled = |group, bit| if state.enabled.has(group) { bit } else { 0 };
        let one = enabled(Group::One, gicd::ENABLE_1);
        if restricted {
            return one | gicd::ARE;
        }
        let both = enabled(Group::Zero, gicd::ENABLE_0) | one | gicd::ARE;
        match state.single_state {
            true => both | gicd::DS,
            false => both | enabled(Group::OneSecure, gicd::ENABLE_1S) | gicd::ARE_NS,
        }
    }

    fn set_control(&self, state: &mut State, restricted: bool, value: u32) {
        let has = |bit| value & bit != 0;
        state.enabled.set(Group::One, has(gicd::ENABLE_1));
        if restricted {
            return;
        }
        state.enabled.set(Group::Zero, has(gicd::ENABLE_0));
        if !state.single_state {
            state.enabled.set(Group::OneSecure, has(gicd::ENABLE_1S));
            state.single_state = has(gicd::DS);
        }
    }

    fn typer(&self, state: &State) -> u32 {
        let security = if state.single_state { 0 } else { gicd::TYPER_SECURITY };
        let (lpis, bits) = if self.lpis {
            (gicd::TYPER_LPIS, lpi::INTID_BITS)
        } else {
            (0, u32::BITS - 1023u32.leading_zeros())
        };
        (self.gic.config.spis / 32)
            | security
            | lpis
            | (bits - 1) << gicd::TYPER_ID_BITS_SHIFT
            | gicd::TYPER_NO_1_OF_N
    }

    /// The interrupt whose route is at `offset`, if it exists and the access sees it.
    fn routed(&self, state: &State, offset: u64) -> Option<(usize, usize)> {
        let intid = ((offset - gicd::IROUTER) / 8) as usize;
        let (word, bit) = (intid / LEN, intid % LEN);
        let block = state.block(0, word).filter(|_| word > 0)?;
        let restricted = Gic::restricted(state, self.security);
        (state.visible(block, restricted) >> bit & 1 != 0).then_some((word, bit))
    }
}

/// GICD_IROUTER has affinity 3 in bits 39:32, apart from the others.
fn route_register(affinity: u32) -> u64 {
    u64::from(affinity & 0xff_ffff) | u64::from(affinity >> 24) << 32
}

fn route_affinity(register: u64) -> u32 {
    register as u32 & 0xff_ffff | ((register >> 32) as u32 & 0xff) << 24
}

impl Mmio for Distributor {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_aligned(offset)?;
        let state = self.gic.state.lock();
        let frame = self.frame(&state);
        if let Some(register) = Register::at(offset) {
            return distributor::read(&state, &frame, register, width);
        }
        if let gicd::IROUTER..gicd::IROUTER_END = offset {
            let part = Part::of(offset, width)?;
            let route =
                self.routed(&state, offset).and_then(|(word, bit)| Some(state.block(0, word)?.route[bit]));
            return Ok(part.get(route.map_or(0, route_register)));
        }
        width.expect_word(offset)?;
        let value = match offset {
            gicd::CTLR => self.control(&state, frame.restricted),
            gicd::TYPER => self.typer(&state),
            gicd::IIDR => spec::IIDR,
            _ => id_register(offset, spec::PARTS[0]),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_aligned(offset)?;
        let mut state = self.gic.state.lock();
        let state = &mut *state;
        let frame = self.frame(state);
        if let Some(register) = Register::at(offset) {
            distributor::write(state, &frame, register, width, value)?;
        } else if let gicd::IROUTER..gicd::IROUTER_END = offset {
            let part = Part::of(offset, width)?;
            if let Some((word, bit)) = self.routed(state, offset)
                && let Some(block) = state.block_mut(0, word)
            {
                let affinity = route_affinity(part.set(route_register(block.route[bit]), value));
                block.route[bit] = affinity;
                block.targets[bit] = cpu_at(self.gic.cpus, affinity).map_or(0, |cpu| 1 << cpu);
            }
        } else if width != Width::Word {
            return Err(AccessError::Width);
        } else if offset == gicd::CTLR {
            self.set_control(state, frame.restricted, value as u32);
        } else {
            return Ok(());
        }
        state.update_all();
        Ok(())
    }

    fn reset(&self) {
        self.gic.state.lock().reset();
    }
}
