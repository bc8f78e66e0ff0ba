//! Flags that are made late. A comparison makes flags that mostly nobody reads before the next one: the region keeps what they
//! are made of, and makes them where it is left. As long as the slots that have been compared hold what they did, nothing is to be
//! kept but which they are.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::{FunctionBuilder, Switch, Variable};
use emu_core::ir::{Block, Class, Inst, NzcvCond, Op, Ty, Val, ValKind};

use super::slots::{Form, Slot};
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
    placed: Vec<Placed>,
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

/// The operands of a comparison that are in slots, from where they have not been moved to variables of their own.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Placed {
    /// The number of the way for when they have been moved.
    way: u32,
    slots: [Option<u16>; 3],
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

/// The number that says that the slot's variable holds the value itself. Ways have numbers from one on; where operands are in
/// their slots, one more than the place among [`Late::placed`] is above these bits.
const ITSELF: u32 = 0;
const WAY_BITS: u32 = 8;
const _: () = assert!(MOST_WAYS < 1 << WAY_BITS);

/// The number for when all operands have been moved to variables.
const fn moved(number: u32) -> u32 {
    number & ((1 << WAY_BITS) - 1)
}

/// What is known where both lead.
fn both(a: Known<u32>, b: Known<u32>) -> Known<u32> {
    match (a, b) {
        (Known::Always(one), Known::Always(other)) if one != other && moved(one) == moved(other) => {
            Known::Always(moved(one))
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
    let stays = |n: u16| n != slot && !plan.in_memory.contains(&n);
    let [second, third, way] = [0, 1, 2].map(Variable::from_u32);
    let mut late = Late::planned(plan, (slot, stays), [second, third], way);
    let entered = Known::Always(ITSELF);
    let alone = |&node: &usize| {
        let others: Vec<usize> = plan.entries.iter().copied().filter(|&other| other != node).collect();
        late.flow(plan, &others);
        let known = late.at_start[node];
        matches!(known, Known::Always(1..)) && late.ends(plan, node, known) == late.ends(plan, node, entered)
    };
    plan.entries.iter().copied().filter(alone).collect()
}

impl Late {
    /// The slot that the region's comparisons write.
    pub(super) fn of(f: &mut FunctionBuilder<'_>, plan: &Plan, slots: &[Option<Slot>]) -> Option<Self> {
        let slot = slot(plan)?;
        let (more, way) = ([(); 2].map(|()| f.declare_var(types::I64)), f.declare_var(types::I32));
        let (none, itself) = (f.ins().iconst(types::I64, 0), f.ins().iconst(types::I32, i64::from(ITSELF)));
        more.into_iter().for_each(|operand| f.def_var(operand, none));
        f.def_var(way, itself);
        let whole = |slot: Slot| (slot.class, slot.form) == (Class::Int, Form::Whole);
        let stays = |n: u16| n != slot && slots[usize::from(n)].is_some_and(whole);
        Some(Self::planned(plan, (slot, stays), more, way))
    }

    /// With what is known of the plan. Operands can be left in the slots of which `stays` says so.
    fn planned(
        plan: &Plan,
        (slot, stays): (u16, impl Fn(u16) -> bool),
        more: [Variable; 2],
        way: Variable,
    ) -> Self {
        let reads = |node: &Node| Reads::ButTests.are_from(&node.block, 0, Val::slot(slot));
        let needs = plan.nodes.iter().map(reads).collect();
        let (of, at_start, now) = (HashMap::new(), Vec::new(), Known::Never);
        let (ways, placed) = (Vec::new(), Vec::new());
        let mut late = Self { slot, more, way, ways, placed, of, needs, at_start, now };
        late.choose_writes(plan, stays);
        late.flow(plan, &plan.entries);
        late
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
                    && let Some(number) = self.number(plan, node, at)
                {
                    let number = self.in_place(number, inst, &stays);
                    self.of.insert((node, at), Write::Way(number));
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
            entries.iter().for_each(|&node| at_start[node] = Known::Always(ITSELF));
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
    fn begins(&self, node: usize, known: Known<u32>) -> Known<u32> {
        if self.needs[node] { Known::Always(ITSELF) } else { known }
    }

    /// What is known where it ends.
    fn ends(&self, plan: &Plan, node: usize, known: Known<u32>) -> Known<u32> {
        let insts = plan.nodes[node].block.insts.iter().enumerate();
        insts.fold(self.begins(node, known), |known, (at, inst)| self.after(node, at, inst, known))
    }

    /// What is known after an operation.
    fn after(&self, node: usize, at: usize, inst: &Inst, known: Known<u32>) -> Known<u32> {
        match self.of.get(&(node, at)) {
            Some(&Write::Way(number)) => Known::Always(number),
            Some(Write::If { .. }) => Known::Varies,
            Some(Write::Done) => known,
            None if inst.dst == Val::slot(self.slot) => Known::Always(ITSELF),
            None => match (known, inst.dst.kind()) {
                (Known::Always(number), ValKind::Slot(n)) if self.placed(number).slots.contains(&Some(n)) => {
                    Known::Always(moved(number))
                }
                _ => known,
            },
        }
    }

    fn way(&self, number: u32) -> Way {
        self.ways[moved(number) as usize - 1]
    }

    /// The operands that are in their slots.
    fn placed(&self, number: u32) -> Placed {
        let place = (number >> WAY_BITS).checked_sub(1);
        place.map_or(Placed::default(), |place| self.placed[place as usize])
    }

    /// The number for that way with the operands of this operation where they are, if that is in such slots.
    fn in_place(&mut self, way: u32, inst: &Inst, stays: impl Fn(u16) -> bool) -> u32 {
        let slots = [inst.a, inst.b, inst.c].map(|val| match val.kind() {
            ValKind::Slot(n) if inst.op != Op::Fnzcv && stays(n) => Some(n),
            _ => None,
        });
        if slots == [None; 3] {
            return way;
        }
        let placed = Placed { way, slots };
        let place = self.placed.iter().position(|other| *other == placed).unwrap_or_else(|| {
            self.placed.push(placed);
            self.placed.len() - 1
        });
        (place as u32 + 1) << WAY_BITS | way
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

/// Which operands differ from one comparison to the next that is made in the same way.
fn varies(inst: &Inst, block: &Block) -> [bool; 3] {
    let is_some = |val: Val| !val.is_none();
    [is_some(inst.a), is_some(inst.b) && block.constant(inst.b).is_none(), carry(inst, block).is_none()]
}

/// What is known of the way at some point, and what the variables of operands hold then.
pub(super) struct LateHeld {
    known: Known<u32>,
    operands: Vec<(Variable, Value)>,
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

    /// What is known of the way now, to go on with elsewhere.
    pub(super) fn late_held(&mut self) -> Option<LateHeld> {
        let known = match self.late.as_ref()?.now {
            Known::Always(number) => Known::Always(moved(number)),
            known => known,
        };
        Some(LateHeld { known, operands: self.in_slots() })
    }

    /// Goes on where this is known.
    pub(super) fn set_late(&mut self, held: &Option<LateHeld>) {
        if let (Some(late), Some(held)) = (&mut self.late, held) {
            late.now = held.known;
            held.operands.iter().for_each(|&(var, value)| self.f.def_var(var, value));
        }
    }

    /// The operands that are in their slots: the variables that they would be moved to, and what they are.
    fn in_slots(&mut self) -> Vec<(Variable, Value)> {
        let Some(late) = &self.late else { return Vec::new() };
        let Known::Always(number) = late.now else { return Vec::new() };
        let [second, third] = late.more;
        let (slots, variables) = (late.placed(number).slots, [self.slot(late.slot).var, second, third]);
        let places = slots.into_iter().zip(variables).filter_map(|(slot, var)| Some((var, slot?)));
        places.map(|(var, slot)| (var, self.f.use_var(self.slot(slot).var))).collect()
    }

    /// The slot is about to be set: what has been compared there is kept.
    pub(super) fn keep_compared(&mut self, slot: u16) {
        let Some(late) = &self.late else { return };
        let Known::Always(number) = late.now else { return };
        if late.placed(number).slots.contains(&Some(slot)) {
            let operands = self.in_slots();
            let known = Known::Always(moved(number));
            self.set_late(&Some(LateHeld { known, operands }));
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
        let (now, way) = (late.now, late.way);
        let goal = to.map_or(Known::Varies, |node| late.at_start[node]);
        debug_assert!(both(goal, now) == goal);
        let Known::Always(number) = now else { return };
        if goal != now {
            let operands = self.in_slots();
            operands.into_iter().for_each(|(var, value)| self.f.def_var(var, value));
        }
        if goal == Known::Varies {
            let number = self.f.ins().iconst(types::I32, i64::from(moved(number)));
            self.f.def_var(way, number);
        }
    }

    /// Has the flags of the operation made late, if they can be.
    pub(super) fn put_off(&mut self, inst: &Inst, at: usize) -> bool {
        let (block, node) = (self.block(), self.node);
        let Some(late) = &self.late else { return false };
        let Some(&write) = late.of.get(&(node, at)) else { return false };
        let slot = late.slot;
        let ([second, third], way) = (late.more, late.way);
        let in_slots = match write {
            Write::Way(number) => late.placed(number).slots,
            Write::If { .. } => [None; 3],
            Write::Done => return true,
        };
        let wanted = varies(inst, block);
        let mut operands = [None; 3];
        for (n, val) in [inst.a, inst.b, inst.c].into_iter().enumerate() {
            if wanted[n] && in_slots[n].is_none() {
                operands[n] = Some(self.late_operand(inst, val));
            }
        }
        let [first, others @ ..] = operands;
        if let Some(value) = first {
            self.set(inst.dst, Any::Int(value));
        }
        self.dirty.add(slot);
        for (variable, value) in [second, third].into_iter().zip(others) {
            if let Some(value) = value {
                self.f.def_var(variable, value);
            }
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

    /// An operand of a comparison, or the bits of one that is a number.
    fn late_operand(&mut self, inst: &Inst, val: Val) -> Value {
        match (inst.op, inst.ty) {
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
        }
    }

    /// Whether the condition that an operation tests holds, from what the flags are made of: a value of 8 bits. None if the
    /// flags have been made.
    pub(super) fn late_test(&mut self, inst: &Inst) -> Option<Value> {
        let late = self.late.as_ref().filter(|late| Val::slot(late.slot) == inst.a)?;
        let Known::Always(number @ 1..) = late.now else { return None };
        let condition = NzcvCond::from_bits(inst.attr);
        if let Way::Flags(flags) = late.way(number) {
            return Some(self.f.ins().iconst(types::I8, i64::from(condition.holds(flags))));
        }
        let known = self.as_compared(number, |own, compare| own.compared(compare, condition));
        Some(known.unwrap_or_else(|| {
            let flags = self.flags_by(number);
            self.flags_hold(condition, flags)
        }))
    }

    /// What is made of the comparison of that way, with its operands in temporaries, or still in their slots.
    fn as_compared<T>(&mut self, number: u32, make: impl FnOnce(&mut Self, &Inst) -> T) -> T {
        let Some(late) = &self.late else { unreachable!("asked for where there is one") };
        let Way::Compare { mut inst, node } = late.way(number) else { unreachable!("this is a comparison") };
        let [second, third] = late.more;
        let (slots, variables) = (late.placed(number).slots, [self.slot(late.slot).var, second, third]);
        let varies = varies(&inst, &self.plan.nodes[node].block);
        let mut temps = vec![None; 3];
        for (n, val) in [&mut inst.a, &mut inst.b, &mut inst.c].into_iter().enumerate() {
            if let Some(slot) = slots[n] {
                *val = Val::slot(slot);
            } else if varies[n] {
                let value = self.f.use_var(variables[n]);
                temps[n] = Some(match (inst.op, inst.ty) {
                    (Op::Fnzcv, Ty::F32) => {
                        let low = self.f.ins().ireduce(types::I32, value);
                        Any::Single(self.bits_as(types::F32, low))
                    }
                    (Op::Fnzcv, _) => Any::Double(self.bits_as(types::F64, value)),
                    _ => Any::Int(value),
                });
                *val = Val::temp(n as u16);
            }
        }
        let own = (std::mem::replace(&mut self.node, node), std::mem::replace(&mut self.temps, temps));
        let made = make(self, &inst);
        (self.node, self.temps) = own;
        made
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
                let made = self.carries(a, b, c);
                Some(if condition == NzcvCond::Cs { made } else { self.f.ins().bxor_imm_u(made, 1) })
            }
            Op::NzcvLogic if !unsigned => {
                let a = self.int_as(inst.ty, inst.a);
                Some(self.f.ins().icmp_imm_s(cc, a, 0))
            }
            _ => None,
        }
    }

    /// The flags that are made in this way.
    fn flags_by(&mut self, number: u32) -> Value {
        match self.late.as_ref().map(|late| late.way(number)) {
            Some(Way::Flags(flags)) => self.f.ins().iconst(types::I64, flags as i64),
            _ => self.as_compared(number, |own, inst| own.flags_of(inst)),
        }
    }

    /// Makes the flags, where all ways out have come together.
    pub(super) fn make_late(&mut self) {
        let Some(late) = &mut self.late else { return };
        late.now = Known::Varies;
        let slot = late.slot;
        let value = self.made_now();
        self.state_store(frame::slot(slot), value);
        self.late = None;
    }

    /// The value of the slot.
    fn made_now(&mut self) -> Value {
        let Some(late) = &self.late else { unreachable!("asked for where there is one") };
        let (ways, now, way) = (late.ways.len() as u32, late.now, late.way);
        let first = self.slot(late.slot).var;
        match now {
            Known::Always(ITSELF) | Known::Never => return self.f.use_var(first),
            Known::Always(number) => return self.flags_by(number),
            Known::Varies => {}
        }
        let (way, value) = (self.f.use_var(way), self.f.use_var(first));
        let (itself, done) = (self.f.create_block(), self.f.create_block());
        self.f.append_block_param(done, types::I64);
        let blocks: Vec<_> = (1..=ways).map(|number| (number, self.f.create_block())).collect();
        let mut switch = Switch::new();
        blocks.iter().for_each(|&(number, block)| switch.set_entry(number.into(), block));
        switch.emit(&mut self.f, way, itself);
        self.begin(itself);
        self.f.ins().jump(done, &[value.into()]);
        for (number, block) in blocks {
            self.begin(block);
            let value = self.flags_by(number);
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
        Late::planned(&plan, (40, |n| n != 40), [0, 1].map(Variable::from_u32), Variable::from_u32(2))
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
        let [first, itself] = [Known::Always(1 << WAY_BITS | 1), Known::Always(ITSELF)];
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
