//! Integer operations.

use emu_core::ir::{Block, Cc, Inst, Op, Ty, Val, ValKind};

use super::asm::{Alu, Cond, Operand, RAX, RCX, RDX, Reg, Shift, Unary};
use super::{CompileError, Compiler, Done};
use crate::frame;

impl Compiler {
    pub(super) fn int(&mut self, block: &Block, inst: &Inst) -> Done {
        if self.regs.dies(inst.dst) {
            return Ok(()); // pure, and never read
        }
        let wide = inst.ty != Ty::I32;
        match inst.op {
            Op::Mov => self.mov(block, inst, wide),
            Op::Add => self.add(block, inst, wide),
            Op::Sub => self.sub(block, inst, wide),
            Op::And => self.commutative(block, inst, wide, Alu::And, false),
            Op::Or => self.commutative(block, inst, wide, Alu::Or, false),
            Op::Xor => self.commutative(block, inst, wide, Alu::Xor, false),
            Op::Xnor => self.commutative(block, inst, wide, Alu::Xor, true),
            Op::Andn => self.with_not(block, inst, wide, Alu::And),
            Op::Orn => self.with_not(block, inst, wide, Alu::Or),
            Op::Shl => self.shift(block, inst, wide, Shift::Shl),
            Op::Shr => self.shift(block, inst, wide, Shift::Shr),
            Op::Sar => self.shift(block, inst, wide, Shift::Sar),
            Op::Rotl => self.shift(block, inst, wide, Shift::Rol),
            Op::Rotr => self.shift(block, inst, wide, Shift::Ror),
            Op::Mul => self.mul(block, inst, wide),
            Op::Mulhs | Op::Mulhu | Op::Mulhsu if wide => self.mul_high(block, inst),
            Op::Divs => self.div(block, inst, wide, true, false),
            Op::Divu => self.div(block, inst, wide, false, false),
            Op::Rems => self.div(block, inst, wide, true, true),
            Op::Remu => self.div(block, inst, wide, false, true),
            Op::Mins => self.min_max(block, inst, wide, Cc::Lt),
            Op::Maxs => self.min_max(block, inst, wide, Cc::Ge),
            Op::Minu => self.min_max(block, inst, wide, Cc::Ltu),
            Op::Maxu => self.min_max(block, inst, wide, Cc::Geu),
            Op::Clz if self.features.lzcnt => self.unary(block, inst, wide, Unary::Lzcnt),
            Op::Ctz if self.features.bmi1 => self.unary(block, inst, wide, Unary::Tzcnt),
            Op::Popcnt => self.unary(block, inst, wide, Unary::Popcnt),
            Op::Bswap => {
                let dst = self.target_over(inst.dst, inst.a, &[])?;
                self.copy(block, wide, dst, inst.a);
                self.asm.bswap(wide, dst);
                self.finish(inst.dst, dst)
            }
            Op::Sext8 => self.unary(block, inst, wide, Unary::Movsx8),
            Op::Sext16 => self.unary(block, inst, wide, Unary::Movsx16),
            Op::Sext32 => self.extend(block, inst, |s, d, a| s.asm.movsxd(d, a)),
            Op::Zext8 => self.extend(block, inst, |s, d, a| s.asm.movzx(1, d, a)),
            Op::Zext16 => self.extend(block, inst, |s, d, a| s.asm.movzx(2, d, a)),
            Op::Zext32 => self.extend(block, inst, |s, d, a| s.asm.mov32(d, a)),
            Op::Extract => self.extract(block, inst, wide, Shift::Shr),
            Op::Extracts => self.extract(block, inst, wide, Shift::Sar),
            Op::Set => self.set(block, inst),
            Op::Select => self.select(block, inst, wide),
            Op::Pc => {
                let dst = self.target(inst.dst, &[])?;
                self.asm.load(dst, frame::PAGE_BASE);
                if inst.imm != 0 {
                    self.asm.alu(Alu::Add, true, dst, Operand::Imm(inst.imm));
                }
                self.finish(inst.dst, dst)
            }
            Op::Adc => self.adc(block, inst, wide),
            Op::Insert => self.insert_field(block, inst, wide),
            Op::NzcvAdd | Op::NzcvSub => self.nzcv_sum(block, inst, wide),
            Op::NzcvLogic => self.nzcv_logic(block, inst, wide),
            Op::NzcvTest => self.nzcv_test(block, inst),
            _ => self.evaluate(block, inst),
        }
    }

