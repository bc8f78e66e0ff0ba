//! Floating point: RV64F, RV64D, Zfh, Zfa (Unpriv., the chapters of these names).
//!
//! Narrow values are NaN-boxed in the registers: operands are unboxed first, results boxed. Moves and stores
//! take the lowest bits as they are.

use emu_core::fp::{self, F16, F32, F64};
use emu_core::ir::{Cc, FMinMax, FpAttr, MemAttr, Op, Sgnj, ToInt, Ty, Val};

use super::super::F;
use super::super::decode::insn32::args::{
    Fma, Fp, FpCompare, FpFromInt, FpFromX, FpImm, FpLoad, FpModular, FpRound, FpStore, FpToInt, FpToX,
    FpUnary,
};
use super::super::helper::Helper;
use super::{Lifter, Refusal};

/// What floating-point instructions return: they may be illegal, and else go on.
type Done = Result<(), Refusal>;

/// The field of [`Op::Fcmp`] that names the comparison, and its bit for not signaling on quiet NaNs.
const EQ: u16 = 0;
const LT: u16 = 1 << 8;
const LE: u16 = 2 << 8;
const QUIET: u16 = 1 << 10;

/// Where [`Op::Fma`] negates.
const PRODUCT: u8 = 1;
const ADDEND: u8 = 2;

/// The number of a format in the attribute of [`Op::Fcvt`].
const fn format(ty: Ty) -> u8 {
    match ty {
        Ty::F16 => 0,
        Ty::F32 => 1,
        _ => 2,
    }
}

