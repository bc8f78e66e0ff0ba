//! Floating point, lane by lane: as `float` does with numbers. What does not take part has operands that raise nothing.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use emu_core::ir::{FpAttr, Inst, Op, Part, Ty, Val};

use super::{Any, Gen};
use crate::template::Features;
use crate::template::fp::{NEAREST, TOWARD_ZERO};

const FROM_SINGLE: u16 = 1;
const FROM_DOUBLE: u16 = 2;
const HIGH: u16 = 1 << 10;
const RAW: u16 = 1 << 12;

/// Whether the operation has a form here.
pub(super) fn supports(inst: &Inst, features: Features) -> bool {
    let attr = FpAttr::from_bits(inst.attr);
    if !matches!(inst.ty, Ty::F32 | Ty::F64) || attr.flush {
        return false;
    }
    let nearest = attr.round == NEAREST;
    let single = inst.ty == Ty::F32;
    match inst.op {
        Op::Vfadd | Op::Vfsub | Op::Vfdiv | Op::Vfsqrt => nearest,
        Op::Vfmul => nearest && inst.attr >> 8 & 1 == 0,
        Op::Vfma => nearest && features.fma,
        Op::Vfmin | Op::Vfmax | Op::Vfcmp => true,
        Op::Vftoint => single && attr.round == TOWARD_ZERO && inst.attr >> 8 & 1 == 0 && inst.imm == 0,
        Op::Vffromint => single && nearest && inst.attr >> 8 & 1 == 0 && inst.imm == 0,
        Op::Vfcvt => {
            let from = if single { FROM_DOUBLE } else { FROM_SINGLE };
            nearest && inst.attr >> 8 & 3 == from && inst.attr & RAW == 0 && inst.float_part() == Part::All
        }
        _ => false,
    }
}

/// Whether some operands of the operation are left to tier 1.
pub(super) const fn may_bail_out(op: Op) -> bool {
    op as u8 >= Op::Vfadd as u8 && op as u8 <= Op::Vfstep as u8
}

const fn lanes(single: bool) -> Type {
    if single { types::F32X4 } else { types::F64X2 }
}

const fn bits(single: bool) -> Type {
    if single { types::I32X4 } else { types::I64X2 }
}

pub(super) const fn is_arithmetic(op: Op) -> bool {
    matches!(op, Op::Vfadd | Op::Vfsub | Op::Vfmul | Op::Vfdiv | Op::Vfsqrt | Op::Vfma)
}

impl Gen<'_, '_> {
    /// Leaves if any bit of the vector is set.
    fn bail_out_if_any(&mut self, value: Value) {
        let any = self.f.ins().vany_true(value);
        self.bail_out_if(any);
    }

    fn number_lanes(&mut self, part: Part, single: bool, val: Val) -> Value {
        let value = self.vector_of(val);
        let value = match part {
            Part::All => value,
            // The same twice raises nothing else.
            Part::Half => self.shuffled(value, value, std::array::from_fn(|i| i as u8 & 7)),
            Part::One => self.cleared(Part::One, if single { 2 } else { 3 }, value),
        };
        self.bits_as(lanes(single), value)
    }

