//! Flags that are made late. A comparison makes flags that mostly nobody reads before the next one: the region keeps what they
//! are made of, and makes them where it is left. As long as the slots that have been compared hold what they did, nothing is to be
//! kept but which they are.

use std::collections::HashMap;

use cranelift_codegen::ir::{InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::ir::{Block, Class, Inst, Op, Val, ValKind};

use super::Plan;
use super::slots::{Form, Slot};
use crate::region::plan::{Known, Node};

/// Ways in which a region makes its flags at most; others make them at once.
const MOST_WAYS: usize = 8;

/// The slot whose value is made late, from what its variable and these hold.
pub(super) struct Late {
    pub makings: Makings,
    /// The second and third operands.
    pub more: [Variable; 2],
    /// [`Made::way`], where that varies.
    pub way: Variable,
    /// What is known now.
    pub now: Known<Made>,
}

/// How the value of the slot is made throughout a region.
pub(super) struct Makings {
    pub slot: u16,
    pub ways: Vec<Way>,
    /// What is done with the operations that write the slot, by node and place in its block; others make its value at once.
    pub of: HashMap<(usize, usize), Write>,
    /// The nodes that read the slot as it was before, and not only by tests where the way is known: its value is made on the
    /// way there.
    pub needs: Vec<bool>,
    /// What is known of the way where each node begins.
    pub at_start: Vec<Known<Made>>,
}

/// How flags are made.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// As this comparison makes them of its operands; whose block's constants it names.
    Compare { inst: Inst, node: usize },
    /// They are these.
    Flags(u64),
}

/// Where the slot's value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    /// The number of the way it is made in, from one on; zero if the slot's variable holds it itself.
    pub way: u32,
    /// The operands that are in these slots, from where they have not been moved to variables of their own.
    pub slots: [Option<u16>; 3],
}

impl Made {
    pub const ITSELF: Self = Self::moved(0);

    /// In that way of operands that are all in variables.
    pub const fn moved(way: u32) -> Self {
        Self { way, slots: [None; 3] }
    }
}

/// What is done with an operation that writes the slot.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// Its flags are made so.
    Way(Made),
    /// Its flags are made so if the condition of the next operation holds or, if that is the other way round, does not; else
    /// those of the other way are.
    If { way: u32, holds: bool, other: u32 },
    /// Nothing: the operation before has done it.
    Done,
}

/// What is known where both lead.
pub(super) fn both(a: Known<Made>, b: Known<Made>) -> Known<Made> {
    match (a, b) {
        (Known::Always(one), Known::Always(other)) if one != other && one.way == other.way => {
            Known::Always(Made::moved(one.way))
        }
        _ => a.or(b),
    }
}

/// Which reads of the slot keep it from being made late.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    All,
    /// All but tests of conditions: these can be made of what the flags are made of, if the way is known.
    ButTests,
}

impl Reads {
    fn has(self, inst: &Inst, slot: Val) -> bool {
        [inst.a, inst.b, inst.c].contains(&slot) && (self == Self::All || inst.op != Op::NzcvTest)
    }

    /// Whether the block's operations from `at` on, or what ends it, are such reads, before the slot is written.
    fn are_from(self, block: &Block, at: usize, slot: Val) -> bool {
        for inst in &block.insts[at..] {
            if self.has(inst, slot) {
                return true;
            }
            if inst.dst == slot {
                return false;
            }
        }
        block.terminal.operands().contains(&slot)
    }
}

const fn makes_flags(op: Op) -> bool {
    matches!(op, Op::NzcvAdd | Op::NzcvSub | Op::NzcvLogic | Op::Fnzcv)
}

/// The slot that the plan's comparisons write.
pub(super) fn slot(plan: &Plan) -> Option<u16> {
    let mut insts = plan.nodes.iter().flat_map(|node| &node.block.insts);
    insts.find_map(|inst| match inst.dst.kind() {
        ValKind::Slot(n) if makes_flags(inst.op) => Some(n),
        _ => None,
    })
}

