//! Condition flags NZCV in bits 31 to 28, additions with carry, and bit fields.

use emu_core::ir::{Block, Inst, NzcvCond, Op, Ty, Val};

use super::asm::{Alu, Cond, Operand, RAX, Reg, Shift};
use super::{CompileError, Compiler, Done};

/// After `lahf` and `seto al`: where the host's flags are in `eax`.
const HOST_FLAGS: i32 = 1 << 15 | 1 << 14 | 1 << 8 | 1;
/// The product with this has sign, zero, carry and overflow, once each, in bits 31 to 28, and nothing that carries into them.
const SPREAD: i32 = 1 << 16 | 1 << 21 | 1 << 28;
const NZCV: i32 = 0xf << 28;

impl Compiler {
    /// The flags of a sum or difference.
    pub(super) fn nzcv_sum(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        self.regs.claim(&mut self.asm, RAX)?;
        let sub = inst.op == Op::NzcvSub;
        let right = self.operand(block, wide, inst.b)?;
        if sub && block.constant(inst.c).is_some_and(|carry| carry & 1 == 1) {
            let left = self.read_as(block, wide, inst.a)?;
            self.asm.alu(Alu::Cmp, wide, left, right);
        } else {
            self.sum_with_carry(block, inst, wide, RAX, right)?;
        }
        if sub {
            self.asm.cmc(); // the host's carry is a borrow
        }
        self.asm.host_flags();
        self.asm.alu(Alu::And, false, RAX, Operand::Imm(HOST_FLAGS));
        self.asm.imul(false, RAX, Operand::Imm(SPREAD));
        self.asm.alu(Alu::And, false, RAX, Operand::Imm(NZCV));
        self.finish(inst.dst, RAX)
    }

    /// `dst = a + right + c`, or `a − right − (1 − c)` for [`Op::NzcvSub`], with the host's flags.
    fn sum_with_carry(&mut self, block: &Block, inst: &Inst, wide: bool, dst: Reg, right: Operand) -> Done {
        let sub = inst.op == Op::NzcvSub;
        let carry = match block.constant(inst.c) {
            Some(carry) if !sub && carry & 1 == 0 => None,
            _ => Some(self.read_as(block, false, inst.c)?),
        };
        self.copy(block, wide, dst, inst.a);
        match carry {
            None => self.asm.alu(Alu::Add, wide, dst, right),
            Some(carry) if sub => {
                self.asm.bit_test(carry, 0);
                self.asm.cmc();
                self.asm.alu(Alu::Sbb, wide, dst, right);
            }
            Some(carry) => {
                self.asm.bit_test(carry, 0);
                self.asm.alu(Alu::Adc, wide, dst, right);
            }
        }
        Ok(())
    }

    /// The flags of a logical result.
    pub(super) fn nzcv_logic(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        const SIGN_ZERO: i32 = 1 << 15 | 1 << 14;
        self.regs.claim(&mut self.asm, RAX)?;
        let value = self.read_as(block, wide, inst.a)?;
        self.asm.alu(Alu::Test, wide, value, Operand::Reg(value));
        self.asm.host_flags();
        self.asm.alu(Alu::And, false, RAX, Operand::Imm(SIGN_ZERO));
        self.asm.shift_imm(Shift::Shl, false, RAX, 16);
        self.finish(inst.dst, RAX)
    }

    /// Whether a condition holds: 1 or 0.
    pub(super) fn nzcv_test(&mut self, block: &Block, inst: &Inst) -> Done {
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        let cond = self.nzcv_condition(block, NzcvCond::from_bits(inst.attr), inst.a, dst)?;
        self.asm.setcc(cond, dst);
        self.asm.movzx(1, dst, dst);
        self.finish(inst.dst, dst)
    }

