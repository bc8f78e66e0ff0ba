//! Integer operations.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use emu_core::ir::{Cc, Inst, NzcvCond, Op, Ty};

use super::{Any, Gen};

/// Whether the operation has a form here.
pub(super) fn supports(inst: &Inst) -> bool {
    match inst.op {
        Op::Orcb | Op::Clmul | Op::Clmulh | Op::Clmulr => false,
        Op::Mulhs | Op::Mulhu | Op::Mulhsu => inst.ty == Ty::I64,
        _ => true,
    }
}

pub(super) fn condition(cc: Cc) -> IntCC {
    match cc {
        Cc::Eq => IntCC::Equal,
        Cc::Ne => IntCC::NotEqual,
        Cc::Lt => IntCC::SignedLessThan,
        Cc::Ge => IntCC::SignedGreaterThanOrEqual,
        Cc::Ltu => IntCC::UnsignedLessThan,
        Cc::Geu => IntCC::UnsignedGreaterThanOrEqual,
    }
}

pub(super) const fn int_type(ty: Ty) -> Type {
    if matches!(ty, Ty::I32) { types::I32 } else { types::I64 }
}

impl Gen<'_, '_> {
    pub(super) fn int(&mut self, inst: &Inst, at: usize) {
        let ty = inst.ty;
        let host = int_type(ty);
        let bits = i64::from(host.bits());
        let unary = |s: &mut Self| s.int_as(ty, inst.a);
        let both = |s: &mut Self| (s.int_as(ty, inst.a), s.int_as(ty, inst.b));
        let value = match inst.op {
            Op::Mov => unary(self),
            Op::Add | Op::Sub => self.add(inst),
            Op::And => return self.bitwise(inst, |f, a, b| f.band(a, b)),
            Op::Or => return self.bitwise(inst, |f, a, b| f.bor(a, b)),
            Op::Xor => return self.bitwise(inst, |f, a, b| f.bxor(a, b)),
            Op::Andn => self.binary(inst, |f, a, b| f.band_not(a, b)),
            Op::Orn => self.binary(inst, |f, a, b| f.bor_not(a, b)),
            Op::Xnor => self.binary(inst, |f, a, b| f.bxor_not(a, b)),
            Op::Shl => self.binary(inst, |f, a, b| f.ishl(a, b)),
            Op::Shr | Op::Sar => self.shift_right(inst),
            Op::Rotl => self.binary(inst, |f, a, b| f.rotl(a, b)),
            Op::Rotr => self.binary(inst, |f, a, b| f.rotr(a, b)),
            Op::Mul => self.binary(inst, |f, a, b| f.imul(a, b)),
            Op::Mulhs => self.binary(inst, |f, a, b| f.smulhi(a, b)),
            Op::Mulhu => self.binary(inst, |f, a, b| f.umulhi(a, b)),
            Op::Mulhsu => {
                // Less b where a is negative.
                let (a, b) = both(self);
                let high = self.f.ins().umulhi(a, b);
                let sign = self.f.ins().sshr_imm_u(a, 63);
                let less = self.f.ins().band(sign, b);
                self.f.ins().isub(high, less)
            }
            Op::Divs | Op::Divu | Op::Rems | Op::Remu => self.divide(inst),
            Op::Mins => self.binary(inst, |f, a, b| f.smin(a, b)),
            Op::Maxs => self.binary(inst, |f, a, b| f.smax(a, b)),
            Op::Minu => self.binary(inst, |f, a, b| f.umin(a, b)),
            Op::Maxu => self.binary(inst, |f, a, b| f.umax(a, b)),
            Op::Clz => {
                let a = unary(self);
                self.f.ins().clz(a)
            }
            Op::Ctz => {
                let a = unary(self);
                self.f.ins().ctz(a)
            }
            Op::Popcnt => {
                let a = unary(self);
                self.f.ins().popcnt(a)
            }
            Op::Bswap => {
                let a = unary(self);
                self.f.ins().bswap(a)
            }
            Op::Bitrev => {
                let a = unary(self);
                self.f.ins().bitrev(a)
            }
            Op::Sext8 | Op::Sext16 => {
                let from = if inst.op == Op::Sext8 { types::I8 } else { types::I16 };
                let a = unary(self);
                let low = self.f.ins().ireduce(from, a);
                self.f.ins().sextend(host, low)
            }
            Op::Sext32 => {
                let a = self.int_as(Ty::I32, inst.a);
                let value = self.f.ins().sextend(types::I64, a);
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Zext8 | Op::Zext16 | Op::Zext32 => {
                let from = match inst.op {
                    Op::Zext8 => types::I8,
                    Op::Zext16 => types::I16,
                    _ => types::I32,
                };
                let a = self.int_of(inst.a);
                let low = self.f.ins().ireduce(from, a);
                let value = self.f.ins().uextend(types::I64, low);
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Extract | Op::Extracts => {
                let a = unary(self);
                self.extract(inst, a)
            }
            Op::Insert => {
                let (first, len) = field(inst.imm, bits);
                let mask = (u64::MAX >> (64 - len)) << first;
                let (a, b) = both(self);
                let b = self.f.ins().ishl_imm_u(b, first);
                let (keep, take) = (self.constant(host, !mask), self.constant(host, mask));
                let a = self.f.ins().band(a, keep);
                let b = self.f.ins().band(b, take);
                self.f.ins().bor(a, b)
            }
            Op::Set => {
                let holds = self.compare(Cc::from_bits(inst.attr), ty, inst.a, inst.b);
                let value = self.f.ins().uextend(types::I64, holds);
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Select if self.put_off(inst, at) => return,
            Op::Select => {
                let a = unary(self);
                let a = self.truth(a).unwrap_or(a);
                let (b, c) = (self.int_as(ty, inst.b), self.int_as(ty, inst.c));
                self.f.ins().select(a, b, c)
            }
            Op::Adc => self.add_with_carry(inst),
            Op::NzcvAdd | Op::NzcvSub | Op::NzcvLogic => {
                if self.put_off(inst, at) {
                    return;
                }
                self.nzcv(inst)
            }
            Op::NzcvTest => {
                let holds = self.late_test(inst).unwrap_or_else(|| {
                    let flags = self.int_of(inst.a);
                    self.flags_hold(NzcvCond::from_bits(inst.attr), flags)
                });
                let value = self.f.ins().uextend(types::I64, holds);
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Pc => {
                let offset = self.delta() + i64::from(inst.imm);
                let value = self.address(offset);
                return self.set(inst.dst, Any::Int(value));
            }
            op => unreachable!("{op:?} is not planned"),
        };
        self.set_int(ty, inst.dst, value);
    }

    fn add(&mut self, inst: &Inst) -> Value {
        let by = self.block().constant(inst.b).filter(|_| inst.ty == Ty::I64).map(|by| by as i64);
        let by = if inst.op == Op::Add { by } else { by.map(i64::wrapping_neg) };
        match by {
            Some(by) => {
                let a = self.int_of(inst.a);
                self.plus(a, by)
            }
            None if inst.op == Op::Add => self.binary(inst, |f, a, b| f.iadd(a, b)),
            None => self.binary(inst, |f, a, b| f.isub(a, b)),
        }
    }

    fn binary(
        &mut self,
        inst: &Inst,
        op: impl FnOnce(FuncInstBuilder<'_, '_>, Value, Value) -> Value,
    ) -> Value {
        let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
        op(self.f.ins(), a, b)
    }

    /// An operation that does the same to every bit.
    fn bitwise(&mut self, inst: &Inst, op: impl FnOnce(FuncInstBuilder<'_, '_>, Value, Value) -> Value) {
        let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
        let mask = self.block().constant(inst.b);
        if (inst.op, inst.ty) == (Op::And, Ty::I64) && mask.is_some_and(|mask| mask <= i32::MAX as u64) {
            // The upper half of the result is zero, whatever that of the operand is.
            let (a, b) = (self.low(a), self.low(b));
            let value = self.f.ins().band(a, b);
            return self.set_int(Ty::I32, inst.dst, value);
        }
        if (inst.op, inst.ty) == (Op::Or, Ty::I64)
            && let Some(carry) = self.either_carries(a, b)
        {
            let value = self.f.ins().uextend(types::I64, carry);
            return self.set(inst.dst, Any::Int(value));
        }
        let narrowed = if inst.ty == Ty::I64 { self.narrowed(a, b) } else { None };
        let (a, b) = narrowed.unwrap_or((a, b));
        let value = match self.rotated(a, b) {
            Some((of, by)) if inst.op != Op::And => self.f.ins().rotl_imm_u(of, by),
            _ => op(self.f.ins(), a, b),
        };
        if narrowed.is_some() {
            let value = self.f.ins().sextend(types::I64, value);
            return self.set(inst.dst, Any::Int(value));
        }
        self.set_int(inst.ty, inst.dst, value);
    }

    /// A shift to the right; after one to the left by 32 it is an extension.
    fn shift_right(&mut self, inst: &Inst) -> Value {
        let signed = inst.op == Op::Sar;
        let a = self.int_as(inst.ty, inst.a);
        let by = self.block().constant(inst.b).map(|by| by as i64);
        if let (Ty::I64, Some(by @ 1..64)) = (inst.ty, by)
            && let Some(low) = self.raised(a)
        {
            let wide = match signed {
                true => self.f.ins().sextend(types::I64, low),
                false => self.f.ins().uextend(types::I64, low),
            };
            return match by {
                32 => wide,
                ..32 => self.f.ins().ishl_imm_u(wide, 32 - by),
                _ if signed => self.f.ins().sshr_imm_u(wide, by - 32),
                _ => self.f.ins().ushr_imm_u(wide, by - 32),
            };
        }
        let b = self.int_as(inst.ty, inst.b);
        if signed { self.f.ins().sshr(a, b) } else { self.f.ins().ushr(a, b) }
    }

    /// A field of bits, extended: what begins at bit 0 is a unit of the host's, or takes a mask.
    fn extract(&mut self, inst: &Inst, of: Value) -> Value {
        let host = int_type(inst.ty);
        let bits = i64::from(host.bits());
        let (first, len) = field(inst.imm, bits);
        let signed = inst.op == Op::Extracts;
        if len == bits {
            return of;
        }
        if first == 0 {
            let unit =
                [types::I8, types::I16, types::I32].into_iter().find(|unit| i64::from(unit.bits()) == len);
            if let Some(unit) = unit {
                let low = self.f.ins().ireduce(unit, of);
                return if signed {
                    self.f.ins().sextend(host, low)
                } else {
                    self.f.ins().uextend(host, low)
                };
            }
            if !signed && len < 32 {
                let low = if host == types::I32 { of } else { self.f.ins().ireduce(types::I32, of) };
                let low = self.f.ins().band_imm_u(low, (1 << len) - 1);
                return if host == types::I32 { low } else { self.f.ins().uextend(host, low) };
            }
        }
        let up = if first + len == bits { of } else { self.f.ins().ishl_imm_u(of, bits - first - len) };
        if signed { self.f.ins().sshr_imm_u(up, bits - len) } else { self.f.ins().ushr_imm_u(up, bits - len) }
    }

    pub(super) fn constant(&mut self, host: Type, value: u64) -> Value {
        let value = if host == types::I32 { i64::from(value as i32) } else { value as i64 };
        self.f.ins().iconst(host, value)
    }

    /// A quotient or remainder: the host's instruction traps where the guest's has a result.
    fn divide(&mut self, inst: &Inst) -> Value {
        let host = int_type(inst.ty);
        let (a, b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
        let signed = matches!(inst.op, Op::Divs | Op::Rems);
        let remainder = matches!(inst.op, Op::Rems | Op::Remu);
        // Zero, and minus one if that counts: then the result needs no division.
        let odd = if signed {
            let up = self.f.ins().iadd_imm_s(b, 1);
            self.f.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, up, 1)
        } else {
            self.f.ins().icmp_imm_u(IntCC::Equal, b, 0)
        };
        let (special, usual, done) = (self.f.create_block(), self.f.create_block(), self.f.create_block());
        let result = self.f.append_block_param(done, host);
        self.f.set_cold_block(special);
        self.f.ins().brif(odd, special, &[], usual, &[]);
        self.begin(usual);
        let value = match inst.op {
            Op::Divs => self.f.ins().sdiv(a, b),
            Op::Divu => self.f.ins().udiv(a, b),
            Op::Rems => self.f.ins().srem(a, b),
            _ => self.f.ins().urem(a, b),
        };
        self.f.ins().jump(done, &[value.into()]);
        self.begin(special);
        let by_zero = if remainder { a } else { self.constant(host, u64::MAX) };
        let value = if signed {
            let zero = self.f.ins().icmp_imm_u(IntCC::Equal, b, 0);
            let by_minus_one = if remainder { self.constant(host, 0) } else { self.f.ins().ineg(a) };
            self.f.ins().select(zero, by_zero, by_minus_one)
        } else {
            by_zero
        };
        self.f.ins().jump(done, &[value.into()]);
        self.begin(done);
        result
    }

    fn sign_and_zero(&mut self, host: Type, a: Value) -> Value {
        let sign = self.f.ins().ushr_imm_u(a, i64::from(host.bits()) - 1);
        let sign = if host == types::I32 { sign } else { self.f.ins().ireduce(types::I32, sign) };
        let sign = self.f.ins().ishl_imm_u(sign, 31);
        let zero = self.f.ins().icmp_imm_u(IntCC::Equal, a, 0);
        let zero = self.f.ins().uextend(types::I32, zero);
        let zero = self.f.ins().ishl_imm_u(zero, 30);
        let both = self.f.ins().bor(sign, zero);
        if host == types::I32 { both } else { self.f.ins().uextend(types::I64, both) }
    }

    /// NZCV of a sum or of a logical result, as wide as the operation.
    pub(super) fn nzcv(&mut self, inst: &Inst) -> Value {
        if inst.op == Op::NzcvLogic {
            let a = self.int_as(inst.ty, inst.a);
            return self.sign_and_zero(int_type(inst.ty), a);
        }
        self.nzcv_sum(inst)
    }

    fn nzcv_sum(&mut self, inst: &Inst) -> Value {
        let host = int_type(inst.ty);
        let top = i64::from(host.bits()) - 1;
        let (a, mut b) = (self.int_as(inst.ty, inst.a), self.int_as(inst.ty, inst.b));
        let plain = inst.op == Op::NzcvSub && self.block().constant(inst.c).is_some_and(|c| c & 1 == 1);
        let (sum, carry);
        if plain {
            sum = self.f.ins().isub(a, b);
            carry = self.f.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, a, b);
            b = self.f.ins().bnot(b);
        } else {
            if inst.op == Op::NzcvSub {
                b = self.f.ins().bnot(b);
            }
            let c = self.carry(inst);
            (sum, carry) = self.sum_and_carry(a, b, c);
        }
        let (x, y) = (self.f.ins().bxor(a, sum), self.f.ins().bxor(b, sum));
        let overflow = self.f.ins().band(x, y);
        let overflow = self.f.ins().ushr_imm_u(overflow, top);
        let overflow = if host == types::I32 { overflow } else { self.f.ins().ireduce(types::I32, overflow) };
        let overflow = self.f.ins().ishl_imm_u(overflow, 28);
        let carry = self.f.ins().uextend(types::I32, carry);
        let carry = self.f.ins().ishl_imm_u(carry, 29);
        let low = self.f.ins().bor(carry, overflow);
        let low = if host == types::I32 { low } else { self.f.ins().uextend(types::I64, low) };
        let high = self.sign_and_zero(host, sum);
        self.f.ins().bor(low, high)
    }

    /// Whether a condition holds for these flags: a value of 8 bits.
    pub(super) fn flags_hold(&mut self, condition: NzcvCond, flags: Value) -> Value {
        let flags = self.low(flags);
        let bit = |s: &mut Self, n: i64| {
            let shifted = s.f.ins().ushr_imm_u(flags, n);
            s.f.ins().band_imm_u(shifted, 1)
        };
        let (inverted, value) = match condition {
            NzcvCond::Eq => (false, bit(self, 30)),
            NzcvCond::Ne => (true, bit(self, 30)),
            NzcvCond::Cs => (false, bit(self, 29)),
            NzcvCond::Cc => (true, bit(self, 29)),
            NzcvCond::Mi => (false, bit(self, 31)),
            NzcvCond::Pl => (true, bit(self, 31)),
            NzcvCond::Vs => (false, bit(self, 28)),
            NzcvCond::Vc => (true, bit(self, 28)),
            NzcvCond::Hi | NzcvCond::Ls => {
                let (c, z) = (bit(self, 29), bit(self, 30));
                (condition == NzcvCond::Ls, self.f.ins().band_not(c, z))
            }
            NzcvCond::Lt | NzcvCond::Ge => {
                let (n, v) = (bit(self, 31), bit(self, 28));
                (condition == NzcvCond::Ge, self.f.ins().bxor(n, v))
            }
            NzcvCond::Le | NzcvCond::Gt => {
                let (n, v, z) = (bit(self, 31), bit(self, 28), bit(self, 30));
                let differ = self.f.ins().bxor(n, v);
                (condition == NzcvCond::Gt, self.f.ins().bor(differ, z))
            }
        };
        let cc = if inverted { IntCC::Equal } else { IntCC::NotEqual };
        self.f.ins().icmp_imm_u(cc, value, 0)
    }
}

/// First bit and length of a bit field, from its immediate.
fn field(imm: i32, bits: i64) -> (i64, i64) {
    let first = i64::from(imm as u32 & 0xff).min(bits - 1);
    (first, i64::from(imm as u32 >> 8).clamp(1, bits - first))
}
