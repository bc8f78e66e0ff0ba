//! What a region does about flags that are made late: it moves what they are made of, tests conditions by that, and makes them
//! where it is left, or where a block reads them as a number.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::{Switch, Variable};
use emu_core::ir::{Inst, NzcvCond, Op, Ty, Val};

use super::late::{Made, Way, Write, both, carry, varies};
use super::{Any, Gen};
use crate::frame;
use crate::region::plan::Known;

/// What is known of the way at some point, and what the variables of operands hold then.
pub(super) struct LateHeld {
    known: Known<Made>,
    operands: Vec<(Variable, Value)>,
}

impl Gen<'_, '_> {
    pub(super) fn is_late(&self, slot: u16) -> bool {
        self.late.as_ref().is_some_and(|late| late.makings.slot == slot)
    }

    /// Notes that the slot has been set to a value.
    pub(super) fn no_longer_late(&mut self, slot: u16) {
        if let Some(late) = self.late.as_mut().filter(|late| late.makings.slot == slot) {
            late.now = Known::Always(Made::ITSELF);
        }
    }

    /// What is known of the way now, to go on with elsewhere.
    pub(super) fn late_held(&mut self) -> Option<LateHeld> {
        let known = match self.late.as_ref()?.now {
            Known::Always(made) => Known::Always(Made::moved(made.way)),
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
        let Known::Always(made) = late.now else { return Vec::new() };
        let [second, third] = late.more;
        let variables = [self.slot(late.makings.slot).var, second, third];
        let places = made.slots.into_iter().zip(variables).filter_map(|(slot, var)| Some((var, slot?)));
        places.map(|(var, slot)| (var, self.f.use_var(self.slot(slot).var))).collect()
    }

    /// The slot is about to be set: what has been compared there is kept.
    pub(super) fn keep_compared(&mut self, slot: u16) {
        let Some(late) = &self.late else { return };
        let Known::Always(made) = late.now else { return };
        if made.slots.contains(&Some(slot)) {
            let held = self.late_held();
            self.set_late(&held);
        }
    }

    /// Begins a node.
    pub(super) fn start_late(&mut self, node: usize) {
        if let Some(late) = &mut self.late {
            late.now = late.makings.at_start[node];
        }
    }

    /// Sees to it that the variable holds the way, on the way to a node, or out, where it is not known; on the way to a node in
    /// need, that the slot's variable holds its value.
    pub(super) fn tell_way(&mut self, to: Option<usize>) {
        let Some(late) = &self.late else { return };
        if to.is_some_and(|node| late.makings.needs[node]) {
            if late.now != Known::Always(Made::ITSELF) {
                let (slot, value) = (self.slot(late.makings.slot), self.made_now());
                self.f.def_var(slot.var, value);
            }
            return;
        }
        let (now, way) = (late.now, late.way);
        let goal = to.map_or(Known::Varies, |node| late.makings.at_start[node]);
        debug_assert!(both(goal, now) == goal);
        let Known::Always(made) = now else { return };
        if goal != now {
            let operands = self.in_slots();
            operands.into_iter().for_each(|(var, value)| self.f.def_var(var, value));
        }
        if goal == Known::Varies {
            let number = self.f.ins().iconst(types::I32, i64::from(made.way));
            self.f.def_var(way, number);
        }
    }

    /// Has the flags of the operation made late, if they can be.
    pub(super) fn put_off(&mut self, inst: &Inst, at: usize) -> bool {
        let (block, node) = (self.block(), self.node);
        let Some(late) = &self.late else { return false };
        let Some(&write) = late.makings.of.get(&(node, at)) else { return false };
        let slot = late.makings.slot;
        let ([second, third], way) = (late.more, late.way);
        let in_slots = match write {
            Write::Way(made) => made.slots,
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
            late.now = late.makings.after(node, at, inst, late.now);
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
        let late = self.late.as_ref().filter(|late| Val::slot(late.makings.slot) == inst.a)?;
        let Known::Always(made @ Made { way: 1.., .. }) = late.now else { return None };
        let condition = NzcvCond::from_bits(inst.attr);
        if let Way::Flags(flags) = late.makings.way(made) {
            return Some(self.f.ins().iconst(types::I8, i64::from(condition.holds(flags))));
        }
        let known = self.as_compared(made, |own, compare| own.compared(compare, condition));
        Some(known.unwrap_or_else(|| {
            let flags = self.flags_by(made);
            self.flags_hold(condition, flags)
        }))
    }

    /// What is made of the comparison of that way, with its operands in temporaries, or still in their slots.
    fn as_compared<T>(&mut self, made: Made, make: impl FnOnce(&mut Self, &Inst) -> T) -> T {
        let Some(late) = &self.late else { unreachable!("asked for where there is one") };
        let Way::Compare { mut inst, node } = late.makings.way(made) else {
            unreachable!("this is a comparison")
        };
        let [second, third] = late.more;
        let variables = [self.slot(late.makings.slot).var, second, third];
        let varies = varies(&inst, &self.plan.nodes[node].block);
        let mut temps = vec![None; 3];
        for (n, val) in [&mut inst.a, &mut inst.b, &mut inst.c].into_iter().enumerate() {
            if let Some(slot) = made.slots[n] {
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
        let value = make(self, &inst);
        (self.node, self.temps) = own;
        value
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
    fn flags_by(&mut self, made: Made) -> Value {
        match self.late.as_ref().map(|late| late.makings.way(made)) {
            Some(Way::Flags(flags)) => self.f.ins().iconst(types::I64, flags as i64),
            _ => self.as_compared(made, |own, inst| own.flags_of(inst)),
        }
    }

    /// Makes the flags, where all ways out have come together.
    pub(super) fn make_late(&mut self) {
        let Some(late) = &mut self.late else { return };
        late.now = Known::Varies;
        let slot = late.makings.slot;
        let value = self.made_now();
        self.state_store(frame::slot(slot), value);
        self.late = None;
    }

    /// The value of the slot.
    fn made_now(&mut self) -> Value {
        let Some(late) = &self.late else { unreachable!("asked for where there is one") };
        let (ways, now, way) = (late.makings.ways.len() as u32, late.now, late.way);
        let first = self.slot(late.makings.slot).var;
        match now {
            Known::Always(Made::ITSELF) | Known::Never => return self.f.use_var(first),
            Known::Always(made) => return self.flags_by(made),
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
            let value = self.flags_by(Made::moved(number));
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
