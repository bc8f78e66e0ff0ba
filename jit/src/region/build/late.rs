//! Flags that are made late. A comparison makes flags that mostly nobody reads before the next one: the region keeps what they
//! are made of, and makes them where it is left.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, Switch, Variable};
use emu_core::ir::{Block, Inst, Op, Terminal, Ty, Val, ValKind};

use super::{Any, Gen, Plan};
use crate::frame;

/// Ways in which a region makes its flags at most; others make them at once.
const MOST_WAYS: usize = 8;

/// The slot whose value is made late, from what its variable and these hold.
pub(super) struct Late {
    slot: u16,
    /// The second operand.
    second: Variable,
    /// [`ITSELF`], or the number of the way: where that is not [`Known::Way`].
    way: Variable,
    ways: Vec<Way>,
    /// The numbers of the ways of operations, by node and place in its block.
    of: HashMap<(usize, usize), u32>,
    /// What is known where each node begins.
    at_start: Vec<Known>,
    /// What is known now.
    now: Known,
}

/// What a comparison does with its operands.
struct Way {
    inst: Inst,
    /// Whose block's constants it names.
    node: usize,
}

/// The number that says that the slot's variable holds the value itself. Ways have numbers from one on.
const ITSELF: u32 = 0;

/// What is known of the way at a point of the region, whatever way has led there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing leads there.
    Never,
    Way(u32),
    /// What the variable holds.
    Variable,
}

impl Known {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, known) | (known, Self::Never) => known,
            _ if self == other => self,
            _ => Self::Variable,
        }
    }
}

const fn makes_flags(op: Op) -> bool {
    matches!(op, Op::NzcvAdd | Op::NzcvSub | Op::NzcvLogic | Op::Fnzcv)
}

/// Whether the block's operations from `at` on, or what ends it, read the slot before it is written.
fn is_read_from(block: &Block, at: usize, slot: Val) -> bool {
    for inst in &block.insts[at..] {
        if [inst.a, inst.b, inst.c].contains(&slot) {
            return true;
        }
        if inst.dst == slot {
            return false;
        }
    }
    match block.terminal {
        Terminal::Branch { a, b, .. } => a == slot || b == slot,
        Terminal::Indirect { target, .. } => target == slot,
        _ => false,
    }
}

impl Late {
    /// The slot that the region's comparisons write, if no block of it reads it as it was before.
    pub(super) fn of(f: &mut FunctionBuilder<'_>, plan: &Plan) -> Option<Self> {
        let mut insts = plan.nodes.iter().flat_map(|node| &node.block.insts);
        let slot = insts.find_map(|inst| match inst.dst.kind() {
            ValKind::Slot(n) if makes_flags(inst.op) => Some(n),
            _ => None,
        })?;
        if plan.nodes.iter().any(|node| is_read_from(&node.block, 0, Val::slot(slot))) {
            return None;
        }
        let (second, way) = (f.declare_var(types::I64), f.declare_var(types::I32));
        let (none, itself) = (f.ins().iconst(types::I64, 0), f.ins().iconst(types::I32, i64::from(ITSELF)));
        f.def_var(second, none);
        f.def_var(way, itself);
        let (ways, of, at_start, now) = (Vec::new(), HashMap::new(), Vec::new(), Known::Never);
        let mut late = Self { slot, second, way, ways, of, at_start, now };
        // What each block leaves behind, if it writes the slot.
        let mut ends = vec![None; plan.nodes.len()];
        for (node, end) in ends.iter_mut().enumerate() {
            for (at, inst) in plan.nodes[node].block.insts.iter().enumerate() {
                if inst.dst == Val::slot(slot) {
                    let number = late.number(plan, node, at);
                    if let Some(number) = number {
                        late.of.insert((node, at), number);
                    }
                    *end = Some(Known::Way(number.unwrap_or(ITSELF)));
                }
            }
        }
        let mut at_start = vec![Known::Never; plan.nodes.len()];
        plan.entries.iter().for_each(|&node| at_start[node] = Known::Way(ITSELF));
        late.at_start = plan.flow(at_start, |n, known| ends[n].unwrap_or(known), Known::or);
        Some(late)
    }

