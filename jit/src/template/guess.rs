//! Guesses of where accesses go, from what the guest's registers hold when the code is made.

use emu_core::exec::SLOTS;
use emu_core::fp::Flags;
use emu_core::interp::evaluate;
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

    /// What a slot holds now.
    pub(crate) fn slot(&self, slot: u16) -> u64 {
        self.slots[usize::from(slot)]
    }

    /// Where a slot points to now, if that is in the window.
    pub(crate) fn of_slot(&self, slot: u16) -> Option<Likely> {
        let value = self.slot(slot);
        let found = self.segments.iter().position(|segment| value >> SEGMENT_BITS == segment.number)?;
        Some(if found == 0 && self.low { Likely::Low } else { Likely::In(found) })
    }

    /// What it will be, as far as that can be told.
    fn value(&self, block: &Block, val: Val, at: usize, steps: usize) -> Option<u64> {
        if let Some(value) = block.constant(val) {
            return Some(value);
        }
        let Some(made) = block.insts[..at].iter().rposition(|inst| inst.dst == val) else {
            return match val.kind() {
                ValKind::Slot(n) => self.slots.get(usize::from(n)).copied(),
                _ => None,
            };
        };
        let inst = &block.insts[made];
        let steps = steps.checked_sub(1)?;
        let [a, b, c] = [inst.a, inst.b, inst.c].map(|val| match val.is_none() {
            true => Some(0),
            false => self.value(block, val, made, steps),
        });
        match (inst.op, a, b, c) {
            // One of them is a distance, mostly a small one.
            (Op::Add, Some(known), None, _) | (Op::Add, None, Some(known), _) => Some(known),
            (Op::Sub, Some(known), None, _) => Some(known),
            (op, Some(a), Some(b), Some(c)) if (op as u8) < Op::Pc as u8 => {
                let src = [a, b, c].map(u128::from);
                Some(evaluate(inst, src, &mut Flags::default()) as u64)
            }
            _ => None,
        }
    }
}
