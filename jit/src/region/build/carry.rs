//! Sums with carries. What one has carried goes into the next, as numbers of many words have it: the host's own instruction makes
//! the sum and its carry at once, and what the guest's code, as lifted, finds the carry out with is left out.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value, types};
use emu_core::ir::{Inst, Ty};

use super::Gen;
use super::int::int_type;

/// Operations on truths that are looked through at most.
const MOST_DEPTH: u32 = 4;

/// A sum that the block in hand has made.
pub(super) struct Sum {
    operands: [Value; 3],
    sum: Value,
    /// A value of 8 bits.
    carry: Value,
}

impl Gen<'_, '_> {
    /// The sum of these, of which the last is 0 or 1, and whether it has carried: a value of 8 bits.
    pub(super) fn sum_and_carry(&mut self, a: Value, b: Value, c: Value) -> (Value, Value) {
        if self.number(c) == Some(0) {
            let sum = self.f.ins().iadd(a, b);
            return (sum, self.f.ins().icmp(IntCC::UnsignedLessThan, sum, a));
        }
        if self.f.func.dfg.value_type(a) == types::I64 {
            // The sum of the lower halves carries what is to be added to that of the upper.
            let ones = self.f.ins().iconst(types::I64, -1);
            let (x, y) = (self.f.ins().iconcat(ones, a), self.f.ins().iconcat(c, b));
            let (sum, carry) = self.f.ins().uadd_overflow(x, y);
            return (self.f.ins().isplit(sum).1, carry);
        }
        let first = self.f.ins().iadd(a, b);
        let carry_1 = self.f.ins().icmp(IntCC::UnsignedLessThan, first, a);
        let sum = self.f.ins().iadd(first, c);
        let carry_2 = self.f.ins().icmp(IntCC::UnsignedLessThan, sum, c);
        (sum, self.f.ins().bor(carry_1, carry_2))
    }

    /// The sum, which is remembered with its carry until the block ends.
    pub(super) fn add_with_carry(&mut self, inst: &Inst) -> Value {
        let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
        let c = self.carry(inst);
        if [a, b].iter().all(|&value| self.number(value) == Some(0)) {
            return c;
        }
        let (sum, carry) = self.sum_and_carry(a, b, c);
        let operands = [a, b, c].map(|value| self.origin(value));
        self.sums.push(Sum { operands, sum, carry });
        sum
    }

    /// Whether the sum of these carries: a value of 8 bits.
    pub(super) fn carries(&mut self, a: Value, b: Value, c: Value) -> Value {
        let operands = [a, b, c].map(|value| self.origin(value));
        let made = self.sums.iter().rfind(|sum| sum.operands == operands);
        made.map(|made| made.carry).unwrap_or_else(|| self.sum_and_carry(a, b, c).1)
    }

    /// Bit 0 of the third operand.
    pub(super) fn carry(&mut self, inst: &Inst) -> Value {
        if let Some(value) = self.block().constant(inst.c) {
            return self.constant(int_type(inst.ty), value & 1);
        }
        let all = self.int_of(inst.c);
        let c = if inst.ty == Ty::I32 { self.low(all) } else { all };
        if self.is_truth(all, MOST_DEPTH) { c } else { self.f.ins().band_imm_u(c, 1) }
    }

    /// The carry of a sum that these two, one or the other, say the carry of: that it is less than one of its operands; and that it
    /// is that operand, though 1 was added.
    pub(super) fn either_carries(&self, x: Value, y: Value) -> Option<Value> {
        let carry_of = |less: Value, same: Value| {
            let (sum, of) = self.compared_by(less, IntCC::UnsignedLessThan)?;
            let InstructionData::Binary { opcode: Opcode::Band, args } = *self.made_by(same)? else {
                return None;
            };
            let c = match args.map(|arg| self.compared_by(arg, IntCC::Equal) == Some((sum, of))) {
                [true, _] => args[1],
                [_, true] => args[0],
                _ => return None,
            };
            let c = self.origin(c);
            let is_it =
                |made: &&Sum| made.sum == sum && made.operands[..2].contains(&of) && made.operands[2] == c;
            self.sums.iter().rfind(is_it).map(|made| made.carry)
        };
        carry_of(x, y).or_else(|| carry_of(y, x))
    }

    /// What a value is the truth of the comparison of.
    fn compared_by(&self, value: Value, wanted: IntCC) -> Option<(Value, Value)> {
        match *self.made_by(self.unary(value, Opcode::Uextend)?)? {
            InstructionData::IntCompare { opcode: Opcode::Icmp, args: [a, b], cond } if cond == wanted => {
                Some((self.origin(a), self.origin(b)))
            }
            _ => None,
        }
    }

    /// Whether a value is known to be 0 or 1.
    fn is_truth(&self, value: Value, depth: u32) -> bool {
        let Some(made) = self.made_by(value) else { return false };
        match *made {
            InstructionData::Unary { opcode: Opcode::Uextend, arg } => {
                let is_carry = |made: &InstructionData| made.opcode() == Opcode::UaddOverflow;
                self.truth(value).is_some()
                    || self.f.func.dfg.value_type(arg) == types::I8 && self.made_by(arg).is_some_and(is_carry)
            }
            InstructionData::Binary { opcode: Opcode::Band | Opcode::Bor, args } => {
                depth > 0 && args.iter().all(|&arg| self.is_truth(arg, depth - 1))
            }
            _ => false,
        }
    }
}
