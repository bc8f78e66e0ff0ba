//! Operations on vectors.

use cranelift_codegen::ir::{InstBuilder, types};
use emu_core::ir::{Inst, Op, Ty};

use super::{Any, Gen};

/// Whether the operation has a form here.
pub(super) fn supports(inst: &Inst) -> bool {
    match inst.op {
        Op::Vmov | Op::Vlow | Op::Vpair => true,
        Op::Vfromlow => matches!(inst.ty, Ty::F32 | Ty::F64),
        Op::Vand | Op::Vandn | Op::Vor | Op::Vxor | Op::Vselect => inst.attr == 0,
        _ => false,
    }
}

impl Gen<'_, '_> {
    pub(super) fn vector(&mut self, inst: &Inst) {
        let value = match inst.op {
            Op::Vmov => self.vector_of(inst.a),
            Op::Vlow => {
                let value = self.double_of(inst.a);
                return self.set(inst.dst, Any::Double(value));
            }
            Op::Vpair => {
                let (low, high) = (self.int_of(inst.a), self.int_of(inst.b));
                let low = self.f.ins().scalar_to_vector(types::I64X2, low);
                let both = self.f.ins().insertlane(low, high, 1);
                self.bits_as(types::I8X16, both)
            }
            Op::Vfromlow => {
                let (lanes, value) = if inst.ty == Ty::F32 {
                    (types::F32X4, self.single_of(inst.a))
                } else {
                    (types::F64X2, self.double_of(inst.a))
                };
                let value = self.f.ins().scalar_to_vector(lanes, value);
                self.bits_as(types::I8X16, value)
            }
            op => {
                let (a, b) = (self.vector_of(inst.a), self.vector_of(inst.b));
                match op {
                    Op::Vand => self.f.ins().band(a, b),
                    Op::Vandn => self.f.ins().band_not(a, b),
                    Op::Vor => self.f.ins().bor(a, b),
                    Op::Vxor => self.f.ins().bxor(a, b),
                    _ => {
                        let c = self.vector_of(inst.c);
                        self.f.ins().bitselect(a, b, c)
                    }
                }
            }
        };
        self.set(inst.dst, Any::Vector(value));
    }
}
