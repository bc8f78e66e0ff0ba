//! Bases of accesses that are known, where the access is made, to be in a certain segment of the window, or not far from it: the
//! address has been looked at before, or another access by it has been made, and since then it has only been moved by short
//! steps, or copied.
//!
//! A base that leaves its segment leaves it by as little as it moves between two accesses, and the window has room on both sides
//! of a segment that is never mapped ([`GUARD`]). So the first access from outside is refused by the host, and the region is
//! left.
//!
//! Where nothing but that lies between where the region is entered and an access, the base is looked at where it is entered.
//!
//! The room is also larger than an index of 32 bits reaches. Where a base in a segment and a value that cannot be larger than
//! that ([`bounds`]) are added, the sum need not be looked at; what becomes of an access by it says nothing of the base.

use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use emu_core::ir::{Block, Inst, Op, Ty, Val, ValKind};
use emu_core::mem::{FAR, GUARD};

use super::bounds;
use super::mem::{Group, Groups, Window};
use super::slots;
use super::step;
use crate::region::plan::Plan;
use crate::template::guess::{Guess, Likely};

/// How far accesses may be from such a base.
const NEAR: u64 = GUARD / 4;
/// How far such a base may be from its segment. With an access at the distance above, and its bytes, that is less than the room.
const MOST_AWAY: u64 = GUARD / 2;

/// What an address is made of, as long as nothing in it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Slot(u16),
    /// The first, and the second shifted to the left.
    Sum(u16, u16, u8),
}

/// What is known of a base at some point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    /// Nothing leads there.
    Never,
    Near(Near),
    Unknown,
}

/// A base is in a segment, or not far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Near {
    likely: Likely,
    /// So many bytes at most.
    by: u64,
    /// If these bases, a bit for each, are where they are expected to be where the region is entered.
    provided: u64,
}

/// A base that is looked at where the region is entered.
pub(super) struct AtEntry {
    pub base: Base,
    /// Where it points to.
    pub likely: Likely,
    /// Something is added to it.
    pub is_below: bool,
}

impl Base {
    fn of_slot(val: Val) -> Option<Self> {
        match val.kind() {
            ValKind::Slot(n) => Some(Self::Slot(n)),
            _ => None,
        }
    }

    /// What the base of the access that is operation `at` is made of; the slots in it hold there what it was made from.
    pub(super) fn of(block: &Block, val: Val, at: usize) -> Option<Self> {
        if let Some(slot) = Self::of_slot(val) {
            return Some(slot);
        }
        let made = block.made(val, at)?;
        let sum = &block.insts[made];
        let ValKind::Slot(first) = sum.a.kind() else { return None };
        if (sum.op, sum.ty) != (Op::Add, Ty::I64) {
            return None;
        }
        let (second, shift, since) = match sum.b.kind() {
            ValKind::Slot(n) => (n, 0, made),
            ValKind::Temp(_) => {
                let since = block.made(sum.b, made)?;
                let shifted = &block.insts[since];
                let ValKind::Slot(n) = shifted.a.kind() else { return None };
                if (shifted.op, shifted.ty) != (Op::Shl, Ty::I64) {
                    return None;
                }
                (n, u8::try_from(block.constant(shifted.b)?).ok().filter(|&shift| shift < 4)?, since)
            }
            _ => return None,
        };
        let parts = [first, second].map(Val::slot);
        let is_current = block.insts[since..at].iter().all(|inst| !parts.contains(&inst.dst));
        is_current.then_some(Self::Sum(first, second, shift))
    }

    /// The base that the window has room from for all that has been added to it to make the base of the access that is operation `at`,
    /// and what that is; both are there what they were then.
    pub(super) fn below(block: &Block, val: Val, at: usize) -> Option<(Self, Val)> {
        let made = block.made(val, at)?;
        let sum = &block.insts[made];
        let parts = [sum.a, sum.b];
        let is_current = block.insts[made..at].iter().all(|inst| !parts.contains(&inst.dst));
        let is_sum = (sum.op, sum.ty) == (Op::Add, Ty::I64) && is_current;
        let below = |base, index| {
            let most = bounds::most(block, index, made)?;
            Some((Self::of_slot(base)?, index)).filter(|_| is_sum && most <= FAR)
        };
        below(sum.a, sum.b).or_else(|| below(sum.b, sum.a))
    }

