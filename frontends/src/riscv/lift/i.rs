//! RV32I and RV64I (Unpriv., "RV32I Base Integer Instruction Set" and "RV64I Base Integer Instruction Set").

use emu_core::ir::{Cc, Hint, MemAttr, Op, Terminal, Ty, Val};

use super::super::decode::insn32::args::{B, Fence, I, J, Load, Prefetch, R, S, Shift, U};
use super::super::helper::Helper;
use super::{Flow, Lifter};

/// Whether the manual's hints for return-address prediction count `x` as a link register.
const fn is_link(x: u8) -> bool {
    matches!(x, 1 | 5)
}

/// The bits of a fence's predecessor or successor set. Input and output count as reads and writes.
const fn fence_set(set: u8) -> u16 {
    let reads = set & 0b1010 != 0;
    let writes = set & 0b0101 != 0;
    reads as u16 | (writes as u16) << 1
}

impl Lifter<'_> {
    pub(super) fn lui(&mut self, a: U) {
        let imm = self.imm(a.imm);
        self.set_x(a.rd, imm);
    }

    pub(super) fn auipc(&mut self, a: U) {
        if a.rd == 0 {
            return;
        }
        // The sum may not fit the operation's immediate.
        match (self.at as i32).checked_add(a.imm) {
            Some(offset) => self.pc(a.rd, offset),
            None => {
                let (pc, imm) = (self.builder.temp(), self.imm(a.imm));
                self.builder.pc_to(pc, self.at as i32);
                self.bin(Op::Add, a.rd, pc, imm);
            }
        }
    }

    /// `rd` = the virtual address at `offset` from the start of the page.
    fn pc(&mut self, rd: u8, offset: i32) {
        if rd != 0 {
            let dst = self.x_dst(rd);
            self.builder.pc_to(dst, offset);
        }
    }

    pub(super) fn jal(&mut self, a: J) -> Terminal {
        self.pc(a.rd, self.next());
        let call = is_link(a.rd).then(|| self.next());
        Terminal::Jump { target: self.target(a.imm), call }
    }

    /// Hints as in Unpriv., "Return-address stack prediction hints encoded in the register operands of a JALR
    /// instruction"; of "pop, then push" (a coroutine switch) only the push is passed on.
    pub(super) fn jalr(&mut self, a: Load) -> Terminal {
        let rs1 = self.x(a.rs1);
        let sum = if a.imm == 0 {
            rs1
        } else {
            let imm = self.imm(a.imm);
            self.builder.bin(Op::Add, Ty::I64, rs1, imm)
        };
        let even = self.builder.imm(!1);
        let target = self.builder.bin(Op::And, Ty::I64, sum, even);
        self.pc(a.rd, self.next());
        let hint = match (is_link(a.rd), is_link(a.rs1)) {
            (true, _) => Hint::Call(self.next()),
            (false, true) => Hint::Return,
            (false, false) => Hint::Jump,
        };
        Terminal::Indirect { target, hint }
    }

    /// Ends the block. A superblock would leave it by `exit_if` when the branch goes the less likely way, as
    /// the branches between a load-reserved and its store-conditional do here.
    fn branch(&mut self, cc: Cc, a: B) -> Flow {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        let taken = self.target(a.imm);
        if self.sequence.is_some() {
            self.builder.exit_if(cc, Ty::I64, rs1, rs2, taken);
            return Flow::Next;
        }
        Flow::End(Terminal::Branch { cc, ty: Ty::I64, a: rs1, b: rs2, taken, fall: self.next() })
    }

    pub(super) fn beq(&mut self, a: B) -> Flow {
        self.branch(Cc::Eq, a)
    }

    pub(super) fn bne(&mut self, a: B) -> Flow {
        self.branch(Cc::Ne, a)
    }

    pub(super) fn blt(&mut self, a: B) -> Flow {
        self.branch(Cc::Lt, a)
    }

    pub(super) fn bge(&mut self, a: B) -> Flow {
        self.branch(Cc::Ge, a)
    }

    pub(super) fn bltu(&mut self, a: B) -> Flow {
        self.branch(Cc::Ltu, a)
    }

    pub(super) fn bgeu(&mut self, a: B) -> Flow {
        self.branch(Cc::Geu, a)
    }

    /// A load into `x0` still accesses memory.
    fn load(&mut self, ty: Ty, attr: MemAttr, a: Load) {
        let (rs1, dst) = (self.x(a.rs1), self.x_dst(a.rd));
        self.builder.load_to(dst, ty, attr, rs1, a.imm);
    }

    pub(super) fn lb(&mut self, a: Load) {
        self.load(Ty::I8, MemAttr::SIGNED, a);
    }

    pub(super) fn lh(&mut self, a: Load) {
        self.load(Ty::I16, MemAttr::SIGNED, a);
    }

    pub(super) fn lw(&mut self, a: Load) {
        self.load(Ty::I32, MemAttr::SIGNED, a);
    }

    pub(super) fn ld(&mut self, a: Load) {
        self.load(Ty::I64, MemAttr::PLAIN, a);
    }

    pub(super) fn lbu(&mut self, a: Load) {
        self.load(Ty::I8, MemAttr::PLAIN, a);
    }

    pub(super) fn lhu(&mut self, a: Load) {
        self.load(Ty::I16, MemAttr::PLAIN, a);
    }

    pub(super) fn lwu(&mut self, a: Load) {
        self.load(Ty::I32, MemAttr::PLAIN, a);
    }

    fn store(&mut self, ty: Ty, a: S) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        self.builder.store(ty, MemAttr::PLAIN, rs1, a.imm, rs2);
    }

    pub(super) fn sb(&mut self, a: S) {
        self.store(Ty::I8, a);
    }

    pub(super) fn sh(&mut self, a: S) {
        self.store(Ty::I16, a);
    }

    pub(super) fn sw(&mut self, a: S) {
        self.store(Ty::I32, a);
    }

    pub(super) fn sd(&mut self, a: S) {
        self.store(Ty::I64, a);
    }

    /// `rd = op(rs1, imm)`
    fn with_imm(&mut self, op: Op, a: I) {
        let (rs1, imm) = (self.x(a.rs1), self.imm(a.imm));
        self.bin(op, a.rd, rs1, imm);
    }

    pub(super) fn addi(&mut self, a: I) {
        self.with_imm(Op::Add, a);
    }

    pub(super) fn slti(&mut self, a: I) {
        let (rs1, imm) = (self.x(a.rs1), self.imm(a.imm));
        self.set(Cc::Lt, a.rd, rs1, imm);
    }

    pub(super) fn sltiu(&mut self, a: I) {
        let (rs1, imm) = (self.x(a.rs1), self.imm(a.imm));
        self.set(Cc::Ltu, a.rd, rs1, imm);
    }

    pub(super) fn xori(&mut self, a: I) {
        self.with_imm(Op::Xor, a);
    }

    pub(super) fn ori(&mut self, a: I) {
        self.with_imm(Op::Or, a);
    }

    pub(super) fn andi(&mut self, a: I) {
        self.with_imm(Op::And, a);
    }

    /// Prefetches do nothing here (Unpriv., "Cache-Block Prefetch Instructions": they never raise
    /// exceptions).
    pub(super) fn prefetch_i(&mut self, _: Prefetch) {}

    pub(super) fn prefetch_r(&mut self, _: Prefetch) {}

    pub(super) fn prefetch_w(&mut self, _: Prefetch) {}

    /// `rd = op(rs1, rs2)`
    pub(super) fn alu(&mut self, op: Op, a: R) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        self.bin(op, a.rd, rs1, rs2);
    }

    /// `rd = sext(op(rs1, rs2))`, in 32 bits.
    pub(super) fn aluw(&mut self, op: Op, a: R) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        self.binw(op, a.rd, rs1, rs2);
    }

    /// `rd = 1 if a cc b, else 0`
    fn set(&mut self, cc: Cc, rd: u8, a: Val, b: Val) {
        if rd != 0 {
            let dst = self.x_dst(rd);
            self.builder.set_to(dst, cc, Ty::I64, a, b);
        }
    }

    pub(super) fn add(&mut self, a: R) {
        self.alu(Op::Add, a);
    }

    pub(super) fn sub(&mut self, a: R) {
        self.alu(Op::Sub, a);
    }

    pub(super) fn sll(&mut self, a: R) {
        self.alu(Op::Shl, a);
    }

    pub(super) fn slt(&mut self, a: R) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        self.set(Cc::Lt, a.rd, rs1, rs2);
    }

    pub(super) fn sltu(&mut self, a: R) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        self.set(Cc::Ltu, a.rd, rs1, rs2);
    }

    pub(super) fn xor(&mut self, a: R) {
        self.alu(Op::Xor, a);
    }

    pub(super) fn srl(&mut self, a: R) {
        self.alu(Op::Shr, a);
    }

    pub(super) fn sra(&mut self, a: R) {
        self.alu(Op::Sar, a);
    }

    pub(super) fn or(&mut self, a: R) {
        self.alu(Op::Or, a);
    }

    pub(super) fn and(&mut self, a: R) {
        self.alu(Op::And, a);
    }

    /// `rd = op(rs1, shamt)`
    pub(super) fn shift(&mut self, op: Op, a: Shift) {
        let (rs1, shamt) = (self.x(a.rs1), self.imm(a.shamt.into()));
        self.bin(op, a.rd, rs1, shamt);
    }

    /// `rd = sext(op(rs1, shamt))`, in 32 bits.
    pub(super) fn shiftw(&mut self, op: Op, a: Shift) {
        let (rs1, shamt) = (self.x(a.rs1), self.imm(a.shamt.into()));
        self.binw(op, a.rd, rs1, shamt);
    }

    pub(super) fn slli(&mut self, a: Shift) {
        self.shift(Op::Shl, a);
    }

    pub(super) fn srli(&mut self, a: Shift) {
        self.shift(Op::Shr, a);
    }

    pub(super) fn srai(&mut self, a: Shift) {
        self.shift(Op::Sar, a);
    }

    pub(super) fn addiw(&mut self, a: I) {
        let (rs1, imm) = (self.x(a.rs1), self.imm(a.imm));
        self.binw(Op::Add, a.rd, rs1, imm);
    }

    pub(super) fn slliw(&mut self, a: Shift) {
        self.shiftw(Op::Shl, a);
    }

    pub(super) fn srliw(&mut self, a: Shift) {
        self.shiftw(Op::Shr, a);
    }

    pub(super) fn sraiw(&mut self, a: Shift) {
        self.shiftw(Op::Sar, a);
    }

    pub(super) fn addw(&mut self, a: R) {
        self.aluw(Op::Add, a);
    }

    pub(super) fn subw(&mut self, a: R) {
        self.aluw(Op::Sub, a);
    }

    pub(super) fn sllw(&mut self, a: R) {
        self.aluw(Op::Shl, a);
    }

    pub(super) fn srlw(&mut self, a: R) {
        self.aluw(Op::Shr, a);
    }

    pub(super) fn sraw(&mut self, a: R) {
        self.aluw(Op::Sar, a);
    }

    /// Reserved values of `fm`, and the fields `rs1` and `rd`, are ignored, as the manual asks.
    pub(super) fn fence(&mut self, a: Fence) {
        self.order(fence_set(a.pred), fence_set(a.succ));
    }

    /// Orders reads before reads and writes, and writes before writes.
    pub(super) fn fence_tso(&mut self) {
        self.order(0b01, 0b11);
        self.order(0b10, 0b10);
    }

    /// Orders the accesses in `before` with those in `after`: bit 0 reads, bit 1 writes.
    fn order(&mut self, before: u16, after: u16) {
        if before != 0 && after != 0 {
            let none = [Val::NONE; 3];
            self.builder.op(Op::Fence, Ty::None, before | after << 2, none[0], none, 0);
        }
    }

    pub(super) fn pause(&mut self) {
        self.call(Helper::Pause, &[]);
    }
}