impl Lifter<'_> {
    /// Floating-point instructions are illegal while `mstatus.FS` is Off.
    fn fp_on(&self) -> Done {
        if self.guest.ctx.fp_on { Ok(()) } else { Err(Refusal::Illegal) }
    }

    /// Called where an instruction is about to change a register or may accrue flags.
    fn fp_changes(&mut self) {
        if !self.guest.ctx.fp_dirty && !self.guest.dirtied {
            self.call(Helper::FpDirty, &[]);
            self.guest.dirtied = true;
        }
    }

    /// The attribute for an instruction's rounding mode: reserved ones are illegal, as field or in `frm`.
    fn rounding(&self, rm: u8) -> Result<FpAttr, Refusal> {
        const DYNAMIC: u8 = 7;
        let round = if rm == DYNAMIC { self.guest.ctx.frm } else { rm };
        if round > 4 { Err(Refusal::Illegal) } else { Ok(FpAttr::riscv(round)) }
    }

    /// The register as it is.
    fn f_raw(&self, n: u8) -> Val {
        Val::slot(F + u16::from(n))
    }

    /// The value of a register in format `ty`.
    fn f(&mut self, n: u8, ty: Ty) -> Val {
        let raw = self.f_raw(n);
        if ty == Ty::F64 { raw } else { self.builder.un(Op::Funbox, ty, raw) }
    }

    /// Emits an operation that makes a value of format `ty`, and puts that into register `rd`.
    fn set_f(&mut self, rd: u8, ty: Ty, emit: impl FnOnce(&mut Self, Val)) {
        let register = self.f_raw(rd);
        if ty == Ty::F64 {
            self.fp_changes();
            emit(self, register);
        } else {
            let value = self.builder.temp();
            emit(self, value);
            self.fp_changes();
            self.builder.un_to(register, Op::Fbox, ty, value);
        }
    }

    /// `rd = op(src)` in format `ty`.
    fn fop(&mut self, op: Op, attr: u16, ty: Ty, rd: u8, src: [Val; 3]) {
        self.set_f(rd, ty, |this, dst| this.builder.op(op, ty, attr, dst, src, 0));
    }

    /// A load takes effect on `mstatus.FS` only if it does not fault.
    fn fload(&mut self, a: FpLoad, ty: Ty) -> Done {
        self.fp_on()?;
        let (rs1, value) = (self.x(a.rs1), self.builder.temp());
        self.builder.load_to(value, ty, MemAttr::PLAIN, rs1, a.imm);
        self.fp_changes();
        let register = self.f_raw(a.rd);
        if ty == Ty::F64 {
            self.builder.un_to(register, Op::Fmov, Ty::None, value);
        } else {
            self.builder.un_to(register, Op::Fbox, ty, value);
        }
        Ok(())
    }

    pub(super) fn flh(&mut self, a: FpLoad) -> Done {
        self.fload(a, Ty::F16)
    }

    pub(super) fn flw(&mut self, a: FpLoad) -> Done {
        self.fload(a, Ty::F32)
    }

    pub(super) fn fld(&mut self, a: FpLoad) -> Done {
        self.fload(a, Ty::F64)
    }

    fn fstore(&mut self, a: FpStore, ty: Ty) -> Done {
        self.fp_on()?;
        let (rs1, rs2) = (self.x(a.rs1), self.f_raw(a.rs2));
        self.builder.store(ty, MemAttr::PLAIN, rs1, a.imm, rs2);
        Ok(())
    }

    pub(super) fn fsh(&mut self, a: FpStore) -> Done {
        self.fstore(a, Ty::F16)
    }

    pub(super) fn fsw(&mut self, a: FpStore) -> Done {
        self.fstore(a, Ty::F32)
    }

    pub(super) fn fsd(&mut self, a: FpStore) -> Done {
        self.fstore(a, Ty::F64)
    }

    fn fused(&mut self, negated: u8, a: Fma, ty: Ty) -> Done {
        self.fp_on()?;
        let attr = self.rounding(a.rm)?.with(negated);
        let src = [self.f(a.rs1, ty), self.f(a.rs2, ty), self.f(a.rs3, ty)];
        self.fop(Op::Fma, attr, ty, a.rd, src);
        Ok(())
    }

    pub(super) fn fmadd(&mut self, a: Fma, ty: Ty) -> Done {
        self.fused(0, a, ty)
    }

    pub(super) fn fmsub(&mut self, a: Fma, ty: Ty) -> Done {
        self.fused(ADDEND, a, ty)
    }

    pub(super) fn fnmsub(&mut self, a: Fma, ty: Ty) -> Done {
        self.fused(PRODUCT, a, ty)
    }

    pub(super) fn fnmadd(&mut self, a: Fma, ty: Ty) -> Done {
        self.fused(PRODUCT | ADDEND, a, ty)
    }

    fn arithmetic(&mut self, op: Op, a: FpRound, ty: Ty) -> Done {
        self.fp_on()?;
        let attr = self.rounding(a.rm)?.bits();
        let src = [self.f(a.rs1, ty), self.f(a.rs2, ty), Val::NONE];
        self.fop(op, attr, ty, a.rd, src);
        Ok(())
    }

    pub(super) fn fadd(&mut self, a: FpRound, ty: Ty) -> Done {
        self.arithmetic(Op::Fadd, a, ty)
    }

    pub(super) fn fsub(&mut self, a: FpRound, ty: Ty) -> Done {
        self.arithmetic(Op::Fsub, a, ty)
    }

    pub(super) fn fmul(&mut self, a: FpRound, ty: Ty) -> Done {
        self.arithmetic(Op::Fmul, a, ty)
    }

    pub(super) fn fdiv(&mut self, a: FpRound, ty: Ty) -> Done {
        self.arithmetic(Op::Fdiv, a, ty)
    }

    /// `rd = op(rs1)`, from format `from` to format `ty`.
    fn funary(&mut self, op: Op, selector: u8, a: FpUnary, from: Ty, ty: Ty) -> Done {
        self.fp_on()?;
        let attr = self.rounding(a.rm)?.with(selector);
        let src = [self.f(a.rs1, from), Val::NONE, Val::NONE];
        self.fop(op, attr, ty, a.rd, src);
        Ok(())
    }

    pub(super) fn fsqrt(&mut self, a: FpUnary, ty: Ty) -> Done {
        self.funary(Op::Fsqrt, 0, a, ty, ty)
    }

    pub(super) fn fround(&mut self, a: FpUnary, ty: Ty) -> Done {
        self.funary(Op::Fround, 0, a, ty, ty)
    }

    pub(super) fn froundnx(&mut self, a: FpUnary, ty: Ty) -> Done {
        const EXACT: u8 = 1;
        self.funary(Op::Fround, EXACT, a, ty, ty)
    }

    pub(super) fn fcvt_h(&mut self, a: FpUnary, from: Ty) -> Done {
        self.funary(Op::Fcvt, format(from), a, from, Ty::F16)
    }

    pub(super) fn fcvt_s(&mut self, a: FpUnary, from: Ty) -> Done {
        self.funary(Op::Fcvt, format(from), a, from, Ty::F32)
    }

    pub(super) fn fcvt_d(&mut self, a: FpUnary, from: Ty) -> Done {
        self.funary(Op::Fcvt, format(from), a, from, Ty::F64)
    }

    /// `rd = op(rs1, rs2)` without rounding.
    fn fbinary(&mut self, op: Op, selector: u8, a: Fp, ty: Ty) -> Done {
        self.fp_on()?;
        let src = [self.f(a.rs1, ty), self.f(a.rs2, ty), Val::NONE];
        self.fop(op, u16::from(selector) << 8, ty, a.rd, src);
        Ok(())
    }

    pub(super) fn fsgnj(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fsgnj, Sgnj::Copy as u8, a, ty)
    }

    pub(super) fn fsgnjn(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fsgnj, Sgnj::Not as u8, a, ty)
    }

    pub(super) fn fsgnjx(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fsgnj, Sgnj::Xor as u8, a, ty)
    }

    pub(super) fn fmin(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fmin, FMinMax::Number as u8, a, ty)
    }

    pub(super) fn fmax(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fmax, FMinMax::Number as u8, a, ty)
    }

    pub(super) fn fminm(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fmin, FMinMax::Propagate as u8, a, ty)
    }

    pub(super) fn fmaxm(&mut self, a: Fp, ty: Ty) -> Done {
        self.fbinary(Op::Fmax, FMinMax::Propagate as u8, a, ty)
    }

    /// A comparison accrues flags even if nobody wants its result.
    fn fcompare(&mut self, attr: u16, a: FpCompare, ty: Ty) -> Done {
        self.fp_on()?;
        self.fp_changes();
        let src = [self.f(a.rs1, ty), self.f(a.rs2, ty), Val::NONE];
        let dst = self.x_dst(a.rd);
        self.builder.op(Op::Fcmp, ty, attr, dst, src, 0);
        Ok(())
    }

    pub(super) fn feq(&mut self, a: FpCompare, ty: Ty) -> Done {
        self.fcompare(EQ, a, ty)
    }

    pub(super) fn flt(&mut self, a: FpCompare, ty: Ty) -> Done {
        self.fcompare(LT, a, ty)
    }

    pub(super) fn fle(&mut self, a: FpCompare, ty: Ty) -> Done {
        self.fcompare(LE, a, ty)
    }

    pub(super) fn fltq(&mut self, a: FpCompare, ty: Ty) -> Done {
        self.fcompare(LT | QUIET, a, ty)
    }

    pub(super) fn fleq(&mut self, a: FpCompare, ty: Ty) -> Done {
        self.fcompare(LE | QUIET, a, ty)
    }

    pub(super) fn fclass(&mut self, a: FpToX, ty: Ty) -> Done {
        self.fp_on()?;
        if a.rd == 0 {
            return Ok(());
        }
        let (width, fraction) = match ty {
            Ty::F16 => (16, 10),
            Ty::F32 => (32, 23),
            _ => (64, 52),
        };
        let infinity = (1 << (width - 1)) - (1 << fraction);
        let rs1 = self.f(a.rs1, ty);
        let b = &mut self.builder;
        let bits = b.un(Op::Fbits, Ty::None, rs1);
        let [zero, one, four, normal, infinite] =
            [0, 1, 4, 1 << fraction, infinity].map(|value| b.imm(value));
        let (most, top) = (b.imm((1 << (width - 1)) - 1), b.imm(width - 1));
        let size = b.bin(Op::And, Ty::I64, bits, most);
        let sign = b.bin(Op::Shr, Ty::I64, bits, top);
        let sign = b.bin(Op::And, Ty::I64, sign, one);
        // Negative numbers are 3, 2, 1, 0 from zero to infinity, positive ones 4, 5, 6, 7.
        let negative = b.bin(Op::Sub, Ty::I64, zero, sign);
        let mut from_zero = zero;
        for least in [one, normal, infinite] {
            let reached = b.temp();
            b.set_to(reached, Cc::Geu, Ty::I64, size, least);
            from_zero = b.bin(Op::Add, Ty::I64, from_zero, reached);
        }
        let from_zero = b.bin(Op::Xor, Ty::I64, from_zero, negative);
        let kind = b.bin(Op::Add, Ty::I64, four, from_zero);
        // 8 is a signaling NaN, 9 a quiet one.
        let (quiet, eight) = (b.imm(fraction - 1), b.imm(8));
        let nan = b.bin(Op::Shr, Ty::I64, bits, quiet);
        let nan = b.bin(Op::And, Ty::I64, nan, one);
        let nan = b.bin(Op::Or, Ty::I64, nan, eight);
        let is_nan = b.temp();
        b.set_to(is_nan, Cc::Ltu, Ty::I64, infinite, size);
        let number = b.temp();
        b.select_to(number, Ty::I64, is_nan, nan, kind);
        let rd = self.x_dst(a.rd);
        self.builder.bin_to(rd, Op::Shl, Ty::I64, one, number);
        Ok(())
    }

    fn convert_to_int(&mut self, to: ToInt, a: FpToInt, ty: Ty) -> Done {
        self.fp_on()?;
        let attr = self.rounding(a.rm)?.with(to as u8);
        self.fp_changes();
        let src = [self.f(a.rs1, ty), Val::NONE, Val::NONE];
        if matches!(to, ToInt::I64 | ToInt::U64) {
            let dst = self.x_dst(a.rd);
            self.builder.op(Op::Ftoint, ty, attr, dst, src, 0);
        } else {
            // Results of 32 bits are sign-extended, unsigned ones too.
            let word = self.builder.temp();
            self.builder.op(Op::Ftoint, ty, attr, word, src, 0);
            self.un(Op::Sext32, Ty::None, a.rd, word);
        }
        Ok(())
    }

    pub(super) fn fcvt_w(&mut self, a: FpToInt, ty: Ty) -> Done {
        self.convert_to_int(ToInt::I32, a, ty)
    }

    pub(super) fn fcvt_wu(&mut self, a: FpToInt, ty: Ty) -> Done {
        self.convert_to_int(ToInt::U32, a, ty)
    }

    pub(super) fn fcvt_l(&mut self, a: FpToInt, ty: Ty) -> Done {
        self.convert_to_int(ToInt::I64, a, ty)
    }

    pub(super) fn fcvt_lu(&mut self, a: FpToInt, ty: Ty) -> Done {
        self.convert_to_int(ToInt::U64, a, ty)
    }

    /// `FCVTMOD.W.D`: only binary64, always toward zero.
    pub(super) fn fcvtmod_w(&mut self, a: FpModular, _: Ty) -> Done {
        self.fp_on()?;
        self.fp_changes();
        let (rs1, dst) = (self.f_raw(a.rs1), self.x_dst(a.rd));
        self.builder.un_to(dst, Op::Fcvtmod, Ty::None, rs1);
        Ok(())
    }

    fn convert_from_int(&mut self, from: ToInt, a: FpFromInt, ty: Ty) -> Done {
        self.fp_on()?;
        let attr = self.rounding(a.rm)?.with(from as u8);
        let src = [self.x(a.rs1), Val::NONE, Val::NONE];
        self.fop(Op::Ffromint, attr, ty, a.rd, src);
        Ok(())
    }

    pub(super) fn fcvt_h_w(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I32, a, Ty::F16)
    }

    pub(super) fn fcvt_h_wu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U32, a, Ty::F16)
    }

    pub(super) fn fcvt_h_l(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I64, a, Ty::F16)
    }

    pub(super) fn fcvt_h_lu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U64, a, Ty::F16)
    }

    pub(super) fn fcvt_s_w(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I32, a, Ty::F32)
    }

    pub(super) fn fcvt_s_wu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U32, a, Ty::F32)
    }

    pub(super) fn fcvt_s_l(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I64, a, Ty::F32)
    }

    pub(super) fn fcvt_s_lu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U64, a, Ty::F32)
    }

    pub(super) fn fcvt_d_w(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I32, a, Ty::F64)
    }

    pub(super) fn fcvt_d_wu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U32, a, Ty::F64)
    }

    pub(super) fn fcvt_d_l(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::I64, a, Ty::F64)
    }

    pub(super) fn fcvt_d_lu(&mut self, a: FpFromInt) -> Done {
        self.convert_from_int(ToInt::U64, a, Ty::F64)
    }

    /// The register's lowest bits, whether boxed or not, sign-extended.
    fn move_to_x(&mut self, a: FpToX, extend: Option<(Op, Ty)>) -> Done {
        self.fp_on()?;
        let raw = self.f_raw(a.rs1);
        match extend {
            Some((op, ty)) => {
                let bits = self.builder.un(Op::Fbits, Ty::None, raw);
                self.un(op, ty, a.rd, bits);
            }
            None => self.un(Op::Fbits, Ty::None, a.rd, raw),
        }
        Ok(())
    }

    pub(super) fn fmv_x_w(&mut self, a: FpToX) -> Done {
        self.move_to_x(a, Some((Op::Sext32, Ty::None)))
    }

    /// `FMV.X.D` and `FMV.X.H`
    pub(super) fn fmv_x(&mut self, a: FpToX, ty: Ty) -> Done {
        self.move_to_x(a, (ty == Ty::F16).then_some((Op::Sext16, Ty::I64)))
    }

    fn move_from_x(&mut self, a: FpFromX, ty: Ty) -> Done {
        self.fp_on()?;
        let rs1 = self.x(a.rs1);
        self.set_f(a.rd, ty, |this, dst| this.builder.un_to(dst, Op::Ffrom, Ty::None, rs1));
        Ok(())
    }

    pub(super) fn fmv_h_x(&mut self, a: FpFromX) -> Done {
        self.move_from_x(a, Ty::F16)
    }

    pub(super) fn fmv_w_x(&mut self, a: FpFromX) -> Done {
        self.move_from_x(a, Ty::F32)
    }

    pub(super) fn fmv_d_x(&mut self, a: FpFromX) -> Done {
        self.move_from_x(a, Ty::F64)
    }

    pub(super) fn fli(&mut self, a: FpImm, ty: Ty) -> Done {
        self.fp_on()?;
        let bits = match ty {
            Ty::F16 => fp::load_immediate::<F16>(a.rs1).into(),
            Ty::F32 => fp::load_immediate::<F32>(a.rs1).into(),
            _ => fp::load_immediate::<F64>(a.rs1),
        };
        let value = self.builder.imm(bits | !ty.mask());
        self.fp_changes();
        let register = self.f_raw(a.rd);
        self.builder.un_to(register, Op::Ffrom, Ty::None, value);
        Ok(())
    }
}