    /// The base of the access that is operation `at`, and the one below that.
    fn both(block: &Block, val: Val, at: usize) -> [Option<Self>; 2] {
        [Self::of(block, val, at), Self::below(block, val, at).map(|(base, _)| base)]
    }

    /// The slots in it, and by how many bits to the left each is shifted.
    fn parts(self) -> impl Iterator<Item = (Val, u8)> {
        let (first, second) = match self {
            Self::Slot(n) => (n, None),
            Self::Sum(first, second, shift) => (first, Some((Val::slot(second), shift))),
        };
        std::iter::once((Val::slot(first), 0)).chain(second)
    }

    /// How far the operation moves it; none if that is not known.
    fn moved(self, block: &Block, inst: &Inst) -> Option<u64> {
        self.parts().filter(|&(slot, _)| slot == inst.dst).try_fold(0u64, |sum, (_, shift)| {
            let by = step(block, inst)?.unsigned_abs();
            sum.checked_add(by.checked_mul(1 << shift)?)
        })
    }

    /// Its value where the guess was made.
    fn guessed(self, guess: &Guess) -> u64 {
        let part = |slot: Val, shift: u8| match slot.kind() {
            ValKind::Slot(n) => guess.slot(n) << shift,
            _ => 0,
        };
        self.parts().fold(0, |sum, (slot, shift)| sum.wrapping_add(part(slot, shift)))
    }

    /// Its value where the region is entered.
    pub(super) fn at_entry(self, f: &mut FunctionBuilder<'_>, state: Value) -> Value {
        match self {
            Self::Slot(n) => slots::at_entry(f, state, n),
            Self::Sum(first, second, shift) => {
                let [first, second] = [first, second].map(|n| slots::at_entry(f, state, n));
                let second = f.ins().ishl_imm_u(second, i64::from(shift));
                f.ins().iadd(first, second)
            }
        }
    }
}

impl AtEntry {
    /// What stays of sums as long as the region runs: the first part, or the base below, if nothing changes that.
    pub(super) fn fixed(
        &self,
        f: &mut FunctionBuilder<'_>,
        plan: &Plan,
        (state, window): (Value, Window),
    ) -> Option<Fixed> {
        let first = match self.base {
            Base::Slot(n) => Some(n).filter(|_| self.is_below)?,
            Base::Sum(first, ..) => first,
        };
        let mut insts = plan.nodes.iter().flat_map(|node| &node.block.insts);
        if insts.any(|inst| inst.dst == Val::slot(first)) {
            return None;
        }
        let part = slots::at_entry(f, state, first);
        Some(Fixed { base: self.base, likely: self.likely, host: window.host(f, part, self.likely) })
    }
}

/// The part of a sum that the region does not change, as a host address.
pub(super) struct Fixed {
    pub base: Base,
    pub likely: Likely,
    pub host: Value,
}

impl Fact {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, fact) | (fact, Self::Never) => fact,
            (Self::Near(a), Self::Near(b)) if a.likely == b.likely => {
                // What grows with each round soon comes to an end.
                let most = a.by.max(b.by);
                let by = if a.by == b.by { most } else { most.next_power_of_two() };
                Self::Near(Near { by, provided: a.provided | b.provided, ..a })
            }
            _ => Self::Unknown,
        }
    }

    /// The same after the base has moved.
    fn moved(self, by: Option<u64>) -> Self {
        match (self, by) {
            (fact, Some(0)) => fact,
            (Self::Near(near), Some(by)) if by <= MOST_AWAY && near.by + by <= MOST_AWAY => {
                Self::Near(Near { by: near.by + by, ..near })
            }
            (Self::Never, _) => Self::Never,
            _ => Self::Unknown,
        }
    }
}

/// All bases of a plan's accesses through the window.
struct Bases<'a> {
    plan: &'a Plan,
    bases: Vec<Base>,
    /// For each group of each node, the number of its base, and of the base below that.
    of: Vec<Vec<[Option<usize>; 2]>>,
}