    pub(super) fn mov(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        if let (ValKind::Slot(n), Some(value)) = (inst.dst.kind(), block.constant(inst.a))
            && self.regs.pinned(n).is_none()
            && let Ok(value) = i32::try_from(if wide { value as i64 } else { i64::from(value as u32) })
        {
            self.asm.store_imm(frame::slot(n), value);
            self.regs.forget_slot::<Reg>(n);
            return Ok(());
        }
        let from = match block.constant(inst.a) {
            None => Self::register(self.place(wide, inst.a)),
            Some(_) => None,
        };
        if let (ValKind::Slot(n), Some(from), true) = (inst.dst.kind(), from, wide) {
            match self.regs.pinned(n) {
                Some(own) => self.asm.mov(own, from),
                None => {
                    self.regs.forget_slot::<Reg>(n);
                    self.asm.store(frame::slot(n), from);
                }
            }
            return Ok(());
        }
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        self.copy(block, wide, dst, inst.a);
        if from == Some(dst) && !wide {
            self.asm.mov32(dst, dst);
        }
        self.finish(inst.dst, dst)
    }

    /// The operands of a commutative operation with a constant, if there is one, on the right.
    fn ordered(block: &Block, inst: &Inst) -> (Val, Val) {
        if block.constant(inst.a).is_some() { (inst.b, inst.a) } else { (inst.a, inst.b) }
    }

    fn add(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let (a, b) = Self::ordered(block, inst);
        let left = self.read_as(block, wide, a)?;
        let right = self.operand(block, wide, b)?;
        let dst = self.target_over(inst.dst, a, &[])?;
        match right {
            _ if dst == left => self.asm.alu(Alu::Add, wide, dst, right),
            Operand::Reg(right) if dst == right => self.asm.alu(Alu::Add, wide, dst, Operand::Reg(left)),
            Operand::Reg(right) => self.asm.lea_sum(wide, dst, left, right),
            Operand::Imm(imm) => self.asm.lea(wide, dst, left, imm),
            Operand::Mem(_) => {
                self.asm.mov(dst, left);
                self.asm.alu(Alu::Add, wide, dst, right);
            }
        }
        self.finish(inst.dst, dst)
    }

    fn sub(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let right = self.operand(block, wide, inst.b)?;
        if let (Operand::Reg(right), ValKind::Slot(n)) = (right, inst.dst.kind())
            && self.regs.pinned(n) == Some(right)
            && inst.a != inst.b
        {
            // dst = a − dst
            self.asm.neg(wide, right);
            let left = self.operand(block, wide, inst.a)?;
            self.asm.alu(Alu::Add, wide, right, left);
            return Ok(());
        }
        let avoid = Self::register(right);
        let dst = self.target_over(inst.dst, inst.a, avoid.as_slice())?;
        self.copy(block, wide, dst, inst.a);
        self.asm.alu(Alu::Sub, wide, dst, right);
        self.finish(inst.dst, dst)
    }

    /// The register of an operand.
    pub(super) fn register(operand: Operand) -> Option<Reg> {
        match operand {
            Operand::Reg(reg) => Some(reg),
            Operand::Mem(_) | Operand::Imm(_) => None,
        }
    }

    fn commutative(&mut self, block: &Block, inst: &Inst, wide: bool, op: Alu, invert: bool) -> Done {
        let (mut a, mut b) = Self::ordered(block, inst);
        if let ValKind::Slot(n) = inst.dst.kind()
            && b == inst.dst
            && self.regs.pinned(n).is_some()
        {
            std::mem::swap(&mut a, &mut b);
        }
        let right = self.operand(block, wide, b)?;
        let avoid = if a == b { None } else { Self::register(right) };
        let dst = self.target_over(inst.dst, a, avoid.as_slice())?;
        self.copy(block, wide, dst, a);
        self.asm.alu(op, wide, dst, right);
        if invert {
            self.asm.not(wide, dst);
        }
        self.finish(inst.dst, dst)
    }

    /// `a op not b`
    fn with_not(&mut self, block: &Block, inst: &Inst, wide: bool, op: Alu) -> Done {
        let left = self.operand(block, wide, inst.a)?;
        let avoid = Self::register(left);
        let dst = self.target_over(inst.dst, inst.b, avoid.as_slice())?;
        self.copy(block, wide, dst, inst.b);
        self.asm.not(wide, dst);
        self.asm.alu(op, wide, dst, left);
        self.finish(inst.dst, dst)
    }

