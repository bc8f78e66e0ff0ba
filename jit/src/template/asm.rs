//! The instruction forms that templates are made of: a thin layer of names over the assembler.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmError, DynasmLabelApi, VecAssembler, dynasm};

/// A general register of the host, by its number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub u8);

/// A vector register of the host, by its number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Xmm(pub u8);

/// A vector register that holds nothing from one operation to the next.
pub(crate) const XMM0: Xmm = Xmm(0);
/// The other one.
pub(crate) const XMM1: Xmm = Xmm(1);

pub(crate) const RAX: Reg = Reg(0);
pub(crate) const RCX: Reg = Reg(1);
pub(crate) const RDX: Reg = Reg(2);
pub(crate) const RSP: Reg = Reg(4);
pub(crate) const RBP: Reg = Reg(5);
pub(crate) const RSI: Reg = Reg(6);
pub(crate) const RDI: Reg = Reg(7);

/// A memory operand: base and displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem {
    pub base: Reg,
    pub disp: i32,
}

/// Where a unit of guest memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At the sum of two registers.
    Sum(Reg, Reg),
    /// At a displacement from that.
    Far(Reg, Reg, i32),
    /// At a displacement from one.
    Mem(Mem),
}

/// The second operand of most instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Reg(Reg),
    Mem(Mem),
    Imm(i32),
}

/// Two-operand arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alu {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
    Test,
}

/// Shifts and rotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Shl,
    Shr,
    Sar,
    Rol,
    Ror,
}

/// Operations of one source that read it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Lzcnt,
    Tzcnt,
    Popcnt,
    Movsx8,
    Movsx16,
}

/// A condition, by its number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cond(pub u8);

impl Cond {
    pub(crate) const EQ: Self = Self(4);
    pub(crate) const NE: Self = Self(5);
    pub(crate) const OVERFLOW: Self = Self(0);
    pub(crate) const AE: Self = Self(3);
    pub(crate) const BE: Self = Self(6);
    pub(crate) const GE: Self = Self(13);
    pub(crate) const LE: Self = Self(14);
    pub(crate) const PARITY: Self = Self(10);
    pub(crate) const A: Self = Self(7);
    pub(crate) const B: Self = Self(2);
    pub(crate) const SIGN: Self = Self(8);

    /// The condition that holds exactly when this one does not.
    pub(crate) const fn inverted(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// The prefix that makes an instruction 64 bits wide, and any prefix of that kind, for [`Asm::with_at`].
const REX_W: u8 = 8;
const REX: u8 = 0x40;

/// The assembler of one block.
pub(crate) struct Asm {
    pub ops: VecAssembler<X64Relocation>,
    /// Host address that the first byte will have.
    pub base: usize,
    /// Offsets of the displacements to places outside the code, which depend on where it is.
    outs: Vec<u32>,
}

macro_rules! x64 {
    ($asm:expr, $($code:tt)*) => { dynasm!($asm.ops ; .arch x64 ; $($code)*) };
}
pub(crate) use x64;

/// An instruction in its 32-bit or 64-bit form, with a memory or register source.
macro_rules! by_size {
    ($asm:expr, $wide:expr, $op:ident, $dst:expr, $src:expr) => {
        match ($src, $wide) {
            (Operand::Reg(s), true) => x64!($asm, $op Rq($dst.0), Rq(s.0)),
            (Operand::Reg(s), false) => x64!($asm, $op Rd($dst.0), Rd(s.0)),
            (Operand::Mem(m), true) => x64!($asm, $op Rq($dst.0), QWORD [Rq(m.base.0) + m.disp]),
            (Operand::Mem(m), false) => x64!($asm, $op Rd($dst.0), DWORD [Rq(m.base.0) + m.disp]),
            // Forms with an immediate are not made here.
            (Operand::Imm(_), _) => {}
        }
    };
}

/// Two-operand arithmetic on registers, or with a source in memory.
fn alu_opcode(op: Alu) -> u8 {
    match op {
        Alu::Add => 0x03,
        Alu::Or => 0x0b,
        Alu::Adc => 0x13,
        Alu::Sbb => 0x1b,
        Alu::And => 0x23,
        Alu::Sub => 0x2b,
        Alu::Xor => 0x33,
        Alu::Cmp => 0x3b,
        Alu::Test => 0x85,
    }
}

macro_rules! shift_form {
    ($asm:expr, $wide:expr, $op:ident, $dst:expr, $($amount:tt)*) => {
        if $wide { x64!($asm, $op Rq($dst.0), $($amount)*) } else { x64!($asm, $op Rd($dst.0), $($amount)*) }
    };
}

impl Asm {
    pub(crate) fn new() -> Self {
        Self { ops: VecAssembler::new_with_capacity(0, 4096, 0, 0, 64, 0, 64), base: 0, outs: Vec::new() }
    }

    /// Makes it ready for a block at host address `base`.
    pub(crate) fn restart(&mut self, base: usize) {
        let _ = self.ops.drain().map(drop);
        self.base = base;
        self.outs.clear();
    }

    /// The finished code.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, DynasmError> {
        // Leaves the buffer its capacity.
        Ok(self.ops.drain()?.collect())
    }

    /// Offsets of the displacements in it that depend on where it is.
    pub(crate) fn take_outs(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.outs)
    }