impl<'a> Bases<'a> {
    fn of(plan: &'a Plan, all: &[Groups]) -> Self {
        let mut bases = Vec::new();
        let of = plan.nodes.iter().zip(all).map(|(node, (groups, group_of))| {
            let of = |(group, about): (usize, &Group)| {
                let first = group_of.iter().position(|&of| of == Some(group)).filter(|_| about.through);
                let both = first.map_or([None; 2], |first| Base::both(&node.block, about.base, first));
                both.map(|base| Some(number_of(&mut bases, base?)))
            };
            groups.iter().enumerate().map(of).collect()
        });
        let of = of.collect();
        // What is known of a copy is known from the original.
        let mut done = 0;
        while done < bases.len() {
            for node in &plan.nodes {
                let copies =
                    node.block.insts.iter().filter(|inst| Base::of_slot(inst.dst) == Some(bases[done]));
                let originals: Vec<Base> =
                    copies.filter_map(|inst| Some(copied(&node.block, inst)?.0)).collect();
                originals.into_iter().for_each(|base| _ = number_of(&mut bases, base));
            }
            done += 1;
        }
        Self { plan, bases, of }
    }

    /// Goes through a node, and changes what is known of the bases by what it does; `at_first` is told what is known where each
    /// group's first access is made, of its base or, that is said, of the one below.
    fn go_through(
        &self,
        node: usize,
        (groups, group_of): &Groups,
        facts: &mut [Fact],
        mut at_first: impl FnMut(usize, Near, bool),
    ) {
        let block = &self.plan.nodes[node].block;
        let mut seen = vec![false; groups.len()];
        for (at, inst) in block.insts.iter().enumerate() {
            if let Some(group) = group_of[at] {
                let about = &groups[group];
                let [own, below] = self.of[node][group];
                let is_near = is_near(about);
                if !std::mem::replace(&mut seen[group], true) {
                    let known = |number: Option<usize>| match facts[number?] {
                        Fact::Near(near) if is_near => Some(near),
                        _ => None,
                    };
                    if let Some(near) = known(own) {
                        at_first(group, near, false);
                    } else if let Some(near) = known(below) {
                        at_first(group, near, true);
                    }
                    if let Some(own) = own
                        && known(Some(own)).is_none()
                    {
                        let likely = self.plan.segments(node, at);
                        facts[own] = match (known(below), likely.as_slice()) {
                            // What the host lets pass is in the segment.
                            (Some(near), _) => Fact::Near(Near { by: distance(inst), ..near }),
                            (None, &[likely]) => Fact::Near(Near { likely, by: 0, provided: 0 }),
                            _ => Fact::Unknown,
                        };
                    }
                }
                // If the sum's parts have changed since it was made, this says nothing of what it would be now.
                if let Some(own) = own
                    && let Fact::Near(near) = &mut facts[own]
                    && is_near
                    && Base::of(block, about.base, at) == Some(self.bases[own])
                {
                    near.by = near.by.min(distance(inst));
                }
            }
            self.make(block, inst, facts);
        }
    }

    /// Changes what is known of the bases by what the operation makes.
    fn make(&self, block: &Block, inst: &Inst, facts: &mut [Fact]) {
        let Some(made) = Base::of_slot(inst.dst) else { return };
        let copied = copied(block, inst).map(|(from, by)| {
            let number = self.bases.iter().position(|&base| base == from);
            number.map_or(Fact::Unknown, |number| facts[number].moved(Some(by)))
        });
        for (&base, fact) in self.bases.iter().zip(facts.iter_mut()) {
            *fact = match copied {
                Some(copied) if base == made => copied,
                _ => fact.moved(base.moved(block, inst)),
            };
        }
    }

    /// What is known of the bases where each node begins, if the region is entered with these facts.
    fn flow(&self, all: &[Groups], at_entry: &[Fact]) -> Vec<Vec<Fact>> {
        let never = vec![Fact::Never; self.bases.len()];
        let mut at_start = vec![never; self.plan.nodes.len()];
        self.plan.entries.iter().for_each(|&entry| at_start[entry] = at_entry.to_vec());
        let after = |node: usize, mut facts: Vec<Fact>| {
            if !facts.contains(&Fact::Never) {
                self.go_through(node, &all[node], &mut facts, |_, _, _| ());
            }
            facts
        };
        let both = |a: Vec<Fact>, b: Vec<Fact>| a.into_iter().zip(b).map(|(a, b)| a.or(b)).collect();
        self.plan.flow(at_start, after, both)
    }