/// The entries at which it would be known how the flags have been made if it were not for those who enter there, and who make
/// others before they go on.
pub(crate) fn entries_alone(plan: &Plan) -> Vec<usize> {
    let Some(slot) = slot(plan) else { return Vec::new() };
    let mut makings = Makings::of(plan, slot, |n| n != slot && !plan.in_memory.contains(&n));
    let entered = Known::Always(Made::ITSELF);
    let alone = |&node: &usize| {
        let others: Vec<usize> = plan.entries.iter().copied().filter(|&other| other != node).collect();
        makings.flow(plan, &others);
        let known = makings.at_start[node];
        matches!(known, Known::Always(Made { way: 1.., .. }))
            && makings.ends(plan, node, known) == makings.ends(plan, node, entered)
    };
    plan.entries.iter().copied().filter(alone).collect()
}

impl Late {
    /// The slot that the region's comparisons write.
    pub(super) fn of(f: &mut FunctionBuilder<'_>, plan: &Plan, slots: &[Option<Slot>]) -> Option<Self> {
        let slot = slot(plan)?;
        let (more, way) = ([(); 2].map(|()| f.declare_var(types::I64)), f.declare_var(types::I32));
        let (none, itself) =
            (f.ins().iconst(types::I64, 0), f.ins().iconst(types::I32, i64::from(Made::ITSELF.way)));
        more.into_iter().for_each(|operand| f.def_var(operand, none));
        f.def_var(way, itself);
        let whole = |slot: Slot| (slot.class, slot.form) == (Class::Int, Form::Whole);
        let stays = |n: u16| n != slot && slots[usize::from(n)].is_some_and(whole);
        Some(Self { makings: Makings::of(plan, slot, stays), more, way, now: Known::Never })
    }
}

impl Makings {
    /// Those of a plan. Operands can be left in the slots of which `stays` says so.
    fn of(plan: &Plan, slot: u16, stays: impl Fn(u16) -> bool) -> Self {
        let reads = |node: &Node| Reads::ButTests.are_from(&node.block, 0, Val::slot(slot));
        let needs = plan.nodes.iter().map(reads).collect();
        let mut makings = Self { slot, ways: Vec::new(), of: HashMap::new(), needs, at_start: Vec::new() };
        makings.choose_writes(plan, stays);
        makings.flow(plan, &plan.entries);
        makings
    }

    /// Which operations have their flags made late.
    fn choose_writes(&mut self, plan: &Plan, stays: impl Fn(u16) -> bool) {
        let slot = Val::slot(self.slot);
        for (node, block) in plan.nodes.iter().map(|node| &node.block).enumerate() {
            for (at, inst) in block.insts.iter().enumerate() {
                if inst.dst != slot || self.of.contains_key(&(node, at)) {
                    continue;
                }
                if let Some(write) = self.choice(plan, node, at) {
                    self.of.insert((node, at), write);
                    self.of.insert((node, at + 1), Write::Done);
                } else if !Reads::ButTests.are_from(block, at + 1, slot)
                    && let Some(way) = self.number(plan, node, at)
                {
                    let slots = [inst.a, inst.b, inst.c].map(|val| match val.kind() {
                        ValKind::Slot(n) if inst.op != Op::Fnzcv && stays(n) => Some(n),
                        _ => None,
                    });
                    self.of.insert((node, at), Write::Way(Made { way, slots }));
                }
            }
        }
    }

    /// What is known where each node begins; those that test conditions where too little is are added to those in need.
    fn flow(&mut self, plan: &Plan, entries: &[usize]) {
        loop {
            let begins = |node: usize, known| self.begins(node, known);
            let end = |node: usize, known| self.ends(plan, node, known);
            let mut at_start = vec![Known::Never; plan.nodes.len()];
            entries.iter().for_each(|&node| at_start[node] = Known::Always(Made::ITSELF));
            let at_start = plan.flow(at_start, end, both);
            self.at_start =
                at_start.into_iter().enumerate().map(|(node, known)| begins(node, known)).collect();
            let reads = |node: &Node| Reads::All.are_from(&node.block, 0, Val::slot(self.slot));
            let lacks = |n: usize| self.at_start[n] == Known::Varies && reads(&plan.nodes[n]);
            let lacking: Vec<usize> = (0..plan.nodes.len()).filter(|&n| lacks(n)).collect();
            if lacking.is_empty() {
                return;
            }
            lacking.into_iter().for_each(|node| self.needs[node] = true);
        }
    }

