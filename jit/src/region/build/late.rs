//! Flags that are made late. A comparison makes flags that mostly nobody reads before the next one: the region keeps what they
//! are made of, and makes them where it is left.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::{FunctionBuilder, Switch, Variable};
use emu_core::ir::{Block, Inst, NzcvCond, Op, Ty, Val, ValKind};

use super::{Any, Gen, Plan};
use crate::frame;
use crate::region::plan::{Known, Node};

/// Ways in which a region makes its flags at most; others make them at once.
const MOST_WAYS: usize = 8;

/// The slot whose value is made late, from what its variable and these hold.
pub(super) struct Late {
    slot: u16,
    /// The second and third operands.
    more: [Variable; 2],
    /// [`ITSELF`], or the number of the way: where that varies.
    way: Variable,
    ways: Vec<Way>,
    /// What is done with the operations that write the slot, by node and place in its block; others make its value at once.
    of: HashMap<(usize, usize), Write>,
    /// The nodes that read the slot as it was before, and not only by tests where the way is known: its value is made on the
    /// way there.
    needs: Vec<bool>,
    /// What is known of the way where each node begins.
    at_start: Vec<Known<u32>>,
    /// What is known now.
    now: Known<u32>,
}

/// How flags are made.
#[derive(Clone, Copy)]
enum Way {
    /// As this comparison makes them of its operands; whose block's constants it names.
    Compare { inst: Inst, node: usize },
    /// They are these.
    Flags(u64),
}

/// What is done with an operation that writes the slot.
#[derive(Clone, Copy)]
enum Write {
    /// Its flags are made in the way of this number.
    Way(u32),
    /// Its flags are made so if the condition of the next operation holds or, if that is the other way round, does not; else
    /// those of the other way are.
    If { way: u32, holds: bool, other: u32 },
    /// Nothing: the operation before has done it.
    Done,
}

/// The number that says that the slot's variable holds the value itself. Ways have numbers from one on.
const ITSELF: u32 = 0;

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

impl Late {
    /// The slot that the region's comparisons write.
    pub(super) fn of(f: &mut FunctionBuilder<'_>, plan: &Plan) -> Option<Self> {
        let slot = slot(plan)?;
        let (more, way) = ([(); 2].map(|()| f.declare_var(types::I64)), f.declare_var(types::I32));
        let (none, itself) = (f.ins().iconst(types::I64, 0), f.ins().iconst(types::I32, i64::from(ITSELF)));
        more.into_iter().for_each(|operand| f.def_var(operand, none));
        f.def_var(way, itself);
        Some(Self::planned(plan, slot, more, way))
    }

    /// With what is known of the plan.
    fn planned(plan: &Plan, slot: u16, more: [Variable; 2], way: Variable) -> Self {
        let reads = |node: &Node| Reads::ButTests.are_from(&node.block, 0, Val::slot(slot));
        let needs = plan.nodes.iter().map(reads).collect();
        let (ways, of, at_start, now) = (Vec::new(), HashMap::new(), Vec::new(), Known::Never);
        let mut late = Self { slot, more, way, ways, of, needs, at_start, now };
        late.choose_writes(plan);
        late.flow(plan);
        late
    }