    /// What there is to know of the base where the region is entered, if it is looked at there.
    fn at_entry(&self, number: usize) -> Fact {
        let guess = self.plan.seen.as_ref().filter(|_| number < u64::BITS as usize && !self.varies(number));
        let likely = guess.and_then(|guess| guess.segment_of(self.bases[number].guessed(guess)));
        likely.map_or(Fact::Unknown, |likely| Fact::Near(Near { likely, by: 0, provided: 1 << number }))
    }

    /// Whether accesses by the base have gone to several segments.
    fn varies(&self, number: usize) -> bool {
        self.plan.nodes.iter().enumerate().any(|(n, node)| {
            let is_by_it = |at: usize| {
                let base = node.block.insts.get(at).map(|inst| Base::both(&node.block, inst.a, at));
                base.is_some_and(|both| both.contains(&Some(self.bases[number])))
            };
            node.accesses.iter().any(|seen| is_by_it(seen.at) && self.plan.varies(n, seen.at))
        })
    }
}

/// Where the base of the access that is operation `at` of a block of the plan, and the one below, or what that copies, pointed to when
/// the plan was made.
pub(crate) fn expected_at_entry(plan: &Plan, block: &Block, at: usize) -> [Option<Likely>; 2] {
    let (Some(guess), Some(inst)) = (plan.seen.as_ref(), block.insts.get(at)) else { return [None; 2] };
    let bases = match inst.op {
        Op::Load | Op::Store => Base::both(block, inst.a, at),
        _ => [copied(block, inst).map(|(base, _)| base), None],
    };
    bases.map(|base| guess.segment_of(base?.guessed(guess)))
}

/// The number of a base among these, which it is one of from now on.
fn number_of(bases: &mut Vec<Base>, base: Base) -> usize {
    bases.iter().position(|&known| known == base).unwrap_or_else(|| {
        bases.push(base);
        bases.len() - 1
    })
}

/// The slot whose value the operation gives to another, and by how many bytes that differs.
fn copied(block: &Block, inst: &Inst) -> Option<(Base, u64)> {
    let by = match inst.op {
        Op::Mov => 0,
        Op::Add | Op::Sub => (block.constant(inst.b)? as i64).unsigned_abs(),
        _ => return None,
    };
    let from = Base::of_slot(inst.a)?;
    (inst.ty == Ty::I64 && inst.a != inst.dst).then_some((from, by))
}

/// How far from its base the bytes of an access are at most.
fn distance(access: &Inst) -> u64 {
    let last = access.imm.saturating_add(access.ty.bytes() as i32);
    access.imm.unsigned_abs().max(last.unsigned_abs()).into()
}

/// Whether all accesses of the group are near their base.
fn is_near(group: &Group) -> bool {
    [group.first, group.last].iter().all(|distance| u64::from(distance.unsigned_abs()) <= NEAR)
}