    /// What is known where a node begins, of what is where it is come from.
    fn begins(&self, node: usize, known: Known<Made>) -> Known<Made> {
        if self.needs[node] { Known::Always(Made::ITSELF) } else { known }
    }

    /// What is known where it ends.
    fn ends(&self, plan: &Plan, node: usize, known: Known<Made>) -> Known<Made> {
        let insts = plan.nodes[node].block.insts.iter().enumerate();
        insts.fold(self.begins(node, known), |known, (at, inst)| self.after(node, at, inst, known))
    }

    /// What is known after an operation.
    pub fn after(&self, node: usize, at: usize, inst: &Inst, known: Known<Made>) -> Known<Made> {
        match self.of.get(&(node, at)) {
            Some(&Write::Way(made)) => Known::Always(made),
            Some(Write::If { .. }) => Known::Varies,
            Some(Write::Done) => known,
            None if inst.dst == Val::slot(self.slot) => Known::Always(Made::ITSELF),
            None => match (known, inst.dst.kind()) {
                (Known::Always(made), ValKind::Slot(n)) if made.slots.contains(&Some(n)) => {
                    Known::Always(Made::moved(made.way))
                }
                _ => known,
            },
        }
    }

    /// The way that this is one of.
    pub fn way(&self, made: Made) -> Way {
        self.ways[made.way as usize - 1]
    }

    /// What is done with a comparison whose flags the next operation replaces by others under a condition.
    fn choice(&mut self, plan: &Plan, node: usize, at: usize) -> Option<Write> {
        let (block, slot) = (&plan.nodes[node].block, Val::slot(self.slot));
        let next = block.insts.get(at + 1).filter(|next| (next.op, next.dst) == (Op::Select, slot))?;
        let (holds, other) = match (next.b == slot, next.c == slot) {
            (true, false) => (true, block.constant(next.c)?),
            (false, true) => (false, block.constant(next.b)?),
            _ => return None,
        };
        if next.a == slot || Reads::All.are_from(block, at + 2, slot) {
            return None;
        }
        let way = self.number(plan, node, at)?;
        let same = |way: &Way| matches!(way, Way::Flags(flags) if *flags == other);
        let other = self.place(same, Way::Flags(other))?;
        Some(Write::If { way, holds, other })
    }

    /// The number of the way of a comparison, if its flags can be made late.
    fn number(&mut self, plan: &Plan, node: usize, at: usize) -> Option<u32> {
        let block = &plan.nodes[node].block;
        let inst = &block.insts[at];
        if !makes_flags(inst.op) {
            return None;
        }
        let same = |way: &Way| {
            let Way::Compare { inst: way, node } = way else { return false };
            let other = &plan.nodes[*node].block;
            (way.op, way.ty) == (inst.op, inst.ty)
                && carry(way, other) == carry(inst, block)
                && other.constant(way.b) == block.constant(inst.b)
        };
        self.place(same, Way::Compare { inst: *inst, node })
    }

    /// The number of the way, which may be there.
    fn place(&mut self, is_it: impl Fn(&Way) -> bool, way: Way) -> Option<u32> {
        if let Some(place) = self.ways.iter().position(is_it) {
            return Some(place as u32 + 1);
        }
        if self.ways.len() == MOST_WAYS {
            return None;
        }
        self.ways.push(way);
        Some(self.ways.len() as u32)
    }
}

/// The carry that goes in, if it is known.
pub(super) fn carry(inst: &Inst, block: &Block) -> Option<u64> {
    match inst.op {
        Op::NzcvAdd | Op::NzcvSub => block.constant(inst.c),
        _ => Some(0),
    }
}

