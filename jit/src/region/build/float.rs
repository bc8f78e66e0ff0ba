//! Floating point, on the host's unit as in tier 1, which does what the host does differently, and every NaN.
//!
//! Cranelift drops a computation whose result nothing uses, and with it the flags that it would raise. So everything that may
//! raise some is checked: a way out that depends on the result, or on the operands, is a use.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use emu_core::ir::{Class, FpAttr, Inst, Op, Sgnj, ToInt, Ty, Val, ValKind};

use super::{Any, Form, Gen};
use crate::template::Features;
use crate::template::fp::{MOST_HOST_MODES, NEAREST, TOWARD_ZERO};
use crate::template::vec_float::host_mode;

const BOX: u64 = 0xffff_ffff << 32;
const NAN_32: i64 = 0x7fc0_0000;

/// Whether the operation has a form here.
pub(super) fn supports(inst: &Inst, features: Features) -> bool {
    if matches!(inst.op, Op::Fmov | Op::Fbits | Op::Ffrom) {
        return true;
    }
    if !matches!(inst.ty, Ty::F32 | Ty::F64) {
        return false;
    }
    let attr = FpAttr::from_bits(inst.attr);
    let selector = inst.attr >> 8;
    let nearest = !attr.flush && attr.round == NEAREST;
    match inst.op {
        Op::Fbox | Op::Funbox | Op::Fsgnj => true,
        Op::Fadd | Op::Fsub | Op::Fmul | Op::Fdiv | Op::Fsqrt => nearest,
        Op::Fma => nearest && features.fma,
        Op::Fmin | Op::Fmax | Op::Fcmp | Op::Fnzcv => !attr.flush,
        Op::Fcvt => nearest && selector & 3 == if inst.ty == Ty::F32 { 2 } else { 1 },
        Op::Ftoint => {
            let signed = matches!(ToInt::from_bits(selector & 3), ToInt::I32 | ToInt::I64);
            // Rounded first, what does not fit would raise inexact.
            let rounds =
                attr.round <= MOST_HOST_MODES && (inst.ty == Ty::F32 || selector & 3 == ToInt::I64 as u16);
            !attr.flush && (attr.round == TOWARD_ZERO || rounds) && signed && inst.imm == 0
        }
        Op::Ffromint => nearest && inst.imm == 0,
        _ => false,
    }
}

/// Whether some operands of the operation are left to tier 1.
pub(super) const fn may_bail_out(op: Op) -> bool {
    matches!(
        op,
        Op::Fadd
            | Op::Fsub
            | Op::Fmul
            | Op::Fdiv
            | Op::Fsqrt
            | Op::Fma
            | Op::Fmin
            | Op::Fmax
            | Op::Fnzcv
            | Op::Fcmp
            | Op::Fcvt
            | Op::Ftoint
            | Op::Ffromint
    )
}

/// Whether the operation looks for results of the smallest normal magnitude.
pub(super) fn looks_for_tiny(inst: &Inst) -> bool {
    FpAttr::from_bits(inst.attr).tiny_before
        && matches!(inst.op, Op::Fmul | Op::Fma | Op::Fcvt | Op::Vfmul | Op::Vfma | Op::Vfcvt)
}

/// All bits but the sign, and the smallest normal number, in every lane.
pub(super) fn tiny(f: &mut FunctionBuilder<'_>, ty: Ty) -> (Value, Value) {
    let [magnitude, normal] = match ty {
        Ty::F32 => {
            [0x7fff_ffff, f32::MIN_POSITIVE.to_bits()].map(|lane| [lane; 4].map(u32::to_le_bytes).concat())
        }
        _ => [i64::MAX as u64, f64::MIN_POSITIVE.to_bits()]
            .map(|lane| [lane; 2].map(u64::to_le_bytes).concat()),
    }
    .map(|bytes| {
        let data = f.func.dfg.constants.insert(bytes.into());
        f.ins().vconst(types::I8X16, data)
    });
    (magnitude, normal)
}

