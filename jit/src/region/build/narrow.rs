//! How values have been made, where that leads to shorter code: mostly values of 32 bits in containers of 64. Guests extend what
//! they compute in 32 bits, and mostly use no more than that of it: a region goes on with the value that was extended, so that
//! nothing is left of the extension where nobody needs it.

use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value, ValueDef, types};

use super::Gen;

/// Bitwise operations that are looked through at most.
const MOST_DEPTH: u32 = 4;

impl Gen<'_, '_> {
    /// The operation that makes a value.
    pub(super) fn made_by(&self, value: Value) -> Option<&InstructionData> {
        match self.f.func.dfg.value_def(value) {
            ValueDef::Result(inst, _) => Some(&self.f.func.dfg.insts[inst]),
            _ => None,
        }
    }

    pub(super) fn unary(&self, value: Value, wanted: Opcode) -> Option<Value> {
        match *self.made_by(value)? {
            InstructionData::Unary { opcode, arg } if opcode == wanted => Some(arg),
            _ => None,
        }
    }

    /// The sum of a value of 64 bits and a constant; of what the value itself is such a sum of.
    pub(super) fn plus(&mut self, value: Value, by: i64) -> Value {
        let (of, before) = self.by_constant(value, Opcode::Iadd).unwrap_or((value, 0));
        match before.wrapping_add(by) {
            0 => of,
            all => self.f.ins().iadd_imm_s(of, all),
        }
    }

    /// The comparison that a number, 1 or 0, is the truth of: a value of 8 bits, by which the host branches and selects without
    /// making the number.
    pub(super) fn truth(&self, value: Value) -> Option<Value> {
        let value = self.unary(value, Opcode::Ireduce).unwrap_or(value);
        let compared = self.unary(value, Opcode::Uextend)?;
        let made = self.made_by(compared)?;
        matches!(made.opcode(), Opcode::Icmp | Opcode::Fcmp).then_some(compared)
    }

    /// The opposite of a comparison.
    pub(super) fn untruth(&mut self, truth: Value) -> Value {
        match self.made_by(truth) {
            Some(&InstructionData::IntCompare { args: [a, b], cond, .. }) => {
                self.f.ins().icmp(cond.complement(), a, b)
            }
            Some(&InstructionData::FloatCompare { args: [a, b], cond, .. }) => {
                self.f.ins().fcmp(cond.complement(), a, b)
            }
            _ => self.f.ins().icmp_imm_u(IntCC::Equal, truth, 0),
        }
    }

    /// The operands of an operation of which the second is constant.
    fn by_constant(&self, value: Value, wanted: Opcode) -> Option<(Value, i64)> {
        match *self.made_by(value)? {
            InstructionData::Binary { opcode, args: [a, b] } if opcode == wanted => {
                Some((a, self.number(b)?))
            }
            _ => None,
        }
    }

    pub(super) fn number(&self, value: Value) -> Option<i64> {
        match *self.made_by(value)? {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    /// What a value of 64 bits is an extension of 32 of, and by which operation.
    fn extended(&self, value: Value) -> Option<(Value, Opcode)> {
        let of = [Opcode::Sextend, Opcode::Uextend]
            .into_iter()
            .find_map(|opcode| Some((self.unary(value, opcode)?, opcode)))?;
        (self.f.func.dfg.value_type(of.0) == types::I32).then_some(of)
    }

    /// The lower half of a value of 64 bits.
    pub(super) fn low(&mut self, value: Value) -> Value {
        if let Some((low, _)) = self.extended(value) {
            return low;
        }
        if let Some(number) = self.number(value) {
            return self.f.ins().iconst(types::I32, i64::from(number as i32));
        }
        self.f.ins().ireduce(types::I32, value)
    }

    /// Whether a value of 64 bits is the extension of its lower half by its sign.
    fn is_narrow(&self, value: Value, depth: u32) -> bool {
        let Some(made) = self.made_by(value) else { return false };
        match *made {
            InstructionData::Unary { opcode: Opcode::Sextend, .. } => true,
            InstructionData::Unary { opcode: Opcode::Uextend, arg } => {
                self.f.func.dfg.value_type(arg) != types::I32
            }
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => i32::try_from(imm.bits()).is_ok(),
            InstructionData::Load { opcode, .. } => {
                matches!(opcode, Opcode::Sload32 | Opcode::Sload16 | Opcode::Sload8)
                    || matches!(opcode, Opcode::Uload16 | Opcode::Uload8)
            }
            InstructionData::Binary { opcode: Opcode::Band | Opcode::Bor | Opcode::Bxor, args } => {
                depth > 0 && args.iter().all(|&arg| self.is_narrow(arg, depth - 1))
            }
            _ => false,
        }
    }

    /// The lower halves of two values of 64 bits that both are the extensions of these by their signs, if it pays to go on
    /// with them: operations that do the same to all copies of the sign can be made before the extension.
    pub(super) fn narrowed(&mut self, a: Value, b: Value) -> Option<(Value, Value)> {
        let pays = [a, b].iter().any(|&value| self.unary(value, Opcode::Sextend).is_some());
        let narrow = pays && [a, b].iter().all(|&value| self.is_narrow(value, MOST_DEPTH));
        narrow.then(|| (self.low(a), self.low(b)))
    }

    /// An extension, made anew: where a value is needed in a place that is seldom run, it is to cost nothing elsewhere.
    pub(super) fn extended_here(&mut self, value: Value) -> Value {
        match self.extended(value) {
            Some((low, Opcode::Sextend)) => self.f.ins().sextend(types::I64, low),
            Some((low, _)) => self.f.ins().uextend(types::I64, low),
            None => value,
        }
    }

    /// A rotation that is written as two shifts: its operand, and the distance to the left.
    pub(super) fn rotated(&self, a: Value, b: Value) -> Option<(Value, i64)> {
        let halves = |left, right| {
            let (x, left) = self.by_constant(left, Opcode::Ishl)?;
            let (y, right) = self.by_constant(right, Opcode::Ushr)?;
            let bits = i64::from(self.f.func.dfg.value_type(x).bits());
            (left > 0 && right > 0 && left + right == bits && self.is_same(x, y)).then_some((x, left))
        };
        halves(a, b).or_else(|| halves(b, a))
    }

    /// The value that others are other names for.
    pub(super) fn origin(&self, value: Value) -> Value {
        self.f.func.dfg.resolve_aliases(value)
    }

    /// Whether two values are the same, or the lower halves of the same.
    fn is_same(&self, a: Value, b: Value) -> bool {
        let [a, b] = [a, b].map(|value| self.origin(self.unary(value, Opcode::Ireduce).unwrap_or(value)));
        a == b
    }

    /// The lower half that a value of 64 bits has been shifted to the upper of, if that is how it was made.
    pub(super) fn raised(&mut self, value: Value) -> Option<Value> {
        let (of, 32) = self.by_constant(value, Opcode::Ishl)? else { return None };
        Some(self.low(of))
    }
}