    fn shift(&mut self, block: &Block, inst: &Inst, wide: bool, op: Shift) -> Done {
        if let Some(by) = block.constant(inst.b) {
            let by = by as u8 & if wide { 63 } else { 31 };
            let dst = self.target_over(inst.dst, inst.a, &[])?;
            self.copy(block, wide, dst, inst.a);
            if by != 0 {
                self.asm.shift_imm(op, wide, dst, by);
            } else if !wide {
                self.asm.mov32(dst, dst);
            }
            return self.finish(inst.dst, dst);
        }
        if self.features.bmi2 && !matches!(op, Shift::Rol | Shift::Ror) {
            let by = self.read_as(block, false, inst.b)?;
            let value = self.read_as(block, wide, inst.a)?;
            let dst = self.target_over(inst.dst, inst.a, &[])?;
            self.asm.shift_reg(op, wide, dst, value, by);
            return self.finish(inst.dst, dst);
        }
        self.regs.claim(&mut self.asm, RCX)?;
        self.copy(block, wide, RCX, inst.b);
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        self.copy(block, wide, dst, inst.a);
        self.asm.shift_cl(op, wide, dst);
        self.finish(inst.dst, dst)
    }

    fn mul(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let (mut a, mut b) = Self::ordered(block, inst);
        if b == inst.dst {
            std::mem::swap(&mut a, &mut b);
        }
        let right = self.operand(block, wide, b)?;
        let avoid = if a == b { None } else { Self::register(right) };
        let dst = self.target_over(inst.dst, a, avoid.as_slice())?;
        self.copy(block, wide, dst, a);
        self.asm.imul(wide, dst, right);
        self.finish(inst.dst, dst)
    }

    fn mul_high(&mut self, block: &Block, inst: &Inst) -> Done {
        self.regs.claim(&mut self.asm, RAX)?;
        self.regs.claim(&mut self.asm, RDX)?;
        let b = self.read(block, inst.b)?;
        let a = self.read(block, inst.a)?;
        self.asm.mov(RAX, a);
        self.asm.mul(inst.op == Op::Mulhs, b);
        if inst.op == Op::Mulhsu {
            // The unsigned product counts 2⁶⁴ too much of a negative `a`.
            self.asm.mov(RAX, a);
            self.asm.shift_imm(Shift::Sar, true, RAX, 63);
            self.asm.alu(Alu::And, true, RAX, Operand::Reg(b));
            self.asm.alu(Alu::Sub, true, RDX, Operand::Reg(RAX));
        }
        self.finish(inst.dst, RDX)
    }

