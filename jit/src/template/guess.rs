//! Guesses of where accesses go, from what the guest's registers hold when the code is made.

use emu_core::exec::SLOTS;
use emu_core::ir::{Block, Op, Val, ValKind};
use emu_core::mem::{SEGMENT_BITS, SEGMENTS, Segment, Tables};

/// How far an address is followed back.
const MOST_STEPS: usize = 4;

/// What guesses are made from.
#[derive(Clone)]
pub(crate) struct Guess {
    slots: Box<[u64; SLOTS]>,
    segments: [Segment; SEGMENTS],
    /// The first of them is that of the lowest addresses.
    low: bool,
}

/// A guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Likely {
    /// In the first segment, which begins at zero.
    Low,
    /// In this segment.
    In(usize),
}

impl Likely {
    /// The segment's number.
    pub(crate) const fn segment(self) -> usize {
        match self {
            Self::Low => 0,
            Self::In(n) => n,
        }
    }
}

impl Guess {
    pub(crate) fn new(slots: &[u64; SLOTS], tables: &Tables) -> Self {
        Self { slots: Box::new(*slots), segments: tables.segments, low: tables.low != 0 }
    }

    /// Where `base`, an operand of the block's operation `at`, will point to.
    pub(crate) fn of(&self, block: &Block, base: Val, at: usize) -> Likely {
        let value = self.value(block, base, at, MOST_STEPS);
        let is_it = |segment: &Segment| value.is_some_and(|value| value >> SEGMENT_BITS == segment.number);
        match self.segments.iter().position(is_it) {
            Some(0) | None if self.low => Likely::Low,
            found => Likely::In(found.unwrap_or(0)),
        }
    }

    /// About what it will be: distances are not looked at.
    fn value(&self, block: &Block, val: Val, at: usize, steps: usize) -> Option<u64> {
        match val.kind() {
            ValKind::Slot(n) => self.slots.get(usize::from(n)).copied(),
            ValKind::Const(_) => block.constant(val),
            ValKind::Temp(_) => {
                let made = block.insts[..at].iter().rposition(|inst| inst.dst == val)?;
                let inst = &block.insts[made];
                let from = matches!(inst.op, Op::Mov | Op::Add | Op::Sub).then_some(inst.a)?;
                self.value(block, from, made, steps.checked_sub(1)?)
            }
            ValKind::None => None,
        }
    }
}