/// Which operands differ from one comparison to the next that is made in the same way.
pub(super) fn varies(inst: &Inst, block: &Block) -> [bool; 3] {
    let is_some = |val: Val| !val.is_none();
    [is_some(inst.a), is_some(inst.b) && block.constant(inst.b).is_none(), carry(inst, block).is_none()]
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, BlockKey, Terminal, Ty};

    use super::*;
    use crate::region::plan::Edge;

    const FLAGS: Val = Val::slot(40);
    /// What a comparison of the register has.
    const IN_SLOT: Made = Made { way: 1, slots: [Some(1), None, None] };

    /// A block that compares a register with this, having done what `first` adds.
    fn node(number: usize, to: &[usize], compares: Option<u64>, first: impl Fn(&mut BlockBuilder)) -> Node {
        let mut builder = BlockBuilder::new();
        builder.mark(0x100 * number as i32, 4);
        first(&mut builder);
        if let Some(with) = compares {
            let (with, one) = (builder.imm(with), builder.imm(1));
            builder.op(Op::NzcvSub, Ty::I64, 0, FLAGS, [Val::slot(1), with, one], 0);
        }
        let key = BlockKey { pa: 0x100 * number as u64, ctx: 0 };
        let block = builder.finish(key, Terminal::Lookup { next: 0 });
        let edges = to.iter().map(|&node| Edge::To { node, closes: false }).collect();
        Node { block, page: 0, returns: Vec::new(), edges, accesses: Vec::new() }
    }

    fn test(builder: &mut BlockBuilder) {
        builder.un(Op::NzcvTest, Ty::I64, FLAGS);
    }

    fn read(builder: &mut BlockBuilder) {
        builder.un(Op::Mov, Ty::I64, FLAGS);
    }

    fn makings(nodes: Vec<Node>) -> Makings {
        let block = nodes[0].block.clone();
        let plan = Plan { nodes, ..Plan::of_block(&block) };
        Makings::of(&plan, 40, |n| n != 40)
    }

    #[test]
    fn a_block_that_reads_flags_as_a_number_has_them_made_and_no_other() {
        let makings = makings(vec![
            node(0, &[1, 2], Some(7), |_| {}),
            node(1, &[0], None, test),
            node(2, &[3], None, read),
            node(3, &[0], Some(9), |_| {}),
        ]);
        assert_eq!(makings.needs, [false, false, true, false]);
        assert_eq!(makings.of.len(), 2, "both comparisons are late");
        let [first, itself] = [Known::Always(IN_SLOT), Known::Always(Made::ITSELF)];
        assert!(makings.at_start == [Known::Varies, first, itself, itself]);
    }

    #[test]
    fn a_block_that_tests_flags_made_in_different_ways_has_them_made() {
        let makings = makings(vec![
            node(0, &[2, 1], Some(7), |_| {}),
            node(1, &[2], Some(9), |_| {}),
            node(2, &[0], None, test),
        ]);
        assert_eq!(makings.needs, [false, false, true]);
        assert!(makings.at_start[2] == Known::Always(Made::ITSELF));
    }

    #[test]
    fn what_is_compared_stays_in_its_slot_until_that_is_set() {
        let sets = |builder: &mut BlockBuilder| {
            let one = builder.imm(1);
            builder.un_to(Val::slot(1), Op::Mov, Ty::I64, one);
        };
        // A loop with a way around what sets the slot.
        let makings = makings(vec![
            node(0, &[1], Some(7), |_| {}),
            node(1, &[2, 3], None, test),
            node(2, &[3], None, sets),
            node(3, &[4], None, test),
            node(4, &[4], None, |_| {}),
        ]);
        let [there, gone] = [Known::Always(IN_SLOT), Known::Always(Made::moved(1))];
        assert!(
            makings.at_start[1..] == [there, there, gone, gone],
            "one way, whatever has become of the slot"
        );
    }

    #[test]
    fn who_enters_a_loop_does_so_apart_if_its_flags_are_its_own() {
        let alone = |nodes: Vec<Node>, entries: &[usize]| {
            let block = nodes[0].block.clone();
            entries_alone(&Plan { nodes, entries: entries.to_vec(), ..Plan::of_block(&block) })
        };
        assert_eq!(alone(vec![node(0, &[0], Some(7), |_| {})], &[0]), [0]);
        // Flags that have come from outside are still there where others come by.
        assert_eq!(
            alone(vec![node(0, &[1], None, |_| {}), node(1, &[0], Some(7), |_| {})], &[0]),
            [0usize; 0]
        );
        // They are not known anyway.
        let two = |_: &mut BlockBuilder| {};
        let nodes =
            || vec![node(0, &[1, 2], Some(7), two), node(1, &[0], Some(8), two), node(2, &[0], Some(9), two)];
        assert_eq!(alone(nodes(), &[0]), [0usize; 0]);
        assert_eq!(alone(nodes(), &[0, 1]), [1]);
    }
}