    fn div(&mut self, block: &Block, inst: &Inst, wide: bool, signed: bool, rest: bool) -> Done {
        self.regs.claim(&mut self.asm, RAX)?;
        self.regs.claim(&mut self.asm, RDX)?;
        let b = self.read(block, inst.b)?;
        let (by_zero, by_minus_one, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.copy(block, wide, RAX, inst.a);
        self.asm.alu(Alu::Test, wide, b, Operand::Reg(b));
        self.asm.jcc(Cond::EQ, by_zero);
        if signed {
            self.asm.alu(Alu::Cmp, wide, b, Operand::Imm(-1));
            self.asm.jcc(Cond::EQ, by_minus_one);
        }
        self.asm.div(signed, wide, b);
        if rest {
            self.asm.mov(RAX, RDX);
        }
        self.asm.jmp(done);
        if signed {
            // The host traps where this overflows.
            self.asm.bind(by_minus_one);
            if rest {
                self.asm.mov_imm(RAX, 0);
            } else {
                self.asm.neg(wide, RAX);
            }
            self.asm.jmp(done);
        }
        self.asm.bind(by_zero);
        if !rest {
            self.asm.mov_imm(RAX, if wide { u64::MAX } else { u32::MAX.into() });
        }
        self.asm.bind(done);
        self.finish(inst.dst, RAX)
    }

    fn min_max(&mut self, block: &Block, inst: &Inst, wide: bool, keep_a: Cc) -> Done {
        let b = self.read_as(block, wide, inst.b)?;
        let dst = self.target_over(inst.dst, inst.a, &[b])?;
        self.copy(block, wide, dst, inst.a);
        self.asm.alu(Alu::Cmp, wide, dst, Operand::Reg(b));
        self.asm.cmov(condition(keep_a).inverted(), wide, dst, b);
        self.finish(inst.dst, dst)
    }

    fn unary(&mut self, block: &Block, inst: &Inst, wide: bool, op: Unary) -> Done {
        let low = matches!(op, Unary::Movsx8 | Unary::Movsx16);
        let a = self.read_as(block, wide && !low, inst.a)?;
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        self.asm.unary(op, wide, dst, a);
        self.finish(inst.dst, dst)
    }

    /// An operation on the lower half of its operand, or less.
    fn extend(&mut self, block: &Block, inst: &Inst, emit: impl FnOnce(&mut Self, Reg, Reg)) -> Done {
        let a = self.read_as(block, false, inst.a)?;
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        emit(self, dst, a);
        self.finish(inst.dst, dst)
    }

    fn extract(&mut self, block: &Block, inst: &Inst, wide: bool, right: Shift) -> Done {
        let bits = if wide { 64 } else { 32 };
        let (lsb, len) = (inst.imm & 0xff, inst.imm >> 8);
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        self.copy(block, wide, dst, inst.a);
        // The verifier knows that the field fits the type.
        let left = (bits - lsb - len).clamp(0, 63) as u8;
        if left != 0 {
            self.asm.shift_imm(Shift::Shl, wide, dst, left);
        }
        if len < bits {
            self.asm.shift_imm(right, wide, dst, (bits - len) as u8);
        } else if !wide {
            self.asm.mov32(dst, dst);
        }
        self.finish(inst.dst, dst)
    }

    /// Compares; the condition to test for.
    pub(super) fn compare(
        &mut self,
        block: &Block,
        cc: Cc,
        wide: bool,
        a: Val,
        b: Val,
    ) -> Result<Cond, CompileError> {
        let swap = block.constant(a).is_some() && block.constant(b).is_none();
        let (left, right) = if swap { (b, a) } else { (a, b) };
        // Extending both changes nothing in how they compare, signed or not.
        let wide = wide && !(self.regs.is_narrow(left) && self.is_extended(block, right));
        let left = self.read_as(block, wide, left)?;
        let right = self.operand(block, wide, right)?;
        if right == Operand::Imm(0) {
            self.asm.alu(Alu::Test, wide, left, Operand::Reg(left));
        } else {
            self.asm.alu(Alu::Cmp, wide, left, right);
        }
        Ok(if swap { swapped(cc) } else { condition(cc) })
    }

    /// Whether the value is its own lower half, sign-extended, as far as that is known.
    pub(super) fn is_extended(&self, block: &Block, val: Val) -> bool {
        match block.constant(val) {
            Some(value) => i32::try_from(value as i64).is_ok(),
            None => self.regs.is_narrow(val),
        }
    }

    fn set(&mut self, block: &Block, inst: &Inst) -> Done {
        let wide = inst.ty != Ty::I32;
        let cond = self.compare(block, Cc::from_bits(inst.attr), wide, inst.a, inst.b)?;
        let dst = self.target(inst.dst, &[])?;
        self.asm.setcc(cond, dst);
        self.asm.movzx(1, dst, dst);
        self.finish(inst.dst, dst)
    }

    fn select(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let a = self.read(block, inst.a)?;
        let b = self.read(block, inst.b)?;
        let dst = self.target_over(inst.dst, inst.c, &[a, b])?;
        self.copy(block, wide, dst, inst.c);
        self.asm.alu(Alu::Test, wide, a, Operand::Reg(a));
        self.asm.cmov(Cond::NE, wide, dst, b);
        self.finish(inst.dst, dst)
    }
}

/// Whether the 32-bit form of the operation is one that [`Compiler::int`] compiles itself, from the lower halves of its
/// operands, in the register of its result.
pub(super) fn is_inline(op: Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Sub
            | Op::And
            | Op::Or
            | Op::Xor
            | Op::Shl
            | Op::Shr
            | Op::Sar
            | Op::Rotl
            | Op::Rotr
            | Op::Mul
    )
}

/// The host's condition after a comparison.
fn condition(cc: Cc) -> Cond {
    Cond(match cc {
        Cc::Eq => 0x4,
        Cc::Ne => 0x5,
        Cc::Lt => 0xc,
        Cc::Ge => 0xd,
        Cc::Ltu => 0x2,
        Cc::Geu => 0x3,
    })
}

/// The same after a comparison of `b` with `a`.
fn swapped(cc: Cc) -> Cond {
    Cond(match cc {
        Cc::Eq => 0x4,
        Cc::Ne => 0x5,
        Cc::Lt => 0xf,
        Cc::Ge => 0xe,
        Cc::Ltu => 0x7,
        Cc::Geu => 0x6,
    })
}
