//! Zba, Zbb, Zbc, Zbs (Unpriv., "B Extension for Bit Manipulation") and Zicond ("Integer Conditional
//! Operations").

use emu_core::ir::{Op, Ty, Val};

use super::super::decode::insn32::args::{R, Shift, Unary};
use super::Lifter;

impl Lifter<'_> {
    /// `rd = (a << shamt) + rs2`
    fn shift_add(&mut self, shamt: u64, a: Val, rs2: u8, rd: u8) {
        if rd == 0 {
            return;
        }
        let shamt = self.builder.imm(shamt);
        let shifted = self.builder.bin(Op::Shl, Ty::I64, a, shamt);
        let rs2 = self.x(rs2);
        self.bin(Op::Add, rd, shifted, rs2);
    }

    /// The low half of register `rs1`.
    fn zext(&mut self, rs1: u8) -> Val {
        let rs1 = self.x(rs1);
        self.builder.un(Op::Zext32, Ty::None, rs1)
    }

    pub(super) fn add_uw(&mut self, a: R) {
        let (rs1, rs2) = (self.zext(a.rs1), self.x(a.rs2));
        self.bin(Op::Add, a.rd, rs1, rs2);
    }

    pub(super) fn sh1add(&mut self, a: R) {
        let rs1 = self.x(a.rs1);
        self.shift_add(1, rs1, a.rs2, a.rd);
    }

    pub(super) fn sh1add_uw(&mut self, a: R) {
        let rs1 = self.zext(a.rs1);
        self.shift_add(1, rs1, a.rs2, a.rd);
    }

    pub(super) fn sh2add(&mut self, a: R) {
        let rs1 = self.x(a.rs1);
        self.shift_add(2, rs1, a.rs2, a.rd);
    }

    pub(super) fn sh2add_uw(&mut self, a: R) {
        let rs1 = self.zext(a.rs1);
        self.shift_add(2, rs1, a.rs2, a.rd);
    }

    pub(super) fn sh3add(&mut self, a: R) {
        let rs1 = self.x(a.rs1);
        self.shift_add(3, rs1, a.rs2, a.rd);
    }

    pub(super) fn sh3add_uw(&mut self, a: R) {
        let rs1 = self.zext(a.rs1);
        self.shift_add(3, rs1, a.rs2, a.rd);
    }

    pub(super) fn slli_uw(&mut self, a: Shift) {
        let (rs1, shamt) = (self.zext(a.rs1), self.imm(a.shamt.into()));
        self.bin(Op::Shl, a.rd, rs1, shamt);
    }

    pub(super) fn andn(&mut self, a: R) {
        self.alu(Op::Andn, a);
    }

    pub(super) fn orn(&mut self, a: R) {
        self.alu(Op::Orn, a);
    }

    pub(super) fn xnor(&mut self, a: R) {
        self.alu(Op::Xnor, a);
    }

    /// `rd = op(rs1)`
    fn unary(&mut self, op: Op, ty: Ty, a: Unary) {
        let rs1 = self.x(a.rs1);
        self.un(op, ty, a.rd, rs1);
    }

    pub(super) fn clz(&mut self, a: Unary) {
        self.unary(Op::Clz, Ty::I64, a);
    }

    pub(super) fn clzw(&mut self, a: Unary) {
        self.unary(Op::Clz, Ty::I32, a);
    }

    pub(super) fn ctz(&mut self, a: Unary) {
        self.unary(Op::Ctz, Ty::I64, a);
    }

    pub(super) fn ctzw(&mut self, a: Unary) {
        self.unary(Op::Ctz, Ty::I32, a);
    }

    pub(super) fn cpop(&mut self, a: Unary) {
        self.unary(Op::Popcnt, Ty::I64, a);
    }

    pub(super) fn cpopw(&mut self, a: Unary) {
        self.unary(Op::Popcnt, Ty::I32, a);
    }

    pub(super) fn max(&mut self, a: R) {
        self.alu(Op::Maxs, a);
    }

    pub(super) fn maxu(&mut self, a: R) {
        self.alu(Op::Maxu, a);
    }

    pub(super) fn min(&mut self, a: R) {
        self.alu(Op::Mins, a);
    }

    pub(super) fn minu(&mut self, a: R) {
        self.alu(Op::Minu, a);
    }

    pub(super) fn sext_b(&mut self, a: Unary) {
        self.unary(Op::Sext8, Ty::I64, a);
    }

    pub(super) fn sext_h(&mut self, a: Unary) {
        self.unary(Op::Sext16, Ty::I64, a);
    }

    pub(super) fn zext_h(&mut self, a: Unary) {
        self.unary(Op::Zext16, Ty::None, a);
    }

    pub(super) fn rol(&mut self, a: R) {
        self.alu(Op::Rotl, a);
    }

    pub(super) fn rolw(&mut self, a: R) {
        self.aluw(Op::Rotl, a);
    }

    pub(super) fn ror(&mut self, a: R) {
        self.alu(Op::Rotr, a);
    }

    pub(super) fn rori(&mut self, a: Shift) {
        self.shift(Op::Rotr, a);
    }

    pub(super) fn roriw(&mut self, a: Shift) {
        self.shiftw(Op::Rotr, a);
    }

    pub(super) fn rorw(&mut self, a: R) {
        self.aluw(Op::Rotr, a);
    }

    pub(super) fn orc_b(&mut self, a: Unary) {
        self.unary(Op::Orcb, Ty::I64, a);
    }

    pub(super) fn rev8(&mut self, a: Unary) {
        self.unary(Op::Bswap, Ty::I64, a);
    }

    pub(super) fn clmul(&mut self, a: R) {
        self.alu(Op::Clmul, a);
    }

    pub(super) fn clmulh(&mut self, a: R) {
        self.alu(Op::Clmulh, a);
    }

    pub(super) fn clmulr(&mut self, a: R) {
        self.alu(Op::Clmulr, a);
    }

    /// The value with only bit `rs2` modulo 64 set.
    fn bit(&mut self, rs2: u8) -> Val {
        let (one, rs2) = (self.builder.imm(1), self.x(rs2));
        self.builder.bin(Op::Shl, Ty::I64, one, rs2)
    }

    /// `rd = op(rs1, 1 << rs2)`
    fn with_bit(&mut self, op: Op, a: R) {
        if a.rd != 0 {
            let (bit, rs1) = (self.bit(a.rs2), self.x(a.rs1));
            self.bin(op, a.rd, rs1, bit);
        }
    }

    /// `rd = op(rs1, 1 << shamt)`
    fn with_bit_imm(&mut self, op: Op, a: Shift) {
        let (rs1, bit) = (self.x(a.rs1), self.builder.imm(1 << (a.shamt % 64)));
        self.bin(op, a.rd, rs1, bit);
    }

    pub(super) fn bclr(&mut self, a: R) {
        self.with_bit(Op::Andn, a);
    }

    pub(super) fn bclri(&mut self, a: Shift) {
        self.with_bit_imm(Op::Andn, a);
    }

    pub(super) fn bext(&mut self, a: R) {
        if a.rd != 0 {
            let (rs1, rs2, one) = (self.x(a.rs1), self.x(a.rs2), self.builder.imm(1));
            let shifted = self.builder.bin(Op::Shr, Ty::I64, rs1, rs2);
            self.bin(Op::And, a.rd, shifted, one);
        }
    }

    pub(super) fn bexti(&mut self, a: Shift) {
        if a.rd != 0 {
            let (rs1, dst) = (self.x(a.rs1), self.x_dst(a.rd));
            let field = i32::from(a.shamt % 64) | 1 << 8;
            self.builder.op(Op::Extract, Ty::I64, 0, dst, [rs1, Val::NONE, Val::NONE], field);
        }
    }

    pub(super) fn binv(&mut self, a: R) {
        self.with_bit(Op::Xor, a);
    }

    pub(super) fn binvi(&mut self, a: Shift) {
        self.with_bit_imm(Op::Xor, a);
    }

    pub(super) fn bset(&mut self, a: R) {
        self.with_bit(Op::Or, a);
    }

    pub(super) fn bseti(&mut self, a: Shift) {
        self.with_bit_imm(Op::Or, a);
    }

    pub(super) fn czero_eqz(&mut self, a: R) {
        self.select_zero(a, true);
    }

    pub(super) fn czero_nez(&mut self, a: R) {
        self.select_zero(a, false);
    }

    /// `rd` = zero if (`rs2` = 0) is `eqz`, else `rs1`.
    fn select_zero(&mut self, a: R, eqz: bool) {
        if a.rd != 0 {
            let (rs1, rs2, zero) = (self.x(a.rs1), self.x(a.rs2), self.builder.imm(0));
            let (then, other) = if eqz { (rs1, zero) } else { (zero, rs1) };
            let dst = self.x_dst(a.rd);
            self.builder.select_to(dst, Ty::I64, rs2, then, other);
        }
    }
}
