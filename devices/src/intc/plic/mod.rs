//! The RISC-V platform-level interrupt controller (PLIC 1.0.0, as SiFive's).
//!
//! Inputs are level-sensitive, each behind a gateway (§1.2 of the specification): a raised line becomes one
//! request, and there is no further one until some target completes it. A request stays pending if its line
//! falls before the claim. Outputs are one line per context (a hart's external interrupt input at one
//! privilege mode).
//!
//! Not modelled: edge-triggered gateways, and delays between the parts. Gaps in the memory map read as zero
//! and ignore writes; accesses that are not aligned words are refused.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, IrqLine, IrqSink, Mmio, NodeDesc, PropValue, Width};
use parking_lot::Mutex;

use spec::Register;

/// What an implementer of a PLIC may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlicConfig {
    /// Number of sources, the absent source 0 included: 2 to 1024.
    pub sources: u32,
    /// Implemented bits of priorities and thresholds: 1 to 31.
    pub priority_bits: u32,
}

/// A PLIC. As an [`IrqSink`] its inputs are its sources; source 0 and sources beyond the last are ignored.
pub struct Plic {
    // Configuration.
    config: PlicConfig,
    // Glue.
    outputs: Vec<IrqLine>,
    // State.
    state: Mutex<State>,
}

struct State {
    priority: Vec<u32>,
    /// The level of each input line.
    level: Bits,
    pending: Bits,
    /// Sources whose gateway has forwarded a request that has not been completed.
    in_flight: Bits,
    contexts: Vec<Context>,
    /// Nothing has been accessed since the reset; see [`State::awake`].
    fresh: bool,
}

struct Context {
    enabled: Bits,
    threshold: u32,
    /// The level of the output line.
    asserted: bool,
}

impl Plic {
    /// A PLIC with one context per output line.
    ///
    /// # Panics
    /// If the memory map has no room for that many sources or contexts, or the priority width is not 1 to 31.
    pub fn new(config: PlicConfig, outputs: Vec<IrqLine>) -> Arc<Self> {
        assert!((2..=spec::MAX_SOURCES).contains(&config.sources), "{} sources", config.sources);
        assert!((1..=31).contains(&config.priority_bits), "{} priority bits", config.priority_bits);
        assert!(outputs.len() <= spec::MAX_CONTEXTS, "{} contexts", outputs.len());
        let state = Mutex::new(State::new(&config, outputs.len()));
        Arc::new(Self { config, outputs, state })
    }

    /// Bytes of register space that `contexts` contexts take.
    pub const fn size(contexts: u64) -> u64 {
        spec::CONTEXT + contexts * spec::CONTEXT_STRIDE
    }

    /// The device-tree node; the board adds `interrupts-extended`, one entry per context.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("plic", &["sifive,plic-1.0.0", "riscv,plic0"])
            .prop("#interrupt-cells", PropValue::Cells(vec![1]))
            .prop("#address-cells", PropValue::Cells(vec![0]))
            .prop("interrupt-controller", PropValue::Empty)
            .prop("riscv,ndev", PropValue::Cells(vec![self.config.sources - 1]))
    }

    fn is_source(&self, source: u32) -> bool {
        source > 0 && source < self.config.sources
    }

    fn priority_mask(&self) -> u32 {
        (1 << self.config.priority_bits) - 1
    }

    /// The bits of enable or pending word `word` that stand for sources that exist.
    fn source_mask(&self, word: usize) -> u32 {
        (0..32).filter(|bit| self.is_source(word as u32 * 32 + bit)).fold(0, |mask, bit| mask | 1 << bit)
    }

    /// Drives the output lines to what the state says. It is called with the lock held, so that two threads'
    /// changes reach the harts in the order in which they happened.
    fn update_irq(&self, state: &mut State) {
        let State { priority, pending, contexts, .. } = state;
        for (context, output) in contexts.iter_mut().zip(&self.outputs) {
            let level = pending
                .and(&context.enabled)
                .any(|source| priority.get(source).is_some_and(|p| *p > context.threshold));
            if level != context.asserted {
                context.asserted = level;
                output.set(level);
            }
        }
    }
}

impl State {
    fn new(config: &PlicConfig, contexts: usize) -> Self {
        let bits = || Bits::new(config.sources);
        let context = || Context { enabled: bits(), threshold: 0, asserted: false };
        Self {
            priority: vec![0; config.sources as usize],
            level: bits(),
            pending: bits(),
            in_flight: bits(),
            contexts: (0..contexts).map(|_| context()).collect(),
            fresh: true,
        }
    }

    /// Lets the gateways see lines that stayed up through a reset. That waits for the first access after it:
    /// a reset goes through the devices of the board one by one, and takes down lines that are up when this
    /// one has its turn.
    fn awake(&mut self) {
        if std::mem::take(&mut self.fresh) {
            for source in 1..self.priority.len() as u32 {
                self.forward(source);
            }
        }
    }

