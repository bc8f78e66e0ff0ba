//! Guesses of where accesses go, from what the guest's registers, and its memory, hold when the code is made.

use emu_core::exec::{Access, Isa, SLOTS, Vcpu};
use emu_core::fp::Flags;
use emu_core::interp::evaluate;
use emu_core::ir::{Block, MemAttr, Op, Ty, Val, ValKind, View};
use emu_core::mem::{PAGE_SIZE, SEGMENT_BITS, SEGMENTS, Segment, Tables};

/// How far an address is followed back.
const MOST_STEPS: usize = 4;

/// What guesses are made from.
#[derive(Clone)]
pub(crate) struct Guess {
    slots: Box<[u64; SLOTS]>,
    segments: Layout,
    /// What some operations of the block in question will load.
    loads: Vec<(usize, u64)>,
    /// The address of the page that it is in.
    page: u64,
}

/// The segments of the window.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    segments: [Segment; SEGMENTS],
    /// The first of them begins at zero.
    low: bool,
}

impl Layout {
    /// Those that the vCPU has now.
    pub(crate) fn new<I: Isa>(vcpu: &Vcpu<I>) -> Self {
        let Tables { segments, low, .. } = vcpu.state.tables;
        Self { segments, low: low != 0 }
    }

    /// Where the address lies, if that is in the window.
    pub(crate) fn of(&self, address: u64) -> Option<Likely> {
        let found = self.segments.iter().position(|segment| address >> SEGMENT_BITS == segment.number)?;
        Some(self.at(found))
    }

    /// All that are there.
    fn all(&self) -> impl Iterator<Item = Likely> {
        let are_there = (0..SEGMENTS).filter(|&n| self.segments[n] != Segment::NONE);
        are_there.map(|n| self.at(n))
    }

    fn at(&self, segment: usize) -> Likely {
        if segment == 0 && self.low { Likely::Low } else { Likely::In(segment) }
    }
}

/// What is known of a value.
#[derive(Clone, Copy)]
struct Value {
    bits: u64,
    /// It is this, not only near it.
    exact: bool,
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
    /// By what the vCPU holds.
    pub(crate) fn new<I: Isa>(vcpu: &Vcpu<I>) -> Self {
        let page = vcpu.state.pc & !(PAGE_SIZE - 1);
        let (slots, segments) = (Box::new(vcpu.state.slots), Layout::new(vcpu));
        Self { slots, segments, loads: Vec::new(), page }
    }

    /// By what some slots hold, if there is one segment, with this number.
    #[cfg(test)]
    pub(crate) fn of_slots(held: &[(u16, u64)], number: u64) -> Self {
        let mut slots = Box::new([0; SLOTS]);
        held.iter().for_each(|&(slot, value)| slots[usize::from(slot)] = value);
        let mut segments = [Segment::NONE; SEGMENTS];
        segments[1] = Segment { number, ..Segment::NONE };
        Self { slots, segments: Layout { segments, low: false }, loads: Vec::new(), page: 0 }
    }

    /// By what the vCPU holds, for accesses of the block at its program counter.
    pub(crate) fn of_block<I: Isa>(vcpu: &Vcpu<I>, block: &Block) -> Self {
        let mut guess = Self::new(vcpu);
        for (at, inst) in block.insts.iter().enumerate() {
            // Addresses are mostly loaded so.
            if (inst.op, inst.ty) != (Op::Load, Ty::I64)
                || MemAttr::from_bits(inst.attr).view != View::Current
            {
                continue;
            }
            let base = guess.value(block, inst.a, at, MOST_STEPS).filter(|value| value.exact);
            let place = base.and_then(|base| {
                let va = base.bits.wrapping_add_signed(inst.imm.into());
                vcpu.mmu.lookup(View::Current, va, 8, Access::Read)
            });
            if let Some(place) = place.filter(|place| place.is_multiple_of(8)) {
                guess.loads.push((at, vcpu.bus.ram().load(place)));
            }
        }
        guess
    }

    /// Where `base`, an operand of the block's operation `at`, will point to.
    pub(crate) fn of(&self, block: &Block, base: Val, at: usize) -> Likely {
        let value = self.value(block, base, at, MOST_STEPS);
        let found =
            value.and_then(|value| self.segments.of(value.bits)).or_else(|| self.segments.all().next());
        found.unwrap_or(self.segments.at(0))
    }

    /// The segments of the window.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Likely> {
        self.segments.all()
    }

    /// What a slot holds now.
    pub(crate) fn slot(&self, slot: u16) -> u64 {
        self.slots[usize::from(slot)]
    }

    /// The segment that the address is in, if there is one.
    pub(crate) fn segment_of(&self, address: u64) -> Option<Likely> {
        self.segments.of(address)
    }

    /// What it will be, as far as that can be told.
    fn value(&self, block: &Block, val: Val, at: usize, steps: usize) -> Option<Value> {
        if let Some(bits) = block.constant(val) {
            return Some(Value { bits, exact: true });
        }
        let Some(made) = block.made(val, at) else {
            return match val.kind() {
                ValKind::Slot(n) => Some(Value { bits: *self.slots.get(usize::from(n))?, exact: true }),
                _ => None,
            };
        };
        let inst = &block.insts[made];
        if inst.op == Op::Load {
            let loaded = self.loads.iter().find(|&&(at, _)| at == made);
            return loaded.map(|&(_, bits)| Value { bits, exact: true });
        }
        if inst.op == Op::Pc {
            let bits = self.page.wrapping_add_signed(inst.imm.into());
            return Some(Value { bits, exact: true });
        }
        let steps = steps.checked_sub(1)?;
        let near = |value: Value| Some(Value { exact: false, ..value });
        let [a, b, c] = [inst.a, inst.b, inst.c].map(|val| match val.is_none() {
            true => Some(Value { bits: 0, exact: true }),
            false => self.value(block, val, made, steps),
        });
        match (inst.op, a, b, c) {
            // One of them is a distance, mostly a small one.
            (Op::Add, Some(known), None, _) | (Op::Add, None, Some(known), _) => near(known),
            (Op::Sub, Some(known), None, _) => near(known),
            (op, Some(a), Some(b), Some(c)) if (op as u8) < Op::Pc as u8 => {
                let src = [a, b, c].map(|value| u128::from(value.bits));
                let bits = evaluate(inst, src, &mut Flags::default()) as u64;
                Some(Value { bits, exact: [a, b, c].iter().all(|value| value.exact) })
            }
            _ => None,
        }
    }
}
