//! Data processing, immediate and register (DDI 0487, C4.1.92 "Data Processing -- Immediate", C4.1.95 "Data Processing --
//! Register").

use emu_core::ir::{Inst, NzcvCond, Op, Ty, Val};

use super::super::decode::args::{
    AddExt, AddImm, AddsExt, AddsImm, Adr, Adrp, AndsImm, Bin, Bitfield, Compare, CompareImm, Crc, CrcX,
    Extract, LogicImm, MoveWide, MulAdd, MulAddLong, Select, Shifted, Udf, Un,
};
use super::super::decode::bitmask;
use super::super::helper::Helper;
use super::flags::{Flags, Sum, always};
use super::{Lifter, Refusal, width};

/// The kinds of shift of a shifted register.
const SHIFTS: [Op; 4] = [Op::Shl, Op::Shr, Op::Sar, Op::Rotr];

impl Lifter<'_> {
    pub(super) fn udf(&mut self, _: Udf) -> Result<(), Refusal> {
        Err(Refusal::Illegal)
    }

    pub(super) fn adr(&mut self, a: Adr) {
        let offset = self.target(a.imm);
        if let Some(dst) = self.x_to(a.rd) {
            self.builder.pc_to(dst, offset);
        }
    }

    pub(super) fn adrp(&mut self, a: Adrp) {
        let Some(dst) = self.x_to(a.rd) else { return };
        // Offsets count from the page; the farthest do not fit the operation's immediate.
        match a.imm.checked_mul(4096) {
            Some(offset) => self.builder.pc_to(dst, offset),
            None => {
                let (page, offset) = (self.builder.temp(), self.builder.imm((i64::from(a.imm) << 12) as u64));
                self.builder.pc_to(page, 0);
                self.bin_to(dst, Op::Add, Ty::I64, page, offset);
            }
        }
    }

    fn imm12(&mut self, imm12: u16, sh: u8) -> Val {
        self.builder.imm(u64::from(imm12) << (12 * sh))
    }

    /// `rd` or the stack pointer = `a ± b`
    fn add_sp(&mut self, op: Op, ty: Ty, rd: u8, a: Val, b: Val) {
        let keeps = self.guest.sp_aligned
            && rd == 31
            && a == self.xsp(31)
            && ty == Ty::I64
            && self.builder.as_imm(b).is_some_and(|by| by % 16 == 0);
        let dst = self.xsp_to(rd);
        self.bin_to(dst, op, ty, a, b);
        self.guest.sp_aligned |= keeps;
    }

    pub(super) fn add_imm(&mut self, a: AddImm, ty: Ty) {
        let (rn, imm) = (self.xsp(a.rn), self.imm12(a.imm12, a.sh));
        self.add_sp(Op::Add, ty, a.rd, rn, imm);
    }

    pub(super) fn sub_imm(&mut self, a: AddImm, ty: Ty) {
        let (rn, imm) = (self.xsp(a.rn), self.imm12(a.imm12, a.sh));
        self.add_sp(Op::Sub, ty, a.rd, rn, imm);
    }

    pub(super) fn adds_imm(&mut self, a: AddsImm, ty: Ty) {
        let (rn, imm) = (self.xsp(a.rn), self.imm12(a.imm12, a.sh));
        self.add_with_flags(false, ty, a.rd, rn, imm);
    }

    pub(super) fn subs_imm(&mut self, a: AddsImm, ty: Ty) {
        let (rn, imm) = (self.xsp(a.rn), self.imm12(a.imm12, a.sh));
        self.add_with_flags(true, ty, a.rd, rn, imm);
    }

    /// `rd = a ± b` with flags
    fn add_with_flags(&mut self, sub: bool, ty: Ty, rd: u8, a: Val, b: Val) {
        let (mut a, mut b) = (a, b);
        if rd != 31 && sub && [a, b].contains(&self.x(rd)) && self.order_is_wanted() {
            // What the conditions compare will have been overwritten.
            let kept = self.builder.un(Op::Mov, Ty::I64, self_x(rd));
            [a, b] = [a, b].map(|val| if val == self_x(rd) { kept } else { val });
        }
        let sum = Sum { sub, ty, a: Some(a), b: Some(b), result: None };
        self.set_flags(sum);
        if let Some(dst) = self.x_to(rd) {
            self.bin_to(dst, if sub { Op::Sub } else { Op::Add }, ty, a, b);
            self.guest.flags.stands_in(dst);
        }
    }

    fn logic_imm(&mut self, op: Op, ty: Ty, a: LogicImm) {
        let (rn, mask) = (self.x(a.rn), self.mask(a.bits, ty));
        let dst = self.xsp_to(a.rd);
        self.bin_to(dst, op, ty, rn, mask);
    }

    /// The table refuses reserved encodings.
    fn mask(&mut self, bits: u16, ty: Ty) -> Val {
        let mask = bitmask(bits).unwrap_or(0);
        self.builder.imm(mask & ty.mask())
    }

    pub(super) fn and_imm(&mut self, a: LogicImm, ty: Ty) {
        self.logic_imm(Op::And, ty, a);
    }

    pub(super) fn orr_imm(&mut self, a: LogicImm, ty: Ty) {
        self.logic_imm(Op::Or, ty, a);
    }

    pub(super) fn eor_imm(&mut self, a: LogicImm, ty: Ty) {
        self.logic_imm(Op::Xor, ty, a);
    }

    pub(super) fn ands_imm(&mut self, a: AndsImm, ty: Ty) {
        let (rn, mask) = (self.x(a.rn), self.mask(a.bits, ty));
        self.and_with_flags(Op::And, ty, a.rd, rn, mask);
    }

    /// `rd = op(a, b)` with flags
    fn and_with_flags(&mut self, op: Op, ty: Ty, rd: u8, a: Val, b: Val) {
        let dst = self.x_dst(rd);
        self.bin_to(dst, op, ty, a, b);
        self.set_logic_flags(ty, dst);
    }

    pub(super) fn movz(&mut self, a: MoveWide, ty: Ty) {
        let value = self.builder.imm(u64::from(a.imm16) << (16 * a.hw));
        self.set_x(a.rd, ty, value);
    }

    pub(super) fn movn(&mut self, a: MoveWide, ty: Ty) {
        let value = self.builder.imm(!(u64::from(a.imm16) << (16 * a.hw)) & ty.mask());
        self.set_x(a.rd, ty, value);
    }

    pub(super) fn movk(&mut self, a: MoveWide, ty: Ty) {
        let old = self.x(a.rd);
        let shift = 16 * a.hw;
        // After another move of this kind, as is usual, the whole is known.
        let last = self.builder.made_by(old).filter(|last| last.op == Op::Mov);
        if let Some(known) = last.and_then(|last| self.builder.as_imm(last.a)) {
            let value = known & !(0xffff << shift) | u64::from(a.imm16) << shift;
            let value = self.builder.imm(value & ty.mask());
            return self.set_x(a.rd, ty, value);
        }
        let field = self.builder.imm(a.imm16.into());
        if let Some(dst) = self.x_to(a.rd) {
            let imm = i32::from(shift) | 16 << 8;
            self.builder.op(Op::Insert, ty, 0, dst, [old, field, Val::NONE], imm);
        }
    }

    /// `SBFM` and `UBFM`: a field of `rn` moved down (`extract` and shifts), or its low bits moved up (`insert in zero`).
    fn bitfield(&mut self, signed: bool, a: Bitfield, ty: Ty) {
        let rn = self.x(a.rn);
        let Some(dst) = self.x_to(a.rd) else { return };
        let (immr, imms, width) = (a.immr, a.imms, width(ty));
        let field = |len: u8, lsb: u8| i32::from(lsb) | i32::from(len) << 8;
        let op = if signed { Op::Extracts } else { Op::Extract };
        if imms < immr {
            let by = self.builder.imm((width - immr).into());
            let low = if imms + 1 == immr {
                rn // what lies above is shifted out
            } else {
                let low = self.builder.temp();
                self.builder.op(op, ty, 0, low, [rn, Val::NONE, Val::NONE], field(imms + 1, 0));
                low
            };
            return self.bin_to(dst, Op::Shl, ty, low, by);
        }
        let extend = match (signed, immr, imms) {
            _ if imms + 1 == width => {
                let by = self.builder.imm(immr.into());
                return self.bin_to(dst, if signed { Op::Sar } else { Op::Shr }, ty, rn, by);
            }
            (true, 0, 7) => (Op::Sext8, ty),
            (true, 0, 15) => (Op::Sext16, ty),
            (true, 0, 31) => (Op::Sext32, Ty::None),
            (false, 0, 7) => (Op::Zext8, Ty::None),
            (false, 0, 15) => (Op::Zext16, Ty::None),
            (false, 0, 31) => (Op::Zext32, Ty::None),
            _ => {
                let imm = field(imms - immr + 1, immr);
                return self.builder.op(op, ty, 0, dst, [rn, Val::NONE, Val::NONE], imm);
            }
        };
        self.builder.un_to(dst, extend.0, extend.1, rn);
    }

    pub(super) fn sbfm(&mut self, a: Bitfield, ty: Ty) {
        self.bitfield(true, a, ty);
    }

    pub(super) fn ubfm(&mut self, a: Bitfield, ty: Ty) {
        self.bitfield(false, a, ty);
    }

    pub(super) fn bfm(&mut self, a: Bitfield, ty: Ty) {
        let (old, rn) = (self.x(a.rd), self.x(a.rn));
        let Some(dst) = self.x_to(a.rd) else { return };
        let (lsb, len, value) = if a.imms < a.immr {
            (width(ty) - a.immr, a.imms + 1, rn)
        } else {
            let by = self.builder.imm(a.immr.into());
            let value = if a.immr == 0 { rn } else { self.builder.bin(Op::Shr, ty, rn, by) };
            (0, a.imms - a.immr + 1, value)
        };
        let imm = i32::from(lsb) | i32::from(len) << 8;
        self.builder.op(Op::Insert, ty, 0, dst, [old, value, Val::NONE], imm);
    }

    pub(super) fn extr(&mut self, a: Extract, ty: Ty) {
        let (rn, rm, lsb) = (self.x(a.rn), self.x(a.rm), self.builder.imm(a.imms.into()));
        if a.imms == 0 || a.rn == a.rm {
            return self.bin(Op::Rotr, ty, a.rd, rm, lsb);
        }
        let low = self.builder.bin(Op::Shr, ty, rm, lsb);
        let high = self.shl(ty, rn, width(ty) - a.imms);
        self.bin(Op::Or, ty, a.rd, high, low);
    }

    /// The architecture's quotient by zero is zero.
    fn divide(&mut self, op: Op, ty: Ty, a: Bin) {
        let (rn, rm, zero) = (self.x(a.rn), self.x(a.rm), self.builder.imm(0));
        let quotient = self.builder.bin(op, ty, rn, rm);
        if let Some(dst) = self.x_to(a.rd) {
            self.builder.select_to(dst, ty, rm, quotient, zero);
        }
    }

    pub(super) fn udiv(&mut self, a: Bin, ty: Ty) {
        self.divide(Op::Divu, ty, a);
    }

    pub(super) fn sdiv(&mut self, a: Bin, ty: Ty) {
        self.divide(Op::Divs, ty, a);
    }

    fn two_source(&mut self, op: Op, ty: Ty, a: Bin) {
        let (rn, rm) = (self.x(a.rn), self.x(a.rm));
        self.bin(op, ty, a.rd, rn, rm);
    }

    pub(super) fn lslv(&mut self, a: Bin, ty: Ty) {
        self.two_source(Op::Shl, ty, a);
    }

    pub(super) fn lsrv(&mut self, a: Bin, ty: Ty) {
        self.two_source(Op::Shr, ty, a);
    }

    pub(super) fn asrv(&mut self, a: Bin, ty: Ty) {
        self.two_source(Op::Sar, ty, a);
    }

    pub(super) fn rorv(&mut self, a: Bin, ty: Ty) {
        self.two_source(Op::Rotr, ty, a);
    }

    pub(super) fn smulh(&mut self, a: Bin) {
        self.two_source(Op::Mulhs, Ty::I64, a);
    }

    pub(super) fn umulh(&mut self, a: Bin) {
        self.two_source(Op::Mulhu, Ty::I64, a);
    }

    fn checksum(&mut self, helper: Helper, rd: u8, rn: u8, rm: u8, ty: Ty) {
        let args = [self.x(rn), self.x(rm), self.builder.imm(ty.bytes() as u64)];
        if let Some(dst) = self.x_to(rd) {
            self.builder.call_to(dst, helper as u16, &args);
        }
    }

    pub(super) fn crc32(&mut self, a: Crc, ty: Ty) {
        self.checksum(Helper::Crc32, a.rd, a.rn, a.rm, ty);
    }

    pub(super) fn crc32x(&mut self, a: CrcX) {
        self.checksum(Helper::Crc32, a.rd, a.rn, a.rm, Ty::I64);
    }

    pub(super) fn crc32c(&mut self, a: Crc, ty: Ty) {
        self.checksum(Helper::Crc32c, a.rd, a.rn, a.rm, ty);
    }

    pub(super) fn crc32cx(&mut self, a: CrcX) {
        self.checksum(Helper::Crc32c, a.rd, a.rn, a.rm, Ty::I64);
    }

    fn one_source(&mut self, op: Op, ty: Ty, a: Un) {
        let rn = self.x(a.rn);
        self.un(op, ty, a.rd, rn);
    }

    pub(super) fn rbit(&mut self, a: Un, ty: Ty) {
        self.one_source(Op::Bitrev, ty, a);
    }

    pub(super) fn rev(&mut self, a: Un, ty: Ty) {
        self.one_source(Op::Bswap, ty, a);
    }

    /// The bytes of each half of 32 bits.
    pub(super) fn rev32(&mut self, a: Un) {
        let (rn, half) = (self.x(a.rn), self.builder.imm(32));
        let all = self.builder.un(Op::Bswap, Ty::I64, rn);
        self.bin(Op::Rotr, Ty::I64, a.rd, all, half);
    }

    /// The bytes of each 16 bits.
    pub(super) fn rev16(&mut self, a: Un, ty: Ty) {
        let rn = self.x(a.rn);
        if ty == Ty::I32 {
            let all = self.builder.un(Op::Bswap, ty, rn);
            let half = self.builder.imm(16);
            return self.bin(Op::Rotr, ty, a.rd, all, half);
        }
        let (by, mask) = (self.builder.imm(8), self.builder.imm(0x00ff_00ff_00ff_00ff));
        let down = self.builder.bin(Op::Shr, ty, rn, by);
        let high = self.builder.bin(Op::And, ty, down, mask);
        let low = self.builder.bin(Op::And, ty, rn, mask);
        let up = self.builder.bin(Op::Shl, ty, low, by);
        self.bin(Op::Or, ty, a.rd, up, high);
    }

    /// After `RBIT` this counts the zero bits that trail: together they are one operation, for want of an instruction for that.
    pub(super) fn clz(&mut self, a: Un, ty: Ty) {
        let rn = self.x(a.rn);
        let reverses = |last: &&Inst| last.op == Op::Bitrev && last.ty == ty && last.dst == rn;
        if a.rn == a.rd && self.builder.insts().last().filter(reverses).is_some() {
            // The register is written at once again: nothing sees what the first has made of it.
            let bits = self.builder.keep_operand_of_last();
            return self.un(Op::Ctz, ty, a.rd, bits);
        }
        self.un(Op::Clz, ty, a.rd, rn);
    }

    /// One less than how many leading bits are alike.
    pub(super) fn cls(&mut self, a: Un, ty: Ty) {
        let (rn, one) = (self.x(a.rn), self.builder.imm(1));
        let moved = self.builder.bin(Op::Sar, ty, rn, one);
        let changes = self.builder.bin(Op::Xor, ty, rn, moved);
        let count = self.builder.un(Op::Clz, ty, changes);
        self.bin(Op::Sub, ty, a.rd, count, one);
    }

    /// The second operand of shifted-register instructions.
    fn shifted(&mut self, ty: Ty, rm: u8, shift: u8, amount: u8) -> Val {
        let rm = self.x(rm);
        if amount == 0 {
            return rm;
        }
        let by = self.builder.imm(amount.into());
        self.builder.bin(SHIFTS[usize::from(shift & 3)], ty, rm, by)
    }

    fn logic_shift(&mut self, op: Op, ty: Ty, a: Shifted) {
        let (rn, rm) = (self.x(a.rn), self.shifted(ty, a.rm, a.shift, a.amount));
        self.bin(op, ty, a.rd, rn, rm);
    }

    pub(super) fn and_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::And, ty, a);
    }

    pub(super) fn bic_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Andn, ty, a);
    }

    pub(super) fn orr_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Or, ty, a);
    }

    pub(super) fn orn_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Orn, ty, a);
    }

    pub(super) fn eor_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Xor, ty, a);
    }

    pub(super) fn eon_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Xnor, ty, a);
    }

    fn logic_shift_with_flags(&mut self, op: Op, ty: Ty, a: Shifted) {
        let (rn, rm) = (self.x(a.rn), self.shifted(ty, a.rm, a.shift, a.amount));
        self.and_with_flags(op, ty, a.rd, rn, rm);
    }

    pub(super) fn ands_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift_with_flags(Op::And, ty, a);
    }

    pub(super) fn bics_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift_with_flags(Op::Andn, ty, a);
    }

    pub(super) fn add_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Add, ty, a);
    }

    pub(super) fn sub_shift(&mut self, a: Shifted, ty: Ty) {
        self.logic_shift(Op::Sub, ty, a);
    }

    pub(super) fn adds_shift(&mut self, a: Shifted, ty: Ty) {
        let (rn, rm) = (self.x(a.rn), self.shifted(ty, a.rm, a.shift, a.amount));
        self.add_with_flags(false, ty, a.rd, rn, rm);
    }

    pub(super) fn subs_shift(&mut self, a: Shifted, ty: Ty) {
        let (rn, rm) = (self.x(a.rn), self.shifted(ty, a.rm, a.shift, a.amount));
        self.add_with_flags(true, ty, a.rd, rn, rm);
    }

    /// A register extended as `option` says, then shifted left (`ExtendReg`).
    pub(super) fn extended(&mut self, ty: Ty, rm: u8, option: u8, shift: u8) -> Val {
        let rm = self.x(rm);
        let (op, op_ty) = match option & 7 {
            0 => (Op::Zext8, Ty::None),
            1 => (Op::Zext16, Ty::None),
            2 if ty == Ty::I64 => (Op::Zext32, Ty::None),
            4 => (Op::Sext8, ty),
            5 => (Op::Sext16, ty),
            6 if ty == Ty::I64 => (Op::Sext32, Ty::None),
            _ => return self.shl(ty, rm, shift),
        };
        let value = self.builder.same(op, op_ty, rm, Val::NONE);
        self.shl(ty, value, shift)
    }

    pub(super) fn add_ext(&mut self, a: AddExt, ty: Ty) {
        let (rn, rm) = (self.xsp(a.rn), self.extended(ty, a.rm, a.option, a.imm3));
        self.add_sp(Op::Add, ty, a.rd, rn, rm);
    }

    pub(super) fn sub_ext(&mut self, a: AddExt, ty: Ty) {
        let (rn, rm) = (self.xsp(a.rn), self.extended(ty, a.rm, a.option, a.imm3));
        self.add_sp(Op::Sub, ty, a.rd, rn, rm);
    }

    pub(super) fn adds_ext(&mut self, a: AddsExt, ty: Ty) {
        let (rn, rm) = (self.xsp(a.rn), self.extended(ty, a.rm, a.option, a.imm3));
        self.add_with_flags(false, ty, a.rd, rn, rm);
    }

    pub(super) fn subs_ext(&mut self, a: AddsExt, ty: Ty) {
        let (rn, rm) = (self.xsp(a.rn), self.extended(ty, a.rm, a.option, a.imm3));
        self.add_with_flags(true, ty, a.rd, rn, rm);
    }

    /// `a + b + C`, or `a − b − not C`, which is `a + not b + C`.
    fn with_carry(&mut self, sub: bool, flags: bool, ty: Ty, a: Bin) {
        let (rn, rm, nzcv) = (self.x(a.rn), self.x(a.rm), self.nzcv());
        let test = self.condition(NzcvCond::Cs as u8);
        let carry = self.truth(test);
        let ones = self.builder.imm(ty.mask());
        let addend = if sub { self.builder.bin(Op::Xor, ty, rm, ones) } else { rm };
        if flags {
            self.builder.op(Op::NzcvAdd, ty, 0, nzcv, [rn, addend, carry], 0);
            let sum = Sum { sub: false, ty, a: Some(rn), b: Some(addend), result: None };
            self.guest.flags = Flags::Carried { sum, carry };
        }
        if let Some(dst) = self.x_to(a.rd) {
            self.builder.op(Op::Adc, ty, 0, dst, [rn, addend, carry], 0);
            if flags {
                self.guest.flags.stands_in(dst);
            }
        }
    }

    pub(super) fn adc(&mut self, a: Bin, ty: Ty) {
        self.with_carry(false, false, ty, a);
    }

    pub(super) fn adcs(&mut self, a: Bin, ty: Ty) {
        self.with_carry(false, true, ty, a);
    }

    pub(super) fn sbc(&mut self, a: Bin, ty: Ty) {
        self.with_carry(true, false, ty, a);
    }

    pub(super) fn sbcs(&mut self, a: Bin, ty: Ty) {
        self.with_carry(true, true, ty, a);
    }

    /// Flags of the comparison if the condition holds, else those of the immediate.
    fn compare(&mut self, sub: bool, ty: Ty, rn: u8, b: Val, flags: u8, cond: u8) {
        let a = self.x(rn);
        let sum = Sum { sub, ty, a: Some(a), b: Some(b), result: None };
        if always(cond) {
            return self.set_flags(sum);
        }
        let test = self.condition(cond);
        let held = self.truth(test);
        self.set_flags(sum);
        let otherwise = u64::from(flags) << 28;
        let (nzcv, other) = (self.nzcv(), self.builder.imm(otherwise));
        self.builder.select_to(nzcv, Ty::I64, held, nzcv, other);
        self.guest.flags = Flags::Compare { held, sum, otherwise };
    }

    pub(super) fn ccmp(&mut self, a: Compare, ty: Ty) {
        let rm = self.x(a.rm);
        self.compare(true, ty, a.rn, rm, a.nzcv, a.cond);
    }

    pub(super) fn ccmn(&mut self, a: Compare, ty: Ty) {
        let rm = self.x(a.rm);
        self.compare(false, ty, a.rn, rm, a.nzcv, a.cond);
    }

    pub(super) fn ccmp_imm(&mut self, a: CompareImm, ty: Ty) {
        let imm = self.builder.imm(a.imm5.into());
        self.compare(true, ty, a.rn, imm, a.nzcv, a.cond);
    }

    pub(super) fn ccmn_imm(&mut self, a: CompareImm, ty: Ty) {
        let imm = self.builder.imm(a.imm5.into());
        self.compare(false, ty, a.rn, imm, a.nzcv, a.cond);
    }

    /// `rn` if the condition holds, else what `otherwise` makes of `rm`.
    fn choose(&mut self, ty: Ty, a: Select, otherwise: fn(&mut Self, Ty, Val) -> Val) {
        let (rn, rm) = (self.x(a.rn), self.x(a.rm));
        if always(a.cond) {
            return self.set_x(a.rd, ty, rn);
        }
        let test = self.condition(a.cond);
        let held = self.truth(test);
        let other = otherwise(self, ty, rm);
        if let Some(dst) = self.x_to(a.rd) {
            self.builder.select_to(dst, ty, held, rn, other);
        }
    }

    /// Whether the condition fails, as 1 or 0: what `CSET` and its like are made of.
    fn fails(&mut self, cond: u8) -> Val {
        let test = self.condition(cond ^ 1);
        self.truth(test)
    }

    pub(super) fn csel(&mut self, a: Select, ty: Ty) {
        self.choose(ty, a, |_, _, rm| rm);
    }

    pub(super) fn csinc(&mut self, a: Select, ty: Ty) {
        if a.rn == a.rm && !always(a.cond) {
            let (rn, one) = (self.x(a.rn), self.fails(a.cond));
            return self.bin(Op::Add, ty, a.rd, rn, one);
        }
        self.choose(ty, a, |this, ty, rm| {
            let one = this.builder.imm(1);
            this.builder.bin(Op::Add, ty, rm, one)
        });
    }

    pub(super) fn csinv(&mut self, a: Select, ty: Ty) {
        if a.rn == 31 && a.rm == 31 && !always(a.cond) {
            let (zero, one) = (self.builder.imm(0), self.fails(a.cond));
            return self.bin(Op::Sub, ty, a.rd, zero, one);
        }
        self.choose(ty, a, |this, ty, rm| {
            let ones = this.builder.imm(ty.mask());
            this.builder.bin(Op::Xor, ty, rm, ones)
        });
    }

    pub(super) fn csneg(&mut self, a: Select, ty: Ty) {
        self.choose(ty, a, |this, ty, rm| {
            let zero = this.builder.imm(0);
            this.builder.bin(Op::Sub, ty, zero, rm)
        });
    }

    /// `rd = ra ± n · m`
    fn multiply(&mut self, op: Op, ty: Ty, rd: u8, ra: u8, n: Val, m: Val) {
        if ra == 31 && op == Op::Add {
            return self.bin(Op::Mul, ty, rd, n, m);
        }
        let (ra, product) = (self.x(ra), self.builder.bin(Op::Mul, ty, n, m));
        self.bin(op, ty, rd, ra, product);
    }

    pub(super) fn madd(&mut self, a: MulAdd, ty: Ty) {
        let (rn, rm) = (self.x(a.rn), self.x(a.rm));
        self.multiply(Op::Add, ty, a.rd, a.ra, rn, rm);
    }

    pub(super) fn msub(&mut self, a: MulAdd, ty: Ty) {
        let (rn, rm) = (self.x(a.rn), self.x(a.rm));
        self.multiply(Op::Sub, ty, a.rd, a.ra, rn, rm);
    }

    /// The same with a product of 32-bit values, extended by `extend`.
    fn multiply_long(&mut self, op: Op, extend: Op, a: MulAddLong) {
        let [n, m] = [a.rn, a.rm].map(|register| {
            let value = self.x(register);
            self.builder.un(extend, Ty::None, value)
        });
        self.multiply(op, Ty::I64, a.rd, a.ra, n, m);
    }

    pub(super) fn smaddl(&mut self, a: MulAddLong) {
        self.multiply_long(Op::Add, Op::Sext32, a);
    }

    pub(super) fn smsubl(&mut self, a: MulAddLong) {
        self.multiply_long(Op::Sub, Op::Sext32, a);
    }

    pub(super) fn umaddl(&mut self, a: MulAddLong) {
        self.multiply_long(Op::Add, Op::Zext32, a);
    }

    pub(super) fn umsubl(&mut self, a: MulAddLong) {
        self.multiply_long(Op::Sub, Op::Zext32, a);
    }
}

/// The slot of a general register.
fn self_x(n: u8) -> Val {
    Val::slot(super::X + u16::from(n))
}