/// Finds out where bases are known; the groups of accesses by them are told, and those are returned that are to be looked at where
/// the region is entered.
pub(super) fn find(plan: &Plan, all: &mut [Groups]) -> Vec<AtEntry> {
    let bases = Bases::of(plan, all);
    let at_entry: Vec<Fact> = (0..bases.bases.len()).map(|number| bases.at_entry(number)).collect();
    let (mut provided, mut is_below) = (0, 0);
    for (node, mut facts) in bases.flow(all, &at_entry).into_iter().enumerate() {
        let mut known = Vec::new();
        bases.go_through(node, &all[node], &mut facts, |group, near, below| {
            known.push((group, near.likely));
            provided |= near.provided;
            is_below |= if below { near.provided } else { 0 };
        });
        for (group, likely) in known {
            all[node].0[group].looked_at = Some(likely);
        }
    }
    let wanted = bases.bases.iter().zip(at_entry).enumerate();
    let is_in = |set: u64, number: usize| set.checked_shr(number as u32).unwrap_or(0) & 1 != 0;
    wanted
        .filter(|&(number, _)| is_in(provided, number))
        .filter_map(|(number, (&base, fact))| match fact {
            Fact::Near(Near { likely, .. }) => {
                Some(AtEntry { base, likely, is_below: is_in(is_below, number) })
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, BlockKey, MemAttr, Terminal};
    use emu_core::mem::SEGMENT_BITS;

    use super::super::mem;
    use super::*;
    use crate::region::plan::{Edge, Node};
    use crate::region::ways::Reached;

    const SEGMENT: Likely = Likely::In(1);

    /// Adds an access whose base is this.
    fn load(builder: &mut BlockBuilder, base: Val, distance: i32) {
        builder.load_to(Val::slot(20), Ty::I64, MemAttr::PLAIN, base, distance);
    }

    fn add(builder: &mut BlockBuilder, to: u16, from: u16, by: u64) {
        let by = builder.imm(by);
        builder.bin_to(Val::slot(to), Op::Add, Ty::I64, Val::slot(from), by);
    }

    /// The value of a slot that nothing is known of.
    fn other(builder: &mut BlockBuilder, to: u16) {
        let one = builder.imm(1);
        builder.bin_to(Val::slot(to), Op::Xor, Ty::I64, Val::slot(to), one);
    }

    fn sum(builder: &mut BlockBuilder, first: u16, second: u16, shift: u64) -> Val {
        let shift = builder.imm(shift);
        let second = builder.bin(Op::Shl, Ty::I64, Val::slot(second), shift);
        builder.bin(Op::Add, Ty::I64, Val::slot(first), second)
    }

    /// A node of which all accesses have gone to the segment.
    fn node(to: &[usize], does: impl Fn(&mut BlockBuilder)) -> Node {
        let mut builder = BlockBuilder::new();
        builder.mark(0, 4);
        does(&mut builder);
        let block = builder.finish(BlockKey { pa: 0, ctx: 0 }, Terminal::Lookup { next: 0 });
        let edges = to.iter().map(|&node| Edge::To { node, closes: false }).collect();
        let reached = |at| Reached { at, segment: SEGMENT, times: 1 };
        let accesses = (0..block.insts.len()).map(reached).collect();
        Node { block, page: 0, returns: Vec::new(), edges, accesses }
    }

    /// For each node, whether its groups of accesses need not look where their bases are; and those that are looked at where the
    /// region is entered, if slot 1 points into the segment there.
    fn found(nodes: Vec<Node>) -> (Vec<Vec<bool>>, Vec<Base>) {
        let block = nodes[0].block.clone();
        let seen = Some(Guess::of_slots(&[(1, 5 << SEGMENT_BITS)], 5));
        let plan = Plan { nodes, seen, windowed: true, ..Plan::of_block(&block) };
        let mut all: Vec<Groups> = plan.nodes.iter().map(|node| mem::groups(&node.block, true)).collect();
        let at_entry = find(&plan, &mut all).into_iter().map(|found| found.base).collect();
        let looked_at = |(groups, _): Groups| groups.iter().map(|group| group.looked_at.is_some()).collect();
        (all.into_iter().map(looked_at).collect(), at_entry)
    }

    #[test]
    fn a_base_that_moves_by_steps_is_looked_at_where_the_region_is_entered() {
        let moves = |by| {
            move |builder: &mut BlockBuilder| {
                load(builder, Val::slot(1), 8);
                add(builder, 1, 1, by);
            }
        };
        assert_eq!(found(vec![node(&[0], moves(16))]), (vec![vec![true]], vec![Base::Slot(1)]));
        let far = found(vec![node(&[0], moves(GUARD))]);
        assert_eq!(far, (vec![vec![false]], Vec::new()), "it may step over what is never mapped");
        let unused = node(&[0], |builder| add(builder, 1, 1, 16));
        let loops = found(vec![node(&[1], moves(16)), Node { edges: node(&[1, 0], |_| ()).edges, ..unused }]);
        assert_eq!(loops, (vec![vec![false], vec![]], Vec::new()), "it moves without an access");
    }

    #[test]
    fn what_is_added_may_be_anything_that_the_window_has_room_for() {
        let indexed = |narrow: Option<Op>, shift: u64, then: Option<u16>| {
            move |builder: &mut BlockBuilder| {
                let index = narrow.map_or(Val::slot(2), |op| builder.un(op, Ty::I64, Val::slot(2)));
                let shift = builder.imm(shift);
                let index = builder.bin(Op::Shl, Ty::I64, index, shift);
                let base = builder.bin(Op::Add, Ty::I64, index, Val::slot(1));
                if let Some(slot) = then {
                    other(builder, slot);
                }
                load(builder, base, 8);
                other(builder, 2);
            }
        };
        let at_entry = (vec![vec![true]], vec![Base::Slot(1)]);
        let not = (vec![vec![false]], Vec::new());
        assert_eq!(found(vec![node(&[0], indexed(Some(Op::Zext32), 3, None))]), at_entry);
        assert_eq!(found(vec![node(&[0], indexed(Some(Op::Sext32), 3, None))]), at_entry);
        assert_eq!(found(vec![node(&[0], indexed(Some(Op::Zext32), 4, None))]), not, "64 GiB");
        assert_eq!(found(vec![node(&[0], indexed(None, 3, None))]), not, "any number");
        assert_eq!(
            found(vec![node(&[0], indexed(Some(Op::Zext8), 3, Some(1)))]),
            not,
            "another base by then"
        );
        let says_nothing = node(&[0], |builder| {
            indexed(Some(Op::Zext32), 3, None)(builder);
            add(builder, 1, 1, 8);
        });
        assert_eq!(found(vec![says_nothing]), not, "the base moves on, and has not been used itself");
    }

    #[test]
    fn a_sum_moves_with_its_parts() {
        let moves = |shift: u64, by| {
            move |builder: &mut BlockBuilder| {
                let base = sum(builder, 1, 2, shift);
                load(builder, base, 0);
                add(builder, 2, 2, by);
            }
        };
        assert_eq!(found(vec![node(&[0], moves(3, 8))]), (vec![vec![true]], vec![Base::Sum(1, 2, 3)]));
        assert_eq!(found(vec![node(&[0], moves(3, GUARD / 8))]), (vec![vec![false]], Vec::new()));
        let changes = node(&[0], |builder| {
            let base = sum(builder, 1, 2, 0);
            other(builder, 2);
            load(builder, base, 0);
        });
        assert_eq!(found(vec![changes]), (vec![vec![false]], Vec::new()), "it is not the sum any more");
    }

    #[test]
    fn a_copy_is_where_the_original_was() {
        let stack = node(&[0], |builder| {
            builder.un_to(Val::slot(3), Op::Mov, Ty::I64, Val::slot(1));
            load(builder, Val::slot(3), 0);
            add(builder, 1, 3, 8);
        });
        assert_eq!(found(vec![stack]), (vec![vec![true]], vec![Base::Slot(1)]));
        let half = node(&[0], |builder| {
            builder.un_to(Val::slot(1), Op::Mov, Ty::I32, Val::slot(1));
            load(builder, Val::slot(1), 0);
        });
        assert_eq!(found(vec![half]), (vec![vec![false]], Vec::new()));
    }

    #[test]
    fn what_has_been_looked_at_stays_known_until_it_changes() {
        let by_slot_3 = |builder: &mut BlockBuilder| load(builder, Val::slot(3), 0);
        let changes = |builder: &mut BlockBuilder| {
            load(builder, Val::slot(3), 0);
            other(builder, 3);
            load(builder, Val::slot(3), 0);
        };
        let (known, at_entry) =
            found(vec![node(&[1], by_slot_3), node(&[1, 2], by_slot_3), node(&[0], changes)]);
        assert_eq!(known, [vec![false], vec![true], vec![true, false]]);
        assert_eq!(at_entry, [], "nobody knows where slot 3 points to there");
        // What holds on one way only does not hold.
        let (known, _) = found(vec![node(&[1, 2], |_| ()), node(&[2], by_slot_3), node(&[0], by_slot_3)]);
        assert_eq!(known, [vec![], vec![false], vec![false]]);
    }

    #[test]
    fn what_changes_before_it_is_used_is_not_looked_at_where_the_region_is_entered() {
        let changes = node(&[0], |builder| {
            other(builder, 1);
            load(builder, Val::slot(1), 0);
        });
        assert_eq!(found(vec![changes]), (vec![vec![false]], Vec::new()));
        let changes_behind = node(&[0], |builder| {
            load(builder, Val::slot(1), 0);
            other(builder, 1);
            load(builder, Val::slot(1), 8);
        });
        assert_eq!(found(vec![changes_behind]), (vec![vec![true, false]], vec![Base::Slot(1)]));
    }
}
