//! Redistributors: each CPU's frame for LPIs and power, and its frame for SGIs and PPIs.

use std::sync::Arc;

use emu_core::device::{AccessError, Mmio, Width};
use emu_core::mem::GuestMemory;

use super::spec::{self, gicr};
use super::{Gic, Security, id_register};
use crate::intc::gic::distributor::{self, Frame};
use crate::intc::gic::spec::Register;
use crate::intc::gic::state::State;
use crate::part::Part;

/// The redistributors of all CPUs, one behind the other.
pub(super) struct Redistributors {
    pub(super) gic: Arc<Gic>,
    pub(super) memory: Option<GuestMemory>,
    pub(super) security: Security,
}

impl Redistributors {
    /// The CPU whose redistributor is at `offset`, and the offset within it.
    fn locate(&self, offset: u64) -> Result<(usize, u64), AccessError> {
        let cpu = (offset / spec::REDISTRIBUTOR_SIZE) as usize;
        if cpu < self.gic.cpus {
            Ok((cpu, offset % spec::REDISTRIBUTOR_SIZE))
        } else {
            Err(AccessError::Unmapped)
        }
    }

    /// The register of SGIs and PPIs at `offset`, and what is seen through it.
    fn private(&self, state: &State, cpu: usize, offset: u64) -> Option<(Register, Frame)> {
        let register = Register::at(offset.checked_sub(spec::SGI_FRAME)?)?;
        let restricted = Gic::restricted(state, self.security);
        Some((register, Frame { cpu, words: 0..1, restricted, v2: false }))
    }

    fn typer(&self, cpu: usize) -> u64 {
        let lpis = if self.memory.is_some() { gicr::TYPER_PLPIS } else { 0 };
        let last = if cpu + 1 == self.gic.cpus { gicr::TYPER_LAST } else { 0 };
        let cpu = cpu as u64;
        lpis | last | cpu << 8 | cpu << 32
    }

    fn read_wide(&self, state: &State, cpu: usize, register: u64) -> Option<u64> {
        let lpis = &state.cpus[cpu].lpis;
        match register {
            gicr::TYPER => Some(self.typer(cpu)),
            gicr::PROPBASER => Some(lpis.properties()),
            gicr::PENDBASER => Some(lpis.pending_base()),
            _ => None,
        }
    }
}

impl Mmio for Redistributors {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        let (cpu, offset) = self.locate(offset)?;
        width.expect_aligned(offset)?;
        let state = self.gic.state.lock();
        if let Some((register, frame)) = self.private(&state, cpu, offset) {
            return distributor::read(&state, &frame, register, width);
        }
        if let Some(value) = self.read_wide(&state, cpu, offset & !7) {
            return Ok(Part::of(offset, width)?.get(value));
        }
        width.expect_word(offset)?;
        let restricted = Gic::restricted(&state, self.security);
        let value = match offset {
            gicr::CTLR if self.memory.is_none() => 0,
            gicr::CTLR => gicr::CES | if state.cpus[cpu].lpis.enabled { gicr::ENABLE_LPIS } else { 0 },
            gicr::IIDR => spec::IIDR,
            gicr::WAKER if state.cpus[cpu].asleep && !restricted => {
                gicr::PROCESSOR_SLEEP | gicr::CHILDREN_ASLEEP
            }
            _ => id_register(offset % spec::SGI_FRAME, spec::PARTS[1]),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let (cpu, offset) = self.locate(offset)?;
        width.expect_aligned(offset)?;
        let mut state = self.gic.state.lock();
        let state = &mut *state;
        let restricted = Gic::restricted(state, self.security);
        let shifted = !state.single_state;
        if let Some((register, frame)) = self.private(state, cpu, offset) {
            distributor::write(state, &frame, register, width, value)?;
        } else if let Some(old) = self.read_wide(state, cpu, offset & !7) {
            let value = Part::of(offset, width)?.set(old, value);
            let lpis = &mut state.cpus[cpu].lpis;
            match offset & !7 {
                _ if self.memory.is_none() => {}
                gicr::PROPBASER => lpis.set_properties(value),
                gicr::PENDBASER => lpis.set_pending_base(value),
                _ => {}
            }
            return Ok(());
        } else if width != Width::Word {
            return Err(AccessError::Width);
        } else {
            match (offset, &self.memory) {
                (gicr::CTLR, Some(memory)) => {
                    let on = value as u32 & gicr::ENABLE_LPIS != 0;
                    state.cpus[cpu].lpis.enable(on, memory, shifted);
                }
                (gicr::WAKER, _) if !restricted => {
                    state.cpus[cpu].asleep = value as u32 & gicr::PROCESSOR_SLEEP != 0;
                }
                _ => return Ok(()),
            }
        }
        state.update(cpu);
        Ok(())
    }

    /// The distributor resets everything.
    fn reset(&self) {}
}