    /// The gateway of `source`: forwards a request if its line is up and none is on its way.
    fn forward(&mut self, source: u32) {
        if self.level.get(source) && !self.in_flight.get(source) && !self.pending.get(source) {
            self.in_flight.set(source, true);
            self.pending.set(source, true);
        }
    }

    /// §1.6: the pending and enabled source with the highest priority, the lowest number among equals; zero
    /// if there is none. The threshold plays no part, and priority 0 means never.
    fn claim(&mut self, context: usize) -> u32 {
        let Some(context) = self.contexts.get(context) else { return 0 };
        let mut best = (0, 0);
        for source in self.pending.and(&context.enabled) {
            let priority = self.priority.get(source).copied().unwrap_or(0);
            if priority > best.0 {
                best = (priority, source as u32);
            }
        }
        let (_, source) = best;
        self.pending.set(source, false);
        self.forward(source);
        source
    }

    /// §1.8: completion of a source that is not enabled for the context is ignored; whether it was this
    /// context that claimed it is not checked.
    fn complete(&mut self, context: usize, source: u32) {
        if self.contexts.get(context).is_some_and(|context| context.enabled.get(source)) {
            self.in_flight.set(source, false);
            self.forward(source);
        }
    }
}

impl IrqSink for Plic {
    fn set_line(&self, line: u32, level: bool) {
        let mut state = self.state.lock();
        if !self.is_source(line) || state.level.get(line) == level {
            return;
        }
        state.level.set(line, level);
        if level && !state.fresh {
            state.forward(line);
            self.update_irq(&mut state);
        }
    }
}

impl Mmio for Plic {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        let mut state = self.state.lock();
        state.awake();
        let value = match register(offset, width)? {
            Some(Register::Priority(source)) => state.priority.get(source as usize).copied(),
            Some(Register::Pending(word)) => state.pending.word(word),
            Some(Register::Enable(context, word)) => {
                state.contexts.get(context).and_then(|context| context.enabled.word(word))
            }
            Some(Register::Threshold(context)) => state.contexts.get(context).map(|c| c.threshold),
            Some(Register::ClaimComplete(context)) => {
                let source = state.claim(context);
                if source != 0 {
                    self.update_irq(&mut state);
                }
                Some(source)
            }
            None => None,
        };
        Ok(value.unwrap_or(0).into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let value = value as u32;
        let mut state = self.state.lock();
        state.awake();
        match register(offset, width)? {
            Some(Register::Priority(source)) if self.is_source(source) => {
                state.priority[source as usize] = value & self.priority_mask();
            }
            Some(Register::Enable(context, word)) => {
                let value = value & self.source_mask(word);
                if let Some(context) = state.contexts.get_mut(context) {
                    context.enabled.set_word(word, value);
                }
            }
            Some(Register::Threshold(context)) => {
                if let Some(context) = state.contexts.get_mut(context) {
                    context.threshold = value & self.priority_mask();
                }
            }
            Some(Register::ClaimComplete(context)) => state.complete(context, value),
            Some(Register::Priority(_) | Register::Pending(_)) | None => return Ok(()),
        }
        self.update_irq(&mut state);
        Ok(())
    }

    /// The levels of the input lines are not ours to reset: one that stays up makes a new request.
    fn reset(&self) {
        let mut state = self.state.lock();
        let fresh = State::new(&self.config, self.outputs.len());
        let State { level, contexts, .. } = std::mem::replace(&mut *state, fresh);
        for (context, output) in contexts.iter().zip(&self.outputs) {
            if context.asserted {
                output.set(false);
            }
        }
        state.level = level;
    }
}

fn register(offset: u64, width: Width) -> Result<Option<Register>, AccessError> {
    width.expect_word(offset)?;
    Ok(Register::at(offset))
}

/// One bit per source. Bits beyond the end read as zero and ignore writes.
struct Bits(Vec<u32>);

impl Bits {
    fn new(bits: u32) -> Self {
        Self(vec![0; bits.div_ceil(32) as usize])
    }

    fn get(&self, bit: u32) -> bool {
        self.word(bit as usize / 32).is_some_and(|word| word >> (bit % 32) & 1 != 0)
    }

    fn set(&mut self, bit: u32, value: bool) {
        if let Some(word) = self.0.get_mut(bit as usize / 32) {
            *word = *word & !(1 << (bit % 32)) | u32::from(value) << (bit % 32);
        }
    }

    fn word(&self, index: usize) -> Option<u32> {
        self.0.get(index).copied()
    }

    fn set_word(&mut self, index: usize, value: u32) {
        if let Some(word) = self.0.get_mut(index) {
            *word = value;
        }
    }

    /// The numbers of the bits that are set both here and in `other`, in ascending order.
    fn and<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        self.0.iter().zip(&other.0).enumerate().flat_map(|(index, (a, b))| {
            let mut word = a & b;
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.checked_sub(1)?;
                Some(index * 32 + bit)
            })
        })
    }
}