    /// Bytes as they are.
    pub(crate) fn ops_push(&mut self, bytes: &[u8]) {
        self.ops.extend(bytes);
    }

    pub(crate) fn offset(&self) -> usize {
        self.ops.offset().0
    }

    pub(crate) fn label(&mut self) -> DynamicLabel {
        self.ops.new_dynamic_label()
    }

    pub(crate) fn bind(&mut self, label: DynamicLabel) {
        self.ops.dynamic_label(label);
    }

    pub(crate) fn jmp(&mut self, label: DynamicLabel) {
        x64!(self, jmp =>label);
    }

    /// Pads so that the byte `ahead` bytes from here is aligned to 4.
    pub(crate) fn align_ahead(&mut self, ahead: usize) {
        match (self.offset() + ahead) % 4 {
            1 => self.ops.extend([0x0f, 0x1f, 0x00]),
            2 => self.ops.extend([0x66, 0x90]),
            3 => self.ops.push(0x90),
            _ => {}
        }
    }

    /// A call of, or jump to, code outside the block.
    pub(crate) fn call_out(&mut self, target: usize) {
        self.ops.push(0xe8);
        self.rel32(target);
    }

    pub(crate) fn jmp_out(&mut self, target: usize) {
        self.ops.push(0xe9);
        self.rel32(target);
    }

    pub(crate) fn jcc_out(&mut self, cond: Cond, target: usize) {
        self.ops.extend([0x0f, 0x80 | cond.0]);
        self.rel32(target);
    }

    /// All code lies in one region of less than 2 GiB, so the difference fits.
    pub(crate) fn rel32(&mut self, target: usize) {
        self.outs.push(self.offset() as u32);
        let next = self.base + self.offset() + 4;
        self.ops.push_i32(target.wrapping_sub(next) as i32);
    }

    pub(crate) fn jcc(&mut self, cond: Cond, label: DynamicLabel) {
        match cond.0 {
            0x0 => x64!(self, jo =>label),
            0x2 => x64!(self, jb =>label),
            0x3 => x64!(self, jae =>label),
            0x4 => x64!(self, je =>label),
            0x5 => x64!(self, jne =>label),
            0x6 => x64!(self, jbe =>label),
            0x7 => x64!(self, ja =>label),
            0x8 => x64!(self, js =>label),
            0xa => x64!(self, jp =>label),
            0xb => x64!(self, jnp =>label),
            0xc => x64!(self, jl =>label),
            0xd => x64!(self, jge =>label),
            0xe => x64!(self, jle =>label),
            _ => x64!(self, jg =>label),
        }
    }

