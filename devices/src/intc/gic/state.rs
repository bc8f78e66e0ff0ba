//! The state machine of interrupts, from input line to the CPU's pins: the same for all versions.
//!
//! An interrupt is pending, active or both. What the distributor has pending for a CPU, enabled and of an enabled
//! group, competes by priority; the winner is signalled if the CPU interface lets it through. Acknowledging makes it
//! active and its priority running; the end of it takes back the one, the other, or both.

use std::sync::Arc;

use emu_core::device::IrqLine;
use emu_core::mem::GuestMemory;

use super::block::{Block, LEN, bits};
use super::group::{Group, Groups};
use super::interface::{Interface, Pending};
use super::lpi::{self, Lpis};
use super::virt::Virtual;
use super::{GicConfig, Output, Outputs};

/// INTIDs below this are private to each CPU: 16 SGIs, 16 PPIs.
pub(super) const PRIVATE: u32 = LEN as u32;
/// SGIs have INTIDs below this.
pub(super) const SGIS: usize = 16;
/// "Nothing pending": the answer where there is no interrupt (IHI 0069H, §2.2.1 "Special INTIDs").
pub(super) const SPURIOUS: u32 = 1023;

/// What belongs to one CPU.
pub(super) struct Cpu {
    pub(super) private: Block,
    /// GICv2: the CPUs from which each SGI is pending. GICv3 does not tell them apart, and has zero here.
    pub(super) sgi_sources: [u8; SGIS],
    pub(super) lpis: Lpis,
    pub(super) interface: Interface,
    /// The redistributor does not forward interrupts (GICR_WAKER).
    pub(super) asleep: bool,
    /// Group 0 is signalled as FIQ.
    pub(super) fiq: bool,
    /// GICv2: what acknowledges Group 0 acknowledges Group 1 too.
    pub(super) ack_ctl: bool,
    /// The end of an interrupt drops its priority only; deactivation is a step of its own. For Secure software (all,
    /// where there is one Security state), Non-secure software and EL3.
    pub(super) split_end: [bool; 3],
    pub(super) virt: Virtual,
    /// The winner of the competition.
    pub(super) highest: Option<Pending>,
    outputs: Outputs,
    /// The outputs that are driven high.
    driven: u8,
}

/// The state of a GIC.
pub(super) struct State {
    pub(super) config: Arc<GicConfig>,
    /// There is one Security state: there is no Secure Group 1, and everybody sees everything.
    pub(super) single_state: bool,
    /// The groups that the distributor forwards.
    pub(super) enabled: Groups,
    pub(super) shared: Vec<Block>,
    pub(super) cpus: Vec<Cpu>,
}

impl State {
    pub(super) fn new(config: &Arc<GicConfig>, outputs: Vec<Outputs>) -> Self {
        let cpu = |outputs| Cpu {
            private: Block::new(),
            sgi_sources: [0; SGIS],
            lpis: Lpis::default(),
            interface: Interface::new(),
            asleep: false,
            fiq: false,
            ack_ctl: false,
            split_end: [false; 3],
            virt: Virtual::new(false),
            highest: None,
            outputs,
            driven: 0,
        };
        let mut state = Self {
            config: Arc::clone(config),
            single_state: true,
            enabled: Groups::NONE,
            shared: vec![Block::new(); config.spis as usize / LEN],
            cpus: outputs.into_iter().map(cpu).collect(),
        };
        state.reset();
        state
    }

    /// Power-on, but for the input lines.
    pub(super) fn reset(&mut self) {
        let config = Arc::clone(&self.config);
        let GicConfig { version, security, .. } = *config;
        self.single_state = !security;
        self.enabled = Groups::NONE;
        for block in &mut self.shared {
            block.reset(Block::new());
            if version.is_v3() || self.cpus.len() == 1 {
                // Affinity 0, or the only one: the first CPU.
                block.targets = [1; LEN];
            }
        }
        for cpu in &mut self.cpus {
            // SGIs are edges.
            cpu.private.reset(Block { edge: 0xffff, ..Block::new() });
            cpu.sgi_sources = [0; SGIS];
            cpu.lpis = Lpis::default();
            cpu.interface = Interface::new();
            cpu.asleep = version.is_v3();
            cpu.fiq = version.is_v3();
            cpu.ack_ctl = false;
            cpu.split_end = [false; 3];
            cpu.virt = Virtual::new(version.is_v3());
        }
        self.update_all();
    }