    /// The number of the way of an operation that writes the slot, if its flags can be made late.
    fn number(&mut self, plan: &Plan, node: usize, at: usize) -> Option<u32> {
        let block = &plan.nodes[node].block;
        let inst = &block.insts[at];
        let c = carry(inst, block)?;
        if !makes_flags(inst.op) || is_read_from(block, at + 1, inst.dst) {
            return None;
        }
        let same = |way: &Way| {
            let other = &plan.nodes[way.node].block;
            (way.inst.op, way.inst.ty) == (inst.op, inst.ty)
                && carry(&way.inst, other) == Some(c)
                && other.constant(way.inst.b) == block.constant(inst.b)
        };
        let place = self.ways.iter().position(same).or_else(|| {
            let is_room = self.ways.len() < MOST_WAYS;
            is_room.then(|| self.ways.push(Way { inst: *inst, node }))?;
            Some(self.ways.len() - 1)
        })?;
        Some(place as u32 + 1)
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
            late.now = Known::Way(ITSELF);
        }
    }

    /// Begins a node.
    pub(super) fn start_late(&mut self, node: usize) {
        if let Some(late) = &mut self.late {
            late.now = late.at_start[node];
        }
    }

    /// Sees to it that the variable holds the way, on the way to a node, or out, where it is not known.
    pub(super) fn tell_way(&mut self, to: Option<usize>) {
        let Some(late) = &self.late else { return };
        debug_assert!(to.is_none_or(|node| late.at_start[node].or(late.now) == late.at_start[node]));
        if let Known::Way(number) = late.now
            && to.is_none_or(|node| late.at_start[node] == Known::Variable)
        {
            let number = self.f.ins().iconst(types::I32, i64::from(number));
            self.f.def_var(late.way, number);
        }
    }

    /// Has the flags of the operation made late, if they can be.
    pub(super) fn put_off(&mut self, inst: &Inst, at: usize) -> bool {
        let (block, node) = (self.block(), self.node);
        let Some(late) = &self.late else { return false };
        let Some(&number) = late.of.get(&(node, at)) else { return false };
        let second = late.second;
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
        if let Some(value) = operands[0] {
            self.set(inst.dst, Any::Int(value));
        }
        if let Some(value) = operands[1].filter(|_| block.constant(inst.b).is_none()) {
            self.f.def_var(second, value);
        }
        if let Some(late) = &mut self.late {
            late.now = Known::Way(number);
        }
        true
    }

    /// Makes the flags, where all ways out have come together.
    pub(super) fn make_late(&mut self) {
        let Some(late) = self.late.take() else { return };
        let slot = self.slot(late.slot);
        let (first, second) = (self.f.use_var(slot.var), self.f.use_var(late.second));
        let way = self.f.use_var(late.way);
        let (itself, done) = (self.f.create_block(), self.f.create_block());
        self.f.append_block_param(done, types::I64);
        let blocks: Vec<_> = late.ways.iter().map(|_| self.f.create_block()).collect();
        let mut switch = Switch::new();
        for (number, &block) in blocks.iter().enumerate() {
            switch.set_entry(number as u128 + 1, block);
        }
        switch.emit(&mut self.f, way, itself);
        self.f.switch_to_block(itself);
        self.f.ins().jump(done, &[first.into()]);
        for (way, block) in late.ways.iter().zip(blocks) {
            self.f.switch_to_block(block);
            self.node = way.node;
            let operands = [first, second].map(|value| match (way.inst.op, way.inst.ty) {
                (Op::Fnzcv, Ty::F32) => {
                    let low = self.f.ins().ireduce(types::I32, value);
                    Any::Single(self.bits_as(types::F32, low))
                }
                (Op::Fnzcv, _) => Any::Double(self.bits_as(types::F64, value)),
                _ => Any::Int(value),
            });
            self.temps = operands.map(Some).to_vec();
            let constant = self.block().constant(way.inst.b).is_some();
            let b = if constant { way.inst.b } else { Val::temp(1) };
            let inst = Inst { a: Val::temp(0), b, ..way.inst };
            let value = self.flags_of(&inst);
            self.f.ins().jump(done, &[value.into()]);
        }
        self.f.switch_to_block(done);
        let value = self.f.block_params(done)[0];
        self.state_store(frame::slot(late.slot), value);
    }

    /// NZCV as a comparison makes it; of numbers, which are ordered.
    pub(super) fn flags_of(&mut self, inst: &Inst) -> cranelift_codegen::ir::Value {
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