    pub(crate) fn setcc(&mut self, cond: Cond, dst: Reg) {
        // REX makes every register's low byte addressable.
        let rex = 0x40 | dst.0 >> 3;
        self.ops.extend([rex, 0x0f, 0x90 | cond.0, 0xc0 | dst.0 & 7]);
    }

    pub(crate) fn cmov(&mut self, cond: Cond, wide: bool, dst: Reg, src: Reg) {
        let rex = 0x40 | u8::from(wide) << 3 | (dst.0 >> 3) << 2 | src.0 >> 3;
        self.ops.extend([rex, 0x0f, 0x40 | cond.0, 0xc0 | (dst.0 & 7) << 3 | src.0 & 7]);
    }

    pub(crate) fn mov(&mut self, dst: Reg, src: Reg) {
        if dst != src {
            self.with_reg(true, 0x8b, dst.0, src);
        }
    }

    /// Low half, zero-extended.
    pub(crate) fn mov32(&mut self, dst: Reg, src: Reg) {
        self.with_reg(false, 0x8b, dst.0, src);
    }

    pub(crate) fn mov_imm(&mut self, dst: Reg, value: u64) {
        if value == 0 {
            x64!(self, xor Rd(dst.0), Rd(dst.0));
        } else if let Ok(value) = u32::try_from(value) {
            x64!(self, mov Rd(dst.0), DWORD value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            x64!(self, mov Rq(dst.0), DWORD value);
        } else {
            x64!(self, mov Rq(dst.0), QWORD value as i64);
        }
    }

    /// As [`Asm::mov_imm`], leaving the host's flags alone.
    pub(crate) fn mov_imm_keep_flags(&mut self, dst: Reg, value: u64) {
        if value == 0 {
            x64!(self, mov Rd(dst.0), DWORD 0);
        } else {
            self.mov_imm(dst, value);
        }
    }

    /// Reads 64 bits.
    pub(crate) fn load(&mut self, dst: Reg, at: Mem) {
        self.with_mem(true, 0x8b, dst.0, at);
    }

    /// Reads 32 bits, zero-extended.
    pub(crate) fn load32(&mut self, dst: Reg, at: Mem) {
        self.with_mem(false, 0x8b, dst.0, at);
    }

    /// Compares 32 bits in memory with a small number.
    pub(crate) fn cmp_mem32(&mut self, at: Mem, value: i8) {
        self.with_mem(false, 0x83, 7, at);
        self.ops.push(value as u8);
    }

    /// Goes where the entry of the jump cache at `rdx + 8·rcx` says, if it is the one for `rax`; else to `miss`.
    pub(crate) fn jump_entry(&mut self, miss: usize) {
        x64!(self, cmp rax, [rdx + 8 * rcx]);
        self.jcc_out(Cond::NE, miss);
        x64!(self, jmp QWORD [rdx + 8 * rcx + 8]);
    }

    /// Writes 64 bits.
    pub(crate) fn store(&mut self, at: Mem, src: Reg) {
        self.with_mem(true, 0x89, src.0, at);
    }

    /// Writes 64 bits, sign-extended from 32.
    pub(crate) fn store_imm(&mut self, at: Mem, value: i32) {
        self.with_mem(true, 0xc7, 0, at);
        self.ops.push_i32(value);
    }

    /// Adds to 64 bits, sign-extended from 32.
    pub(crate) fn add_to(&mut self, at: Mem, value: i32) {
        self.with_mem(true, 0x81, 0, at);
        self.ops.push_i32(value);
    }

    /// Writes 32 bits.
    pub(crate) fn store_imm32(&mut self, at: Mem, value: i32) {
        self.with_mem(false, 0xc7, 0, at);
        self.ops.push_i32(value);
    }

    pub(crate) fn lea(&mut self, wide: bool, dst: Reg, base: Reg, disp: i32) {
        self.with_mem(wide, 0x8d, dst.0, Mem { base, disp });
    }

    /// The address of something near the code.
    pub(crate) fn lea_at(&mut self, dst: Reg, target: usize) {
        self.ops.extend([0x48 | dst.0 >> 3 << 2, 0x8d, 0x05 | (dst.0 & 7) << 3]);
        self.rel32(target);
    }

    pub(crate) fn lea_sum(&mut self, wide: bool, dst: Reg, a: Reg, b: Reg) {
        self.with_at(None, if wide { REX_W } else { 0 }, &[0x8d], dst.0, At::Sum(a, b));
    }

    pub(crate) fn alu(&mut self, op: Alu, wide: bool, dst: Reg, src: Operand) {
        if let Operand::Imm(imm) = src {
            return match op {
                Alu::Add => self.group1(0, wide, dst, imm),
                Alu::Or => self.group1(1, wide, dst, imm),
                Alu::Adc => self.group1(2, wide, dst, imm),
                Alu::Sbb => self.group1(3, wide, dst, imm),
                Alu::And => self.group1(4, wide, dst, imm),
                Alu::Sub => self.group1(5, wide, dst, imm),
                Alu::Xor => self.group1(6, wide, dst, imm),
                Alu::Cmp => self.group1(7, wide, dst, imm),
                Alu::Test if wide => x64!(self, test Rq(dst.0), DWORD imm),
                Alu::Test => x64!(self, test Rd(dst.0), DWORD imm),
            };
        }
        match src {
            Operand::Reg(src) => self.with_reg(wide, alu_opcode(op), dst.0, src),
            Operand::Mem(mem) => self.with_mem(wide, alu_opcode(op), dst.0, mem),
            Operand::Imm(_) => {}
        }
    }

    /// An instruction with two register operands, in its shortest encoding.
    fn with_reg(&mut self, wide: bool, opcode: u8, reg: u8, rm: Reg) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | rm.0 >> 3;
        if rex != 0x40 {
            self.ops.push(rex);
        }
        self.ops.extend([opcode, 0xc0 | (reg & 7) << 3 | rm.0 & 7]);
    }