const fn host_type(ty: Ty) -> Type {
    if matches!(ty, Ty::F32) { types::F32 } else { types::F64 }
}

impl Gen<'_, '_> {
    /// A value of 64 bits.
    pub(super) fn double_of(&mut self, val: Val) -> Value {
        let value = self.any_of(val);
        self.double_as(value)
    }

    fn double_as(&mut self, value: Any) -> Value {
        match value {
            Any::Double(value) => value,
            Any::Single(value) => self.widened(value),
            Any::Bits(_) => {
                let bits = self.low_as(Ty::I64, value);
                self.bits_as(types::F64, bits)
            }
            Any::Vector(value) => self.lane(value, types::F64X2, types::F64),
            Any::Int(value) => self.bits_as(types::F64, value),
        }
    }

    /// A binary32 number: the low bits.
    pub(super) fn single_of(&mut self, val: Val) -> Value {
        let value = self.any_of(val);
        self.single_as(value)
    }

    fn single_as(&mut self, value: Any) -> Value {
        match value {
            Any::Single(value) => value,
            Any::Double(value) => match self.boxed.get(&value) {
                Some(&single) => single,
                None => {
                    let bits = self.bits_as(types::I64, value);
                    let low = self.f.ins().ireduce(types::I32, bits);
                    self.bits_as(types::F32, low)
                }
            },
            Any::Bits(_) => {
                let bits = self.low_as(Ty::I32, value);
                self.bits_as(types::F32, bits)
            }
            Any::Vector(value) => self.lane(value, types::F32X4, types::F32),
            Any::Int(value) => {
                let low = self.f.ins().ireduce(types::I32, value);
                self.bits_as(types::F32, low)
            }
        }
    }

    /// The low bits of a vector as this type.
    pub(super) fn low_as(&mut self, ty: Ty, value: Any) -> Value {
        match (ty, value) {
            (Ty::F32, _) => self.single_as(value),
            (Ty::F64, _) => self.double_as(value),
            (_, Any::Bits(bits)) => match (ty, self.f.func.dfg.value_type(bits)) {
                (Ty::I32, types::I64) => self.f.ins().ireduce(types::I32, bits),
                (Ty::I64, types::I32) => self.f.ins().uextend(types::I64, bits),
                _ => bits,
            },
            (Ty::I32, _) => {
                let single = self.single_as(value);
                self.bits_as(types::I32, single)
            }
            _ => {
                let double = self.double_as(value);
                self.bits_as(types::I64, double)
            }
        }
    }

    pub(super) fn vector_of(&mut self, val: Val) -> Value {
        let value = self.any_of(val);
        self.whole(value)
    }

    /// All of a vector, which may have been made as the number in its low bits.
    pub(super) fn whole(&mut self, value: Any) -> Value {
        let (lanes, value) = match value {
            Any::Vector(value) => return value,
            Any::Single(value) => (types::F32X4, value),
            Any::Double(value) => (types::F64X2, value),
            Any::Bits(value) if self.f.func.dfg.value_type(value) == types::I32 => (types::I32X4, value),
            Any::Bits(value) => (types::I64X2, value),
            Any::Int(_) => unreachable!("the verifier knows classes"),
        };
        let value = self.f.ins().scalar_to_vector(lanes, value);
        self.bits_as(types::I8X16, value)
    }

    pub(super) fn any_of(&mut self, val: Val) -> Any {
        match val.kind() {
            ValKind::Slot(n) => {
                let slot = match self.slots[usize::from(n)] {
                    Some(slot) if slot.class != Class::Int => slot,
                    _ => return Any::Int(self.int_of(val)),
                };
                let value = self.f.use_var(slot.var);
                match (slot.class, slot.form) {
                    (_, Form::Boxed | Form::Low(Ty::F32)) => Any::Single(value),
                    (Class::Float, _) | (_, Form::Low(Ty::F64)) => Any::Double(value),
                    (_, Form::Low(_)) => Any::Bits(value),
                    _ => Any::Vector(value),
                }
            }
            ValKind::Temp(n) => {
                self.temps[usize::from(n)].unwrap_or_else(|| unreachable!("the verifier knows order"))
            }
            ValKind::Const(_) | ValKind::None => Any::Int(self.int_of(val)),
        }
    }