    /// Which operations have their flags made late.
    fn choose_writes(&mut self, plan: &Plan) {
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
                    && let Some(number) = self.number(plan, node, at)
                {
                    self.of.insert((node, at), Write::Way(number));
                }
            }
        }
    }

    /// What is known where each node begins; those that test conditions where too little is are added to those in need.
    fn flow(&mut self, plan: &Plan) {
        loop {
            let begins = |node: usize, known| if self.needs[node] { Known::Always(ITSELF) } else { known };
            let end = |node: usize, known| {
                let insts = plan.nodes[node].block.insts.iter().enumerate();
                insts.fold(begins(node, known), |known, (at, inst)| self.after(node, at, inst, known))
            };
            let mut at_start = vec![Known::Never; plan.nodes.len()];
            plan.entries.iter().for_each(|&node| at_start[node] = Known::Always(ITSELF));
            let at_start = plan.flow(at_start, end, Known::or);
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

    /// What is known after an operation.
    fn after(&self, node: usize, at: usize, inst: &Inst, known: Known<u32>) -> Known<u32> {
        match self.of.get(&(node, at)) {
            Some(&Write::Way(number)) => Known::Always(number),
            Some(Write::If { .. }) => Known::Varies,
            Some(Write::Done) => known,
            None if inst.dst == Val::slot(self.slot) => Known::Always(ITSELF),
            None => known,
        }
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
fn carry(inst: &Inst, block: &Block) -> Option<u64> {
    match inst.op {
        Op::NzcvAdd | Op::NzcvSub => block.constant(inst.c),
        _ => Some(0),
    }
}

impl Gen<'_, '_> {
    pub(super) fn is_late(&self, slot: u16) -> bool {
        self.late.as_ref().is_some_and(|late| late.slot == slot)
    }

    /// Notes that the slot has been set to a value.
    pub(super) fn no_longer_late(&mut self, slot: u16) {
        if let Some(late) = self.late.as_mut().filter(|late| late.slot == slot) {
            late.now = Known::Always(ITSELF);
        }
    }

    /// What is known of the way now.
    pub(super) fn way_now(&self) -> Option<Known<u32>> {
        self.late.as_ref().map(|late| late.now)
    }

    /// Goes on where this is known.
    pub(super) fn set_way(&mut self, known: Option<Known<u32>>) {
        if let (Some(late), Some(known)) = (&mut self.late, known) {
            late.now = known;
        }
    }

    /// Begins a node.
    pub(super) fn start_late(&mut self, node: usize) {
        if let Some(late) = &mut self.late {
            late.now = late.at_start[node];
        }
    }

    /// Sees to it that the variable holds the way, on the way to a node, or out, where it is not known; on the way to a node in
    /// need, that the slot's variable holds its value.
    pub(super) fn tell_way(&mut self, to: Option<usize>) {
        let Some(late) = &self.late else { return };
        if to.is_some_and(|node| late.needs[node]) {
            if late.now != Known::Always(ITSELF) {
                let (slot, value) = (self.slot(late.slot), self.made_now());
                self.f.def_var(slot.var, value);
            }
            return;
        }
        debug_assert!(to.is_none_or(|node| late.at_start[node].or(late.now) == late.at_start[node]));
        if let Known::Always(number) = late.now
            && to.is_none_or(|node| late.at_start[node] == Known::Varies)
        {
            let number = self.f.ins().iconst(types::I32, i64::from(number));
            self.f.def_var(late.way, number);
        }
    }

    /// Has the flags of the operation made late, if they can be.
    pub(super) fn put_off(&mut self, inst: &Inst, at: usize) -> bool {
        let (block, node) = (self.block(), self.node);
        let Some(late) = &self.late else { return false };
        let Some(&write) = late.of.get(&(node, at)) else { return false };
        let ([second, third], way) = (late.more, late.way);
        if matches!(write, Write::Done) {
            return true;
        }
        let operands = [inst.a, inst.b].map(|val| {
            (!val.is_none()).then(|| match (inst.op, inst.ty) {
                (Op::Fnzcv, Ty::F32) => {
                    let value = self.single_of(val);
                    let bits = self.bits_as(types::I32, value);
                    self.f.ins().uextend(types::I64, bits)
                }
                (Op::Fnzcv, _) => {
                    let value = self.double_of(val);
                    self.bits_as(types::I64, value)
                }
                _ => self.int_of(val),
            })
        });
        let carry_in = carry(inst, block).is_none().then(|| self.int_of(inst.c));
        if let Some(value) = operands[0] {
            self.set(inst.dst, Any::Int(value));
        }
        if let Some(value) = operands[1].filter(|_| block.constant(inst.b).is_none()) {
            self.f.def_var(second, value);
        }
        if let Some(value) = carry_in {
            self.f.def_var(third, value);
        }
        if let Write::If { way: own, holds, other } = write {
            let condition = self.int_of(block.insts[at + 1].a);
            let [yes, no] = if holds { [own, other] } else { [other, own] };
            let [yes, no] = [yes, no].map(|number| self.f.ins().iconst(types::I32, i64::from(number)));
            let number = self.f.ins().select(condition, yes, no);
            self.f.def_var(way, number);
        }
        if let Some(late) = &mut self.late {
            late.now = late.after(node, at, inst, late.now);
        }
        true
    }

    /// Whether the condition that an operation tests holds, from what the flags are made of: a value of 8 bits. None if the
    /// flags have been made.
    pub(super) fn late_test(&mut self, inst: &Inst) -> Option<Value> {
        let late = self.late.as_ref().filter(|late| Val::slot(late.slot) == inst.a)?;
        let Known::Always(number @ 1..) = late.now else { return None };
        let way = late.ways[number as usize - 1];
        let [second, third] = late.more;
        let operands = [self.slot(late.slot).var, second, third].map(|var| self.f.use_var(var));
        let condition = NzcvCond::from_bits(inst.attr);
        match way {
            Way::Flags(flags) => Some(self.f.ins().iconst(types::I8, i64::from(condition.holds(flags)))),
            Way::Compare { inst: compare, node } => {
                let own = std::mem::replace(&mut self.node, node);
                let operands_as_temps = operands.map(|value| Some(Any::Int(value))).to_vec();
                let temps = std::mem::replace(&mut self.temps, operands_as_temps);
                let known = self.compared(&Self::of_temps(&compare, self.block()), condition);
                (self.node, self.temps) = (own, temps);
                let holds = match known {
                    Some(holds) => holds,
                    None => {
                        let flags = self.flags_by(way, operands);
                        self.flags_hold(condition, flags)
                    }
                };
                Some(holds)
            }
        }
    }

    /// The comparison, with its operands in the first temporaries.
    fn of_temps(inst: &Inst, block: &Block) -> Inst {
        let held = |val: Val, n| if block.constant(val).is_some() { val } else { Val::temp(n) };
        Inst { a: Val::temp(0), b: held(inst.b, 1), c: held(inst.c, 2), ..*inst }
    }

    /// Whether a condition holds after a comparison of integers, if the host compares so.
    fn compared(&mut self, inst: &Inst, condition: NzcvCond) -> Option<Value> {
        let cc = match condition {
            NzcvCond::Eq => IntCC::Equal,
            NzcvCond::Ne => IntCC::NotEqual,
            NzcvCond::Cs => IntCC::UnsignedGreaterThanOrEqual,
            NzcvCond::Cc => IntCC::UnsignedLessThan,
            NzcvCond::Hi => IntCC::UnsignedGreaterThan,
            NzcvCond::Ls => IntCC::UnsignedLessThanOrEqual,
            NzcvCond::Ge => IntCC::SignedGreaterThanOrEqual,
            NzcvCond::Lt => IntCC::SignedLessThan,
            NzcvCond::Gt => IntCC::SignedGreaterThan,
            NzcvCond::Le => IntCC::SignedLessThanOrEqual,
            NzcvCond::Mi | NzcvCond::Pl | NzcvCond::Vs | NzcvCond::Vc => return None,
        };
        let unsigned = matches!(condition, NzcvCond::Cs | NzcvCond::Cc | NzcvCond::Hi | NzcvCond::Ls);
        match inst.op {
            Op::NzcvSub if carry(inst, self.block()) == Some(1) => {
                let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
                Some(self.f.ins().icmp(cc, a, b))
            }
            Op::NzcvAdd if matches!(condition, NzcvCond::Cs | NzcvCond::Cc) => {
                let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
                let c = self.carry(inst);
                let (_, made) = self.sum_and_carry(a, b, c);
                Some(if condition == NzcvCond::Cs { made } else { self.f.ins().bxor_imm_u(made, 1) })
            }
            Op::NzcvLogic if !unsigned => {
                let a = self.int_as(inst.ty, inst.a);
                Some(self.f.ins().icmp_imm_s(cc, a, 0))
            }
            _ => None,
        }
    }

    /// The flags that are made in this way of these operands.
    fn flags_by(&mut self, way: Way, operands: [Value; 3]) -> Value {
        let (inst, node) = match way {
            Way::Flags(flags) => return self.f.ins().iconst(types::I64, flags as i64),
            Way::Compare { inst, node } => (inst, node),
        };
        let operands = operands.map(|value| match (inst.op, inst.ty) {
            (Op::Fnzcv, Ty::F32) => {
                let low = self.f.ins().ireduce(types::I32, value);
                Any::Single(self.bits_as(types::F32, low))
            }
            (Op::Fnzcv, _) => Any::Double(self.bits_as(types::F64, value)),
            _ => Any::Int(value),
        });
        let own = std::mem::replace(&mut self.node, node);
        let temps = std::mem::replace(&mut self.temps, operands.map(Some).to_vec());
        let value = self.flags_of(&Self::of_temps(&inst, self.block()));
        (self.node, self.temps) = (own, temps);
        value
    }

    /// Makes the flags, where all ways out have come together.
    pub(super) fn make_late(&mut self) {
        self.set_way(Some(Known::Varies));
        let Some(slot) = self.late.as_ref().map(|late| late.slot) else { return };
        let value = self.made_now();
        self.state_store(frame::slot(slot), value);
        self.late = None;
    }

    /// The value of the slot.
    fn made_now(&mut self) -> Value {
        let Some(late) = &self.late else { unreachable!("asked for where there is one") };
        let (ways, now) = (late.ways.clone(), late.now);
        let variables = [self.slot(late.slot).var, late.more[0], late.more[1], late.way];
        let [first, second, third, way] = variables.map(|var| self.f.use_var(var));
        let operands = [first, second, third];
        match now {
            Known::Always(ITSELF) | Known::Never => return first,
            Known::Always(number) => return self.flags_by(ways[number as usize - 1], operands),
            Known::Varies => {}
        }
        let (itself, done) = (self.f.create_block(), self.f.create_block());
        self.f.append_block_param(done, types::I64);
        let blocks: Vec<_> = ways.iter().map(|_| self.f.create_block()).collect();
        let mut switch = Switch::new();
        for (number, &block) in blocks.iter().enumerate() {
            switch.set_entry(number as u128 + 1, block);
        }
        switch.emit(&mut self.f, way, itself);
        self.f.switch_to_block(itself);
        self.f.ins().jump(done, &[first.into()]);
        for (way, block) in ways.into_iter().zip(blocks) {
            self.f.switch_to_block(block);
            let value = self.flags_by(way, operands);
            self.f.ins().jump(done, &[value.into()]);
        }
        self.begin(done);
        self.f.block_params(done)[0]
    }

    /// NZCV as a comparison makes it; of numbers, which are ordered.
    pub(super) fn flags_of(&mut self, inst: &Inst) -> Value {
        if inst.op == Op::Fnzcv {
            let (a, b) = (self.float_of(inst.ty, inst.a), self.float_of(inst.ty, inst.b));
            let [less, equal, more] =
                [0b1000i64, 0b0110, 0b0010].map(|nzcv| self.f.ins().iconst(types::I64, nzcv << 28));
            let is_less = self.f.ins().fcmp(FloatCC::LessThan, a, b);
            let is_equal = self.f.ins().fcmp(FloatCC::Equal, a, b);
            let value = self.f.ins().select(is_less, less, more);
            return self.f.ins().select(is_equal, equal, value);
        }
        let value = self.nzcv(inst);
        if inst.ty == Ty::I32 { self.f.ins().uextend(types::I64, value) } else { value }
    }
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, BlockKey, Terminal};

    use super::*;
    use crate::region::plan::Edge;

    const FLAGS: Val = Val::slot(40);

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
        let edges = to.iter().map(|&node| Edge::To { node, closes: false, poll: false }).collect();
        Node { block, page: 0, returns: Vec::new(), edges, accesses: Vec::new() }
    }

    fn test(builder: &mut BlockBuilder) {
        builder.un(Op::NzcvTest, Ty::I64, FLAGS);
    }

    fn read(builder: &mut BlockBuilder) {
        builder.un(Op::Mov, Ty::I64, FLAGS);
    }

    fn planned(nodes: Vec<Node>) -> Late {
        let block = nodes[0].block.clone();
        let plan = Plan { nodes, ..Plan::of_block(&block) };
        Late::planned(&plan, 40, [0, 1].map(Variable::from_u32), Variable::from_u32(2))
    }

    #[test]
    fn a_block_that_reads_flags_as_a_number_has_them_made_and_no_other() {
        let late = planned(vec![
            node(0, &[1, 2], Some(7), |_| {}),
            node(1, &[0], None, test),
            node(2, &[3], None, read),
            node(3, &[0], Some(9), |_| {}),
        ]);
        assert_eq!(late.needs, [false, false, true, false]);
        assert_eq!(late.of.len(), 2, "both comparisons are late");
        let [first, itself] = [Known::Always(1), Known::Always(ITSELF)];
        assert!(late.at_start == [Known::Varies, first, itself, itself]);
    }

    #[test]
    fn a_block_that_tests_flags_made_in_different_ways_has_them_made() {
        let late = planned(vec![
            node(0, &[2, 1], Some(7), |_| {}),
            node(1, &[2], Some(9), |_| {}),
            node(2, &[0], None, test),
        ]);
        assert_eq!(late.needs, [false, false, true]);
        assert!(late.at_start[2] == Known::Always(ITSELF));
    }
}