    /// Arithmetic with an immediate: the instructions of opcode group 1.
    fn group1(&mut self, number: u8, wide: bool, dst: Reg, imm: i32) {
        let rex = 0x40 | u8::from(wide) << 3 | dst.0 >> 3;
        let modrm = 0xc0 | number << 3 | dst.0 & 7;
        if rex != 0x40 {
            self.ops.push(rex);
        }
        match i8::try_from(imm) {
            Ok(imm) => self.ops.extend([0x83, modrm, imm as u8]),
            Err(_) => {
                self.ops.extend([0x81, modrm]);
                self.ops.push_i32(imm);
            }
        }
    }

    /// An instruction with a memory operand, in its shortest encoding; `reg` is the other operand or part of the opcode.
    fn with_mem(&mut self, wide: bool, opcode: u8, reg: u8, mem: Mem) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | mem.base.0 >> 3;
        if rex != 0x40 {
            self.ops.push(rex);
        }
        self.modrm(opcode, reg, mem);
    }

    /// An opcode with a memory operand, behind its prefixes.
    fn modrm(&mut self, opcode: u8, reg: u8, mem: Mem) {
        let (short, base) = (i8::try_from(mem.disp), mem.base.0 & 7);
        self.ops.extend([opcode, if short.is_ok() { 0x40 } else { 0x80 } | (reg & 7) << 3 | base]);
        if base == RSP.0 {
            self.ops.push(0x24);
        }
        match short {
            Ok(disp) => self.ops.push(disp as u8),
            Err(_) => self.ops.push_i32(mem.disp),
        }
    }

    /// Adds to 64 bits in memory.
    pub(crate) fn add_mem(&mut self, at: Mem, value: i32) {
        match i8::try_from(value) {
            Ok(value) => {
                self.with_mem(true, 0x83, 0, at);
                self.ops.push(value as u8);
            }
            Err(_) => {
                self.with_mem(true, 0x81, 0, at);
                self.ops.push_i32(value);
            }
        }
    }

    /// Sets bits of a byte in memory.
    pub(crate) fn or_mem8(&mut self, at: Mem, bits: u8) {
        self.with_mem(false, 0x80, 1, at);
        self.ops.push(bits);
    }

    /// The carry flag inverted.
    pub(crate) fn cmc(&mut self) {
        x64!(self, cmc);
    }

    /// `eax`: the sign, zero and carry flags in bits 15, 14 and 8, overflow in bit 0, and other things elsewhere.
    pub(crate) fn host_flags(&mut self) {
        x64!(self, lahf; seto al);
    }

    /// The carry flag: bit `bit` of the lower half of `reg`.
    pub(crate) fn bit_test(&mut self, reg: Reg, bit: u8) {
        x64!(self, bt Rd(reg.0), BYTE bit as i8);
    }

    /// `dst = dst · src`
    pub(crate) fn imul(&mut self, wide: bool, dst: Reg, src: Operand) {
        match (src, wide) {
            (Operand::Imm(imm), true) => x64!(self, imul Rq(dst.0), Rq(dst.0), DWORD imm),
            (Operand::Imm(imm), false) => x64!(self, imul Rd(dst.0), Rd(dst.0), DWORD imm),
            _ => by_size!(self, wide, imul, dst, src),
        }
    }

    /// `rdx:rax = rax · src`
    pub(crate) fn mul(&mut self, signed: bool, src: Reg) {
        if signed {
            x64!(self, imul Rq(src.0));
        } else {
            x64!(self, mul Rq(src.0));
        }
    }

    /// `rax, rdx = rdx:rax / src`, after extending `rax`.
    pub(crate) fn div(&mut self, signed: bool, wide: bool, src: Reg) {
        match (signed, wide) {
            (true, true) => x64!(self, cqo; idiv Rq(src.0)),
            (true, false) => x64!(self, cdq; idiv Rd(src.0)),
            (false, true) => x64!(self, xor edx, edx; div Rq(src.0)),
            (false, false) => x64!(self, xor edx, edx; div Rd(src.0)),
        }
    }

    pub(crate) fn not(&mut self, wide: bool, dst: Reg) {
        if wide { x64!(self, not Rq(dst.0)) } else { x64!(self, not Rd(dst.0)) }
    }

    pub(crate) fn neg(&mut self, wide: bool, dst: Reg) {
        if wide { x64!(self, neg Rq(dst.0)) } else { x64!(self, neg Rd(dst.0)) }
    }

    pub(crate) fn bswap(&mut self, wide: bool, dst: Reg) {
        if wide { x64!(self, bswap Rq(dst.0)) } else { x64!(self, bswap Rd(dst.0)) }
    }

    pub(crate) fn shift_imm(&mut self, op: Shift, wide: bool, dst: Reg, by: u8) {
        let number = match op {
            Shift::Rol => 0,
            Shift::Ror => 1,
            Shift::Shl => 4,
            Shift::Shr => 5,
            Shift::Sar => 7,
        };
        self.with_reg(wide, 0xc1, number, dst);
        self.ops.push(by);
    }

    /// By `cl`.
    pub(crate) fn shift_cl(&mut self, op: Shift, wide: bool, dst: Reg) {
        match op {
            Shift::Shl => shift_form!(self, wide, shl, dst, cl),
            Shift::Shr => shift_form!(self, wide, shr, dst, cl),
            Shift::Sar => shift_form!(self, wide, sar, dst, cl),
            Shift::Rol => shift_form!(self, wide, rol, dst, cl),
            Shift::Ror => shift_form!(self, wide, ror, dst, cl),
        }
    }

    /// `dst = src` shifted by a register (BMI2; not for rotations).
    pub(crate) fn shift_reg(&mut self, op: Shift, wide: bool, dst: Reg, src: Reg, by: Reg) {
        match (op, wide) {
            (Shift::Shl, true) => x64!(self, shlx Rq(dst.0), Rq(src.0), Rq(by.0)),
            (Shift::Shl, false) => x64!(self, shlx Rd(dst.0), Rd(src.0), Rd(by.0)),
            (Shift::Shr, true) => x64!(self, shrx Rq(dst.0), Rq(src.0), Rq(by.0)),
            (Shift::Shr, false) => x64!(self, shrx Rd(dst.0), Rd(src.0), Rd(by.0)),
            (_, true) => x64!(self, sarx Rq(dst.0), Rq(src.0), Rq(by.0)),
            (_, false) => x64!(self, sarx Rd(dst.0), Rd(src.0), Rd(by.0)),
        }
    }

    pub(crate) fn unary(&mut self, op: Unary, wide: bool, dst: Reg, src: Reg) {
        let reg = Operand::Reg(src);
        match op {
            Unary::Lzcnt => by_size!(self, wide, lzcnt, dst, reg),
            Unary::Tzcnt => by_size!(self, wide, tzcnt, dst, reg),
            Unary::Popcnt => by_size!(self, wide, popcnt, dst, reg),
            Unary::Movsx8 if wide => x64!(self, movsx Rq(dst.0), Rb(src.0)),
            Unary::Movsx8 => x64!(self, movsx Rd(dst.0), Rb(src.0)),
            Unary::Movsx16 if wide => x64!(self, movsx Rq(dst.0), Rw(src.0)),
            Unary::Movsx16 => x64!(self, movsx Rd(dst.0), Rw(src.0)),
        }
    }

    pub(crate) fn movsxd(&mut self, dst: Reg, src: Reg) {
        x64!(self, movsxd Rq(dst.0), Rd(src.0));
    }

    pub(crate) fn movzx(&mut self, bytes: usize, dst: Reg, src: Reg) {
        if bytes == 1 {
            x64!(self, movzx Rd(dst.0), Rb(src.0));
        } else {
            x64!(self, movzx Rd(dst.0), Rw(src.0));
        }
    }

    /// An instruction with an operand in guest memory: its mandatory prefix, opcode, and other operand.
    fn with_at(&mut self, prefix: Option<u8>, rex: u8, opcode: &[u8], reg: u8, at: At) {
        let (base, index, disp) = match at {
            // Some registers cannot be a base without a displacement.
            At::Sum(a, b) if a.0 & 7 == RBP.0 => (b, Some(a), 0),
            At::Sum(a, b) => (a, Some(b), 0),
            At::Far(a, b, disp) => (a, Some(b), disp),
            At::Mem(m) => (m.base, None, m.disp),
        };
        let x = index.map_or(0, |index| index.0 >> 3);
        let rex = rex | (reg >> 3) << 2 | x << 1 | base.0 >> 3;
        self.ops.extend(prefix);
        if rex != 0 {
            self.ops.push(0x40 | rex & 0x0f);
        }
        self.ops.extend(opcode);
        let (mode, wide) = match i8::try_from(disp) {
            Ok(0) if base.0 & 7 != RBP.0 => (0x00, false),
            Ok(_) => (0x40, false),
            Err(_) => (0x80, true),
        };
        let reg = (reg & 7) << 3;
        match index {
            Some(index) => self.ops.extend([mode | reg | 4, (index.0 & 7) << 3 | base.0 & 7]),
            None if base.0 & 7 == RSP.0 => self.ops.extend([mode | reg | 4, 0x24]),
            None => self.ops.push(mode | reg | base.0 & 7),
        }
        match (mode, wide) {
            (0, _) => {}
            (_, false) => self.ops.push(disp as u8),
            (_, true) => self.ops.push_i32(disp),
        }
    }

    /// Reads a unit of guest memory, extended to 64 bits.
    pub(crate) fn load_unit(&mut self, bytes: usize, signed: bool, dst: Reg, at: At) {
        let (rex, opcode): (u8, &[u8]) = match (bytes, signed) {
            (1, false) => (0, &[0x0f, 0xb6]),
            (1, true) => (REX_W, &[0x0f, 0xbe]),
            (2, false) => (0, &[0x0f, 0xb7]),
            (2, true) => (REX_W, &[0x0f, 0xbf]),
            (4, false) => (0, &[0x8b]),
            (4, true) => (REX_W, &[0x63]),
            _ => (REX_W, &[0x8b]),
        };
        self.with_at(None, rex, opcode, dst.0, at);
    }

    /// Writes a unit of guest memory.
    pub(crate) fn store_unit(&mut self, bytes: usize, at: At, src: Operand) {
        let prefix = if bytes == 2 { Some(0x66) } else { None };
        let rex = if bytes == 8 { REX_W } else { 0 };
        match src {
            // Any REX prefix makes every register's low byte addressable.
            Operand::Reg(s) if bytes == 1 && s.0 >= 4 => self.with_at(None, REX, &[0x88], s.0, at),
            Operand::Reg(s) => {
                self.with_at(prefix, rex, &[if bytes == 1 { 0x88 } else { 0x89 }], s.0, at);
            }
            Operand::Imm(imm) => {
                self.with_at(prefix, rex, &[if bytes == 1 { 0xc6 } else { 0xc7 }], 0, at);
                match bytes {
                    1 => self.ops.push(imm as u8),
                    2 => self.ops.extend((imm as u16).to_le_bytes()),
                    _ => self.ops.push_i32(imm),
                }
            }
            Operand::Mem(_) => {}
        }
    }

    /// Reads a unit of guest memory into a vector register, zero-extended.
    pub(crate) fn load_unit_xmm(&mut self, bytes: usize, dst: Xmm, at: At) {
        match bytes {
            4 => self.with_at(Some(0x66), 0, &[0x0f, 0x6e], dst.0, at),
            8 => self.with_at(Some(0xf3), 0, &[0x0f, 0x7e], dst.0, at),
            _ => self.with_at(None, 0, &[0x0f, 0x10], dst.0, at),
        }
    }

    /// Writes a unit of guest memory from the low bits of a vector register.
    pub(crate) fn store_unit_xmm(&mut self, bytes: usize, at: At, src: Xmm) {
        match bytes {
            2 => {
                self.with_at(Some(0x66), 0, &[0x0f, 0x3a, 0x15], src.0, at);
                self.ops.push(0);
            }
            4 => self.with_at(Some(0x66), 0, &[0x0f, 0x7e], src.0, at),
            8 => self.with_at(Some(0x66), 0, &[0x0f, 0xd6], src.0, at),
            _ => self.with_at(None, 0, &[0x0f, 0x11], src.0, at),
        }
    }

    /// Reads a vector, or 64 bits, zero-extended.
    pub(crate) fn load_xmm(&mut self, dst: Xmm, from: Mem, vector: bool) {
        self.load_unit_xmm(if vector { 16 } else { 8 }, dst, At::Mem(from));
    }

    /// Writes a vector, or 64 bits.
    pub(crate) fn store_xmm(&mut self, to: Mem, src: Xmm, vector: bool) {
        self.store_unit_xmm(if vector { 16 } else { 8 }, At::Mem(to), src);
    }

    /// Copies all of a vector register.
    pub(crate) fn mov_xmm(&mut self, dst: Xmm, src: Xmm) {
        if dst != src {
            x64!(self, movaps Rx(dst.0), Rx(src.0));
        }
    }

    /// Replaces the unit by the register's value; the register gets the old one, the rest of it stays. Atomic.
    pub(crate) fn xchg(&mut self, bytes: usize, at: Mem, reg: Reg) {
        let m = at;
        match bytes {
            1 => x64!(self, xchg[Rq(m.base.0) + m.disp], Rb(reg.0)),
            2 => x64!(self, xchg[Rq(m.base.0) + m.disp], Rw(reg.0)),
            4 => x64!(self, xchg[Rq(m.base.0) + m.disp], Rd(reg.0)),
            _ => x64!(self, xchg[Rq(m.base.0) + m.disp], Rq(reg.0)),
        }
    }

    /// Adds the register to the unit; the register gets the old value. Atomic.
    pub(crate) fn lock_xadd(&mut self, bytes: usize, at: Mem, reg: Reg) {
        let m = at;
        match bytes {
            1 => x64!(self, lock xadd [Rq(m.base.0) + m.disp], Rb(reg.0)),
            2 => x64!(self, lock xadd [Rq(m.base.0) + m.disp], Rw(reg.0)),
            4 => x64!(self, lock xadd [Rq(m.base.0) + m.disp], Rd(reg.0)),
            _ => x64!(self, lock xadd [Rq(m.base.0) + m.disp], Rq(reg.0)),
        }
    }

    /// Replaces the unit by the register's value if it equals `rax`; `rax` gets the old value. Atomic.
    pub(crate) fn lock_cmpxchg(&mut self, bytes: usize, at: Mem, reg: Reg) {
        let m = at;
        match bytes {
            1 => x64!(self, lock cmpxchg [Rq(m.base.0) + m.disp], Rb(reg.0)),
            2 => x64!(self, lock cmpxchg [Rq(m.base.0) + m.disp], Rw(reg.0)),
            4 => x64!(self, lock cmpxchg [Rq(m.base.0) + m.disp], Rd(reg.0)),
            _ => x64!(self, lock cmpxchg [Rq(m.base.0) + m.disp], Rq(reg.0)),
        }
    }

    /// `op` of the unit and the register, atomic, for its effect alone.
    pub(crate) fn lock_alu(&mut self, op: Alu, bytes: usize, at: Mem, reg: Reg) {
        let opcode = alu_opcode(op) & !2; // memory is the destination
        self.ops.push(0xf0);
        if bytes == 2 {
            self.ops.push(0x66);
        }
        if bytes == 1 {
            // REX makes every register's low byte addressable.
            let rex = 0x40 | (reg.0 >> 3) << 2 | at.base.0 >> 3;
            self.ops.push(rex);
            return self.modrm(opcode & !1, reg.0, at);
        }
        self.with_mem(bytes == 8, opcode, reg.0, at);
    }

    /// Orders all accesses before with all after. An atomic operation does, and costs less than `mfence`.
    pub(crate) fn full_fence(&mut self) {
        let at = crate::frame::RESULT;
        x64!(self, lock or DWORD [Rq(at.base.0) + at.disp], BYTE 0);
    }

    /// 64 bits from a general register, zero-extended.
    pub(crate) fn movd_to_xmm(&mut self, dst: Xmm, src: Reg) {
        x64!(self, movq Rx(dst.0), Rq(src.0));
    }

    /// The low 64 bits of a vector register.
    pub(crate) fn movq_from_xmm(&mut self, dst: Reg, src: Xmm) {
        x64!(self, movq Rq(dst.0), Rx(src.0));
    }

    /// Fills `len` bytes from the address in `base` with zeros.
    pub(crate) fn zero_block(&mut self, base: Reg, len: i32) {
        x64!(self, xorps xmm0, xmm0);
        for at in (0..len).step_by(16) {
            x64!(self, movups[Rq(base.0) + at], xmm0);
        }
    }

    /// Clears all but the low 32 bits of a vector register.
    pub(crate) fn zero_above_32(&mut self, reg: Xmm) {
        // The register itself, with lanes 1 to 3 replaced by zero.
        x64!(self, insertps Rx(reg.0), Rx(reg.0), 0x0e);
    }

    /// Extends the low bytes of a register to all of it.
    pub(crate) fn extend(&mut self, bytes: usize, signed: bool, reg: Reg) {
        match (bytes, signed) {
            (1, true) => x64!(self, movsx Rq(reg.0), Rb(reg.0)),
            (2, true) => x64!(self, movsx Rq(reg.0), Rw(reg.0)),
            (4, true) => self.movsxd(reg, reg),
            (1 | 2, false) => self.movzx(bytes, reg, reg),
            (4, false) => self.mov32(reg, reg),
            _ => {}
        }
    }

    /// Compares the low bytes of two registers.
    pub(crate) fn cmp_unit(&mut self, bytes: usize, a: Reg, b: Reg) {
        match bytes {
            1 => x64!(self, cmp Rb(a.0), Rb(b.0)),
            2 => x64!(self, cmp Rw(a.0), Rw(b.0)),
            _ => self.alu(Alu::Cmp, bytes == 8, a, Operand::Reg(b)),
        }
    }
}