    /// The block of INTIDs from 32 · `word`, as `cpu` sees it.
    pub(super) fn block(&self, cpu: usize, word: usize) -> Option<&Block> {
        match word.checked_sub(1) {
            None => self.cpus.get(cpu).map(|cpu| &cpu.private),
            Some(shared) => self.shared.get(shared),
        }
    }

    pub(super) fn block_mut(&mut self, cpu: usize, word: usize) -> Option<&mut Block> {
        match word.checked_sub(1) {
            None => self.cpus.get_mut(cpu).map(|cpu| &mut cpu.private),
            Some(shared) => self.shared.get_mut(shared),
        }
    }

    /// The block that an INTID is in, and its place in it; none for LPIs and what does not exist.
    fn find(&mut self, cpu: usize, intid: u32) -> Option<(&mut Block, usize)> {
        let (word, bit) = split(intid);
        Some((self.block_mut(cpu, word)?, bit))
    }

    /// The group of an interrupt; none if it does not exist.
    pub(super) fn group_of(&self, cpu: usize, intid: u32) -> Option<Group> {
        if intid >= lpi::FIRST {
            return Some(Group::One);
        }
        let (word, bit) = split(intid);
        Some(self.block(cpu, word)?.group_of(bit, self.single_state))
    }

    /// The interrupts of a block that an access sees.
    pub(super) fn visible(&self, block: &Block, restricted: bool) -> u32 {
        if restricted { block.members(Groups::only(Group::One), self.single_state) } else { u32::MAX }
    }

    /// Drives the input line of an interrupt.
    pub(super) fn set_level(&mut self, cpu: usize, intid: u32, level: bool) {
        if let Some((block, bit)) = self.find(cpu, intid)
            && block.set_level(bit, level)
        {
            self.changed(cpu, intid);
        }
    }

    /// Makes an SGI pending on `target`, from `source` where that is told apart.
    pub(super) fn send_sgi(&mut self, target: usize, sgi: usize, source: Option<usize>) {
        if let Some(cpu) = self.cpus.get_mut(target)
            && sgi < SGIS
        {
            cpu.private.latch |= 1 << sgi;
            cpu.sgi_sources[sgi] |= source.map_or(0, |source| 1 << source);
            self.update(target);
        }
    }

    /// Sets or clears which CPUs an SGI is pending from.
    pub(super) fn set_sgi_sources(&mut self, cpu: usize, sgi: usize, sources: u8) {
        if let Some(cpu) = self.cpus.get_mut(cpu) {
            cpu.sgi_sources[sgi] = sources;
            let pending = u32::from(sources != 0) << sgi;
            cpu.private.latch = cpu.private.latch & !(1 << sgi) | pending;
        }
    }

    /// Makes an LPI pending, or not.
    pub(super) fn set_lpi(&mut self, cpu: usize, intid: u32, pending: bool, memory: &GuestMemory) {
        let shifted = !self.single_state;
        let Some(state) = self.cpus.get_mut(cpu) else { return };
        if pending {
            state.lpis.raise(intid, memory, shifted);
        } else {
            state.lpis.clear(intid);
        }
        self.update(cpu);
    }

    /// The interrupt that is signalled to `cpu`.
    pub(super) fn signalled(&self, cpu: usize) -> Option<Pending> {
        let cpu = self.cpus.get(cpu)?;
        cpu.highest.filter(|pending| cpu.interface.signals(pending))
    }

    /// `cpu` takes what is signalled to it. For an SGI of a GICv2, the CPU that it is from.
    pub(super) fn acknowledge(&mut self, cpu: usize, pending: &Pending) -> u32 {
        let intid = pending.intid;
        let Some(state) = self.cpus.get_mut(cpu) else { return 0 };
        state.interface.activate(pending);
        if intid >= lpi::FIRST {
            state.lpis.clear(intid);
            self.update(cpu);
            return 0;
        }
        let (word, bit) = split(intid);
        let source = match state.sgi_sources.get_mut(intid as usize) {
            Some(sources) if *sources != 0 => {
                let source = sources.trailing_zeros();
                *sources &= *sources - 1;
                Some((source, *sources != 0))
            }
            _ => None,
        };
        if let Some(block) = self.block_mut(cpu, word) {
            block.active |= 1 << bit;
            if !source.is_some_and(|(_, more)| more) {
                block.latch &= !(1 << bit);
            }
        }
        self.changed(cpu, intid);
        // The running priority is this CPU's, whoever the targets are.
        self.update(cpu);
        source.map_or(0, |(source, _)| source)
    }