    /// A binary32 number in a container, zeros above it.
    pub(super) fn widened(&mut self, value: Value) -> Value {
        let bits = self.bits_as(types::I32, value);
        let wide = self.f.ins().uextend(types::I64, bits);
        self.bits_as(types::F64, wide)
    }

    pub(super) fn bits_as(&mut self, ty: Type, value: Value) -> Value {
        let little = cranelift_codegen::ir::MemFlagsData::new()
            .with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.f.ins().bitcast(ty, little, value)
    }

    pub(super) fn lane(&mut self, value: Value, lanes: Type, ty: Type) -> Value {
        let value = self.bits_as(lanes, value);
        debug_assert_eq!(lanes.lane_type(), ty);
        self.f.ins().extractlane(value, 0)
    }

    pub(super) fn float_of(&mut self, ty: Ty, val: Val) -> Value {
        if ty == Ty::F32 { self.single_of(val) } else { self.double_of(val) }
    }

    fn set_float(&mut self, ty: Ty, val: Val, value: Value) {
        self.set(val, if ty == Ty::F32 { Any::Single(value) } else { Any::Double(value) });
    }

    pub(super) fn float(&mut self, inst: &Inst, at: usize) {
        let ty = inst.ty;
        let selector = inst.attr >> 8;
        match inst.op {
            Op::Fmov => {
                let value = self.double_of(inst.a);
                self.set(inst.dst, Any::Double(value));
            }
            Op::Fbits => {
                let value = self.double_of(inst.a);
                let bits = self.bits_as(types::I64, value);
                self.set(inst.dst, Any::Int(bits));
            }
            Op::Ffrom => {
                let bits = self.int_of(inst.a);
                let value = self.bits_as(types::F64, bits);
                self.set(inst.dst, Any::Double(value));
            }
            Op::Fbox if ty == Ty::F32 => {
                let single = self.single_of(inst.a);
                if matches!(inst.dst.kind(), ValKind::Slot(n) if self.slot(n).form == Form::Boxed) {
                    return self.set(inst.dst, Any::Single(single));
                }
                let bits = self.bits_as(types::I32, single);
                let bits = self.f.ins().uextend(types::I64, bits);
                let upper = self.f.ins().iconst(types::I64, BOX as i64);
                let bits = self.f.ins().bor(bits, upper);
                let value = self.bits_as(types::F64, bits);
                self.boxed.insert(value, single);
                self.set(inst.dst, Any::Double(value));
            }
            Op::Fbox | Op::Funbox if ty == Ty::F64 => {
                let value = self.double_of(inst.a);
                self.set(inst.dst, Any::Double(value));
            }
            Op::Funbox => {
                if let (ValKind::Slot(_), Any::Single(single)) = (inst.a.kind(), self.any_of(inst.a)) {
                    return self.set(inst.dst, Any::Single(single));
                }
                let value = self.double_of(inst.a);
                let single = match self.boxed.get(&value) {
                    Some(&single) => single,
                    None => self.unboxed(value),
                };
                self.set(inst.dst, Any::Single(single));
            }
            Op::Fsgnj => {
                let (a, b) = (self.float_of(ty, inst.a), self.float_of(ty, inst.b));
                let kind = Sgnj::from_bits(selector & 3);
                let value = match kind {
                    Sgnj::Copy if inst.a == inst.b => a,
                    Sgnj::Not if inst.a == inst.b => self.f.ins().fneg(a),
                    Sgnj::Xor if inst.a == inst.b => self.f.ins().fabs(a),
                    Sgnj::Copy => self.f.ins().fcopysign(a, b),
                    Sgnj::Not => {
                        let b = self.f.ins().fneg(b);
                        self.f.ins().fcopysign(a, b)
                    }
                    Sgnj::Xor => self.xor_sign(ty, a, b),
                };
                self.set_float(ty, inst.dst, value);
            }
            Op::Fadd | Op::Fsub | Op::Fmul | Op::Fdiv | Op::Fsqrt | Op::Fma | Op::Fcvt => {
                self.arithmetic(inst, selector);
            }
            Op::Fmin | Op::Fmax => {
                let (a, b) = (self.float_of(ty, inst.a), self.float_of(ty, inst.b));
                let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, b);
                self.bail_out_if(unordered);
                let value = match inst.op {
                    Op::Fmin => self.f.ins().fmin(a, b),
                    _ => self.f.ins().fmax(a, b),
                };
                self.set_float(ty, inst.dst, value);
            }
            Op::Fcmp => self.compare_floats(inst, selector),
            Op::Fnzcv => self.compare_to_flags(inst, at),
            Op::Ftoint => {
                let a = self.float_of(ty, inst.a);
                let int = ToInt::from_bits(selector & 3);
                let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, a);
                self.bail_out_if(unordered);
                let (host, least) = match int {
                    ToInt::I32 => (types::I32, i64::from(i32::MIN)),
                    _ => (types::I64, i64::MIN),
                };
                let integral = match host_mode(FpAttr::from_bits(inst.attr).round) {
                    0 => self.f.ins().nearest(a),
                    1 => self.f.ins().floor(a),
                    2 => self.f.ins().ceil(a),
                    _ => a,
                };
                let value = self.f.ins().fcvt_to_sint_sat(host, integral);
                // It may not have fitted; and this makes the conversion stay.
                let least = self.f.ins().iconst(host, least);
                let odd = self.f.ins().icmp(IntCC::Equal, value, least);
                self.bail_out_if(odd);
                let value = if host == types::I32 { self.f.ins().uextend(types::I64, value) } else { value };
                self.set(inst.dst, Any::Int(value));
            }
            _ => {
                let a = self.int_of(inst.a);
                let to = host_type(ty);
                let value = match ToInt::from_bits(selector & 3) {
                    ToInt::I64 => self.f.ins().fcvt_from_sint(to, a),
                    ToInt::U64 => self.f.ins().fcvt_from_uint(to, a),
                    ToInt::I32 => {
                        let low = self.f.ins().ireduce(types::I32, a);
                        self.f.ins().fcvt_from_sint(to, low)
                    }
                    ToInt::U32 => {
                        let low = self.f.ins().ireduce(types::I32, a);
                        let wide = self.f.ins().uextend(types::I64, low);
                        self.f.ins().fcvt_from_sint(to, wide)
                    }
                };
                // It is a number, but this makes the conversion stay.
                let odd = self.f.ins().fcmp(FloatCC::Unordered, value, value);
                self.bail_out_if(odd);
                self.set_float(ty, inst.dst, value);
            }
        }
    }

    /// The binary32 number in a container, of which nothing is known.
    fn unboxed(&mut self, value: Value) -> Value {
        let bits = self.bits_as(types::I64, value);
        let upper = self.f.ins().ushr_imm_u(bits, 32);
        let low = self.f.ins().ireduce(types::I32, bits);
        let is_boxed = self.f.ins().icmp_imm_u(IntCC::Equal, upper, i64::from(u32::MAX));
        let nan = self.f.ins().iconst(types::I32, NAN_32);
        let low = self.f.ins().select(is_boxed, low, nan);
        self.bits_as(types::F32, low)
    }

    fn xor_sign(&mut self, ty: Ty, a: Value, b: Value) -> Value {
        let ints = if ty == Ty::F32 { types::I32 } else { types::I64 };
        let (x, y) = (self.bits_as(ints, a), self.bits_as(ints, b));
        let sign = if ty == Ty::F32 { i64::from(i32::MIN) } else { i64::MIN };
        let sign = self.f.ins().iconst(ints, sign);
        let y = self.f.ins().band(y, sign);
        let value = self.f.ins().bxor(x, y);
        self.bits_as(host_type(ty), value)
    }

    fn arithmetic(&mut self, inst: &Inst, selector: u16) {
        let ty = inst.ty;
        let from = match inst.op {
            Op::Fcvt if ty == Ty::F32 => Ty::F64,
            Op::Fcvt => Ty::F32,
            _ => ty,
        };
        let sources: Vec<Value> = [inst.a, inst.b, inst.c]
            .into_iter()
            .filter(|val| !val.is_none())
            .map(|val| self.float_of(from, val))
            .collect();
        let value = match (inst.op, sources.as_slice()) {
            (Op::Fadd, &[a, b]) => self.f.ins().fadd(a, b),
            (Op::Fsub, &[a, b]) => self.f.ins().fsub(a, b),
            (Op::Fmul, &[a, b]) => self.f.ins().fmul(a, b),
            (Op::Fdiv, &[a, b]) => self.f.ins().fdiv(a, b),
            (Op::Fsqrt, &[a]) => self.f.ins().sqrt(a),
            (Op::Fcvt, &[a]) if ty == Ty::F32 => self.f.ins().fdemote(types::F32, a),
            (Op::Fcvt, &[a]) => self.f.ins().fpromote(types::F64, a),
            (_, &[a, b, c]) => {
                let a = if selector & 1 != 0 { self.f.ins().fneg(a) } else { a };
                let c = if selector & 2 != 0 { self.f.ins().fneg(c) } else { c };
                self.f.ins().fma(a, b, c)
            }
            _ => unreachable!("the verifier counts operands"),
        };
        self.bail_out_if_odd(inst, value);
        self.set_float(ty, inst.dst, value);
    }

    /// Leaves if the result is a NaN, or one that may have underflowed by the guest's rules alone.
    pub(super) fn bail_out_if_odd(&mut self, inst: &Inst, value: Value) {
        let single = inst.ty == Ty::F32;
        let rounded = match inst.op {
            Op::Fmul | Op::Fma | Op::Vfmul | Op::Vfma => true,
            op => op == Op::Fcvt && single,
        };
        let odd = if rounded && FpAttr::from_bits(inst.attr).tiny_before {
            let (lanes, ty) = if single { (types::F32X4, types::F32) } else { (types::F64X2, types::F64) };
            let (magnitude, normal) = self.tiny_lanes(inst.ty);
            let (magnitude, normal) = (self.lane(magnitude, lanes, ty), self.lane(normal, lanes, ty));
            let magnitude = self.f.ins().band(value, magnitude);
            self.f.ins().fcmp(FloatCC::UnorderedOrEqual, magnitude, normal)
        } else {
            self.f.ins().fcmp(FloatCC::Unordered, value, value)
        };
        self.bail_out_if(odd);
    }

    /// What [`tiny`] has made for the type.
    pub(super) fn tiny_lanes(&self, ty: Ty) -> (Value, Value) {
        self.tiny[usize::from(ty == Ty::F64)].unwrap_or_else(|| unreachable!("the plan has been looked at"))
    }

    fn compare_floats(&mut self, inst: &Inst, selector: u16) {
        let (a, b) = (self.float_of(inst.ty, inst.a), self.float_of(inst.ty, inst.b));
        let cc = match selector & 3 {
            0 => FloatCC::Equal,
            1 => FloatCC::LessThan,
            2 => FloatCC::LessThanOrEqual,
            _ => FloatCC::Unordered,
        };
        let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, b);
        self.bail_out_if(unordered);
        let holds = self.f.ins().fcmp(cc, a, b);
        let value = self.f.ins().uextend(types::I64, holds);
        self.set(inst.dst, Any::Int(value));
    }

    fn compare_to_flags(&mut self, inst: &Inst, at: usize) {
        let (a, b) = (self.float_of(inst.ty, inst.a), self.float_of(inst.ty, inst.b));
        let unordered = self.f.ins().fcmp(FloatCC::Unordered, a, b);
        self.bail_out_if(unordered);
        if self.put_off(inst, at) {
            return;
        }
        let value = self.flags_of(inst);
        self.set(inst.dst, Any::Int(value));
    }
}