    pub(super) fn vector_float(&mut self, inst: &Inst) {
        let single = inst.ty == Ty::F32;
        let part = inst.float_part();
        match inst.op {
            op if is_arithmetic(op) => {
                if part == Part::One {
                    return self.lowest_number(inst, single);
                }
                let [a, b, c] = [inst.a, inst.b, inst.c]
                    .map(|val| (!val.is_none()).then(|| self.number_lanes(part, single, val)));
                let value = self.computed(inst, [a, b, c]);
                let odd = self.odd_lanes(inst, single, value);
                self.bail_out_if_any(odd);
                let value = self.cleared(part, 2, value);
                self.set(inst.dst, Any::Vector(value));
            }
            Op::Vfmin | Op::Vfmax => self.extremum_lanes(inst, part, single),
            Op::Vfcmp => {
                let (a, b) =
                    (self.number_lanes(part, single, inst.a), self.number_lanes(part, single, inst.b));
                let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, b);
                self.bail_out_if_any(unordered);
                let cc = match inst.attr >> 8 & 3 {
                    0 => FloatCC::Equal,
                    1 => FloatCC::LessThan,
                    _ => FloatCC::LessThanOrEqual,
                };
                let value = self.f.ins().fcmp(cc, a, b);
                let value = self.cleared(part, if single { 2 } else { 3 }, value);
                self.set(inst.dst, Any::Vector(value));
            }
            Op::Vftoint => {
                let a = self.number_without(part, inst.a);
                let value = self.f.ins().x86_cvtt2dq(types::I32X4, a);
                // The host's answer where there is no such integer.
                let least = self.constant_vector(std::array::from_fn(|i| if i & 3 == 3 { 0x80 } else { 0 }));
                let least = self.bits_as(types::I32X4, least);
                let odd = self.f.ins().icmp(IntCC::Equal, value, least);
                self.bail_out_if_any(odd);
                let value = self.bits_as(types::I8X16, value);
                self.set(inst.dst, Any::Vector(value));
            }
            Op::Vffromint => {
                let a = self.number_without(part, inst.a);
                let a = self.bits_as(types::I32X4, a);
                let value = self.f.ins().fcvt_from_sint(types::F32X4, a);
                // It is none, but so the conversion is made.
                let odd = self.f.ins().fcmp(FloatCC::Unordered, value, value);
                self.bail_out_if_any(odd);
                let value = self.bits_as(types::I8X16, value);
                self.set(inst.dst, Any::Vector(value));
            }
            _ => {
                let a = self.vector_of(inst.a);
                let value = if single {
                    let a = self.bits_as(types::F64X2, a);
                    self.f.ins().fvdemote(a)
                } else {
                    let a = if inst.attr & HIGH == 0 {
                        a
                    } else {
                        self.shuffled(a, a, std::array::from_fn(|i| i as u8 | 8))
                    };
                    let a = self.bits_as(types::F32X4, a);
                    self.f.ins().fvpromote_low(a)
                };
                let odd = self.odd_lanes(inst, single, value);
                self.bail_out_if_any(odd);
                let value = self.bits_as(types::I8X16, value);
                self.set(inst.dst, Any::Vector(value));
            }
        }
    }

    /// Lanes of 32 bits, with zeros for what does not take part.
    fn number_without(&mut self, part: Part, val: Val) -> Value {
        let value = self.vector_of(val);
        let value = self.cleared(part, 2, value);
        self.bits_as(types::F32X4, value)
    }

    /// Where only one lane takes part, it is a number.
    fn lowest_number(&mut self, inst: &Inst, single: bool) {
        let sources =
            [inst.a, inst.b, inst.c].map(|val| (!val.is_none()).then(|| self.float_of(inst.ty, val)));
        let value = self.computed(inst, sources);
        self.bail_out_if_odd(inst, value);
        self.set(inst.dst, if single { Any::Single(value) } else { Any::Double(value) });
    }

    /// What the operation makes of numbers, or of lanes.
    fn computed(&mut self, inst: &Inst, sources: [Option<Value>; 3]) -> Value {
        match (inst.op, sources) {
            (Op::Vfadd, [Some(a), Some(b), _]) => self.f.ins().fadd(a, b),
            (Op::Vfsub, [Some(a), Some(b), _]) => self.f.ins().fsub(a, b),
            (Op::Vfmul, [Some(a), Some(b), _]) => self.f.ins().fmul(a, b),
            (Op::Vfdiv, [Some(a), Some(b), _]) => self.f.ins().fdiv(a, b),
            (Op::Vfsqrt, [Some(a), ..]) => self.f.ins().sqrt(a),
            (_, [Some(a), Some(b), Some(c)]) => {
                let a = if inst.attr >> 8 & 1 != 0 { self.f.ins().fneg(a) } else { a };
                let c = if inst.attr >> 9 & 1 != 0 { self.f.ins().fneg(c) } else { c };
                self.f.ins().fma(a, b, c)
            }
            _ => unreachable!("the verifier counts operands"),
        }
    }

    /// The lanes of a result that are left to tier 1, as ones.
    fn odd_lanes(&mut self, inst: &Inst, single: bool, value: Value) -> Value {
        let odd = self.f.ins().fcmp(FloatCC::Unordered, value, value);
        let narrows = inst.op == Op::Vfcvt && single;
        let rounded = narrows || matches!(inst.op, Op::Vfmul | Op::Vfma);
        if !rounded || !FpAttr::from_bits(inst.attr).tiny_before {
            return odd;
        }
        let (magnitude, normal) = self.tiny_lanes(inst.ty);
        let value = self.bits_as(types::I8X16, value);
        let value = self.f.ins().band(value, magnitude);
        let value = self.bits_as(bits(single), value);
        let normal = self.bits_as(bits(single), normal);
        let least = self.f.ins().icmp(IntCC::Equal, value, normal);
        self.f.ins().bor(odd, least)
    }

    /// NaNs are tier 1's. Of unlike zeros the host gives the second one: both ways around, combined, give the right one.
    fn extremum_lanes(&mut self, inst: &Inst, part: Part, single: bool) {
        let ty = lanes(single);
        let (a, b) = (self.number_lanes(part, single, inst.a), self.number_lanes(part, single, inst.b));
        let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, b);
        self.bail_out_if_any(unordered);
        let [one, other] = [(a, b), (b, a)].map(|(x, y)| {
            // One instruction of the host.
            let less = match inst.op {
                Op::Vfmin => self.f.ins().fcmp(FloatCC::LessThan, x, y),
                _ => self.f.ins().fcmp(FloatCC::LessThan, y, x),
            };
            let less = self.bits_as(ty, less);
            self.f.ins().bitselect(less, x, y)
        });
        let value = match inst.op {
            Op::Vfmin => self.f.ins().bor(one, other),
            _ => self.f.ins().band(one, other),
        };
        let value = self.cleared(part, if single { 2 } else { 3 }, value);
        self.set(inst.dst, Any::Vector(value));
    }
}