    /// Looks at flags, with `scratch` to work in; the host's condition to test for.
    fn nzcv_condition(
        &mut self,
        block: &Block,
        cond: NzcvCond,
        flags: Val,
        scratch: Reg,
    ) -> Result<Cond, CompileError> {
        const CARRY_ZERO: i32 = 3 << 29;
        const CARRY: i32 = 1 << 29;
        use NzcvCond::{Cc, Cs, Eq, Ge, Gt, Hi, Le, Ls, Lt, Mi, Ne, Pl, Vc, Vs};
        let holds = match cond {
            Eq | Ne | Cs | Cc | Mi | Pl | Vs | Vc => {
                let bit = match cond {
                    Mi | Pl => 31,
                    Eq | Ne => 30,
                    Cs | Cc => 29,
                    _ => 28,
                };
                let flags = self.read_as(block, false, flags)?;
                self.asm.bit_test(flags, bit);
                return Ok(if matches!(cond, Eq | Cs | Mi | Vs) { Cond::B } else { Cond::AE });
            }
            Hi | Ls => {
                self.copy(block, false, scratch, flags);
                self.asm.alu(Alu::And, false, scratch, Operand::Imm(CARRY_ZERO));
                self.asm.alu(Alu::Cmp, false, scratch, Operand::Imm(CARRY));
                return Ok(if cond == Hi { Cond::EQ } else { Cond::NE });
            }
            Ge | Lt | Gt | Le => matches!(cond, Lt | Le),
        };
        // Bit 31: N unlike V, or Z if that counts.
        let flags = self.read_as(block, false, flags)?;
        let work = if scratch == flags { self.regs.scratch(&mut self.asm)? } else { scratch };
        self.asm.mov32(work, flags);
        self.asm.shift_imm(Shift::Shl, false, work, 3);
        self.asm.alu(Alu::Xor, false, work, Operand::Reg(flags));
        if matches!(cond, Gt | Le) {
            let zero: Reg = self.regs.scratch(&mut self.asm)?;
            self.asm.lea_sum(false, zero, flags, flags);
            self.asm.alu(Alu::Or, false, work, Operand::Reg(zero));
        }
        Ok(if holds { Cond::SIGN } else { Cond::SIGN.inverted() })
    }

    /// `a + b + c` with a carry `c`.
    pub(super) fn adc(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let right = self.operand(block, wide, inst.b)?;
        let carry = self.read_as(block, false, inst.c)?;
        let avoid = [carry, Self::register(right).unwrap_or(carry)];
        let dst = self.target_over(inst.dst, inst.a, &avoid)?;
        self.copy(block, wide, dst, inst.a);
        self.asm.bit_test(carry, 0);
        self.asm.alu(Alu::Adc, wide, dst, right);
        self.finish(inst.dst, dst)
    }

    /// `a` with a field replaced by the low bits of `b`.
    pub(super) fn insert_field(&mut self, block: &Block, inst: &Inst, wide: bool) -> Done {
        let bits = if inst.ty == Ty::I32 { 32 } else { 64 };
        // The verifier knows that the field fits the type, and is not empty.
        let (lsb, len) = ((inst.imm & 0xff) as u8, (inst.imm >> 8) as u8);
        if len == bits {
            return self.mov(block, &Inst { op: Op::Mov, a: inst.b, ..*inst }, wide);
        }
        let field: Reg = self.regs.scratch(&mut self.asm)?;
        self.copy(block, wide, field, inst.b);
        let dst = self.target_over(inst.dst, inst.a, &[])?;
        self.copy(block, wide, dst, inst.a);
        // The field is turned down to bit 0, where both can be cut by shifts.
        if lsb != 0 {
            self.asm.shift_imm(Shift::Ror, wide, dst, lsb);
        }
        self.asm.shift_imm(Shift::Shr, wide, dst, len);
        self.asm.shift_imm(Shift::Shl, wide, dst, len);
        self.asm.shift_imm(Shift::Shl, wide, field, bits - len);
        self.asm.shift_imm(Shift::Shr, wide, field, bits - len);
        self.asm.alu(Alu::Or, wide, dst, Operand::Reg(field));
        if lsb != 0 {
            self.asm.shift_imm(Shift::Rol, wide, dst, lsb);
        }
        self.finish(inst.dst, dst)
    }
}