    /// An interrupt is no longer active, if it is of one of `groups`.
    pub(super) fn deactivate(&mut self, cpu: usize, intid: u32, groups: Groups) {
        let single_state = self.single_state;
        if let Some((block, bit)) = self.find(cpu, intid)
            && groups.has(block.group_of(bit, single_state))
        {
            block.active &= !(1 << bit);
            self.changed(cpu, intid);
        }
    }

    /// Something about one interrupt has changed.
    fn changed(&mut self, cpu: usize, intid: u32) {
        if intid < PRIVATE {
            self.update(cpu);
            return;
        }
        let (word, bit) = split(intid);
        let targets = self.block(cpu, word).map_or(0, |block| block.targets[bit]);
        for target in bits(targets.into()) {
            self.update(target);
        }
    }

    pub(super) fn update_all(&mut self) {
        for cpu in 0..self.cpus.len() {
            self.update(cpu);
        }
    }

    /// Lets the interrupts of `cpu` compete anew, and drives its pins. It is called with the lock held, so that two
    /// threads' changes reach the pins in the order in which they happened.
    pub(super) fn update(&mut self, cpu: usize) {
        let Some(state) = self.cpus.get_mut(cpu) else { return };
        if let Some(maintenance) = self.config.maintenance {
            state.private.set_level(maintenance as usize, state.virt.maintenance());
        }
        let highest = self.compete(cpu);
        let separate = self.config.version.is_v3() && !self.single_state;
        let state = &mut self.cpus[cpu];
        state.highest = highest;
        let mut driven = state.virt.outputs();
        if let Some(pending) = highest.filter(|pending| state.interface.signals(pending)) {
            driven |= 1
                << match pending.group {
                    Group::Zero if state.fiq => Output::Fiq,
                    Group::OneSecure => Output::Group1Secure,
                    Group::One if separate => Output::Group1NonSecure,
                    Group::Zero | Group::One => Output::Irq,
                } as u8;
        }
        for output in bits((driven ^ state.driven).into()) {
            state.outputs.0[output].set(driven >> output & 1 != 0);
        }
        state.driven = driven;
    }

    /// The pending interrupt of `cpu` with the highest priority, the lowest INTID among equals.
    fn compete(&self, cpu: usize) -> Option<Pending> {
        let state = self.cpus.get(cpu)?;
        let groups = self.enabled.and(state.interface.enabled);
        if state.asleep || groups == Groups::NONE {
            return None;
        }
        let mut best: Option<Pending> = None;
        let mut enter = |pending: Pending| {
            if best.is_none_or(|best| pending.priority < best.priority) {
                best = Some(pending);
            }
        };
        for (word, block) in std::iter::once(&state.private).chain(&self.shared).enumerate() {
            let candidates = block.candidates();
            if candidates == 0 {
                continue;
            }
            for bit in bits(candidates & block.members(groups, self.single_state)) {
                if word == 0 || block.targets[bit] >> cpu & 1 != 0 {
                    let intid = (word * LEN + bit) as u32;
                    let group = block.group_of(bit, self.single_state);
                    enter(Pending { intid, priority: block.priority[bit], group });
                }
            }
        }
        if groups.has(Group::One)
            && let Some((priority, intid)) = state.lpis.first()
        {
            enter(Pending { intid, priority, group: Group::One });
        }
        best
    }
}

/// The number of an INTID's block, and its place in it.
fn split(intid: u32) -> (usize, usize) {
    (intid as usize / LEN, intid as usize % LEN)
}

/// Wires that lead nowhere.
impl Default for Outputs {
    fn default() -> Self {
        Self::from_fn(|_| IrqLine::unconnected())
    }
}
