//! Flags that are made late. A comparison makes flags that mostly nobody reads before the next one: the region keeps what they
//! are made of, and makes them where it is left.

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
    /// Zero if the slot's variable holds the value itself, else the number of the way from one on.
    way: Variable,
    ways: Vec<Way>,
}

/// What a comparison does with its operands.
struct Way {
    inst: Inst,
    /// Whose block's constants it names.
    node: usize,
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
        let (none, itself) = (f.ins().iconst(types::I64, 0), f.ins().iconst(types::I32, 0));
        f.def_var(second, none);
        f.def_var(way, itself);
        Some(Self { slot, second, way, ways: Vec::new() })
    }
}

impl Gen<'_, '_> {
    pub(super) fn is_late(&self, slot: u16) -> bool {
        self.late.as_ref().is_some_and(|late| late.slot == slot)
    }

    /// Notes that the slot has been set to a value.
    pub(super) fn no_longer_late(&mut self, slot: u16) {
        if let Some(late) = self.late.as_ref().filter(|late| late.slot == slot) {
            let itself = self.f.ins().iconst(types::I32, 0);
            self.f.def_var(late.way, itself);
        }
    }

    /// Has the flags of the operation made late, if they can be.
    pub(super) fn put_off(&mut self, inst: &Inst, at: usize) -> bool {
        let (block, node) = (self.block(), self.node);
        let carry = |inst: &Inst, block: &Block| match inst.op {
            Op::NzcvAdd | Op::NzcvSub => block.constant(inst.c),
            _ => Some(0),
        };
        let plan = self.plan;
        let Some(late) = &mut self.late else { return false };
        let slot = Val::slot(late.slot);
        let Some(c) = carry(inst, block) else { return false };
        if inst.dst != slot || is_read_from(block, at + 1, slot) {
            return false;
        }
        let same = |way: &Way| {
            let other = &plan.nodes[way.node].block;
            (way.inst.op, way.inst.ty) == (inst.op, inst.ty)
                && carry(&way.inst, other) == Some(c)
                && other.constant(way.inst.b) == block.constant(inst.b)
        };
        let number = match late.ways.iter().position(same) {
            Some(number) => number,
            None if late.ways.len() < MOST_WAYS => {
                late.ways.push(Way { inst: *inst, node });
                late.ways.len() - 1
            }
            None => return false,
        };
        let (second, way) = (late.second, late.way);
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
        let number = self.f.ins().iconst(types::I32, number as i64 + 1);
        self.f.def_var(way, number);
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
