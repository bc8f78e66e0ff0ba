//! Builds blocks. The builder's buffers are reused from block to block, so lifting allocates only the finished block.

use super::block::{Block, BlockKey, Inst, Mark, Terminal};
use super::op::Op;
use super::types::{AmoOp, Cc, MemAttr, Ty, Val, ValKind};

/// A block in the making.
#[derive(Default)]
pub struct BlockBuilder {
    insts: Vec<Inst>,
    consts: Vec<u64>,
    marks: Vec<Mark>,
    temps: u16,
    crosses_page: bool,
}

impl BlockBuilder {
    /// Operations that a block may hold before the lifter must end it: no single guest instruction needs more than the
    /// rest of what marks and operands can number.
    pub const MAX_INSTS: usize = 2048;

    /// How far back [`BlockBuilder::same`] and [`BlockBuilder::made_by`] look: what is kept for longer takes a register from others.
    const NEAR: usize = 24;

    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the guest instruction of `len` bytes at `offset` from the start of the block's page.
    pub fn mark(&mut self, offset: i32, len: u8) {
        let inst = self.insts.len() as u16; // MAX_INSTS bounds it
        self.marks.push(Mark { inst, len, offset });
    }

    /// Takes back the last mark and all operations since, so that the instruction can start a block of its own.
    pub fn unmark(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.insts.truncate(usize::from(mark.inst));
        }
    }

    /// Notes that the last instruction reaches into the next page.
    pub fn set_crosses_page(&mut self) {
        self.crosses_page = true;
    }

    /// Whether the block should end before the next guest instruction.
    pub fn is_full(&self) -> bool {
        self.insts.len() + 64 > Self::MAX_INSTS
    }

    /// How many guest instructions have been begun.
    pub fn marks(&self) -> usize {
        self.marks.len()
    }

    /// The operations so far.
    pub fn insts(&self) -> &[Inst] {
        &self.insts
    }

    /// The constant `value`.
    pub fn imm(&mut self, value: u64) -> Val {
        let found = self.consts.iter().position(|&c| c == value);
        let index = found.unwrap_or_else(|| {
            self.consts.push(value);
            self.consts.len() - 1
        });
        Val::constant(index as u16)
    }

    /// The value of a constant operand.
    pub fn as_imm(&self, val: Val) -> Option<u64> {
        match val.kind() {
            ValKind::Const(n) => self.consts.get(usize::from(n)).copied(),
            _ => None,
        }
    }

    /// A temporary that nothing has assigned yet.
    pub fn temp(&mut self) -> Val {
        let temp = Val::temp(self.temps);
        self.temps += 1;
        temp
    }

    /// Appends an operation as it is.
    pub fn push(&mut self, inst: Inst) {
        self.insts.push(inst);
    }

    /// Appends `dst = op(a, b, c)`; sources that the operation does not have are [`Val::NONE`].
    pub fn op(&mut self, op: Op, ty: Ty, attr: u16, dst: Val, src: [Val; 3], imm: i32) {
        let [a, b, c] = src;
        self.push(Inst { op, ty, attr, dst, a, b, c, imm });
    }

    /// `dst = op(a)`.
    pub fn un_to(&mut self, dst: Val, op: Op, ty: Ty, a: Val) {
        self.op(op, ty, 0, dst, [a, Val::NONE, Val::NONE], 0);
    }

    /// `op(a)` in a new temporary.
    pub fn un(&mut self, op: Op, ty: Ty, a: Val) -> Val {
        let dst = self.temp();
        self.un_to(dst, op, ty, a);
        dst
    }

    /// `dst = op(a, b)`.
    pub fn bin_to(&mut self, dst: Val, op: Op, ty: Ty, a: Val, b: Val) {
        self.op(op, ty, 0, dst, [a, b, Val::NONE], 0);
    }

    /// `op(a, b)` in a new temporary.
    pub fn bin(&mut self, op: Op, ty: Ty, a: Val, b: Val) -> Val {
        let dst = self.temp();
        self.bin_to(dst, op, ty, a, b);
        dst
    }

    /// `op(a, b)`, or `op(a)` if there is no `b`, in a temporary: that of the same operation shortly before, or a new one.
    /// Addresses come in pairs, for reading and for writing, and accesses that have one base share a check.
    pub fn same(&mut self, op: Op, ty: Ty, a: Val, b: Val) -> Val {
        let known = self.near().take_while(|inst| inst.dst.is_none() || inst.dst != a && inst.dst != b);
        let is_same = |inst: &&Inst| (inst.op, inst.ty, inst.a, inst.b) == (op, ty, a, b);
        let is_temp = |val: &Val| matches!(val.kind(), ValKind::Temp(_));
        let known = known.filter(is_same).map(|inst| inst.dst).find(is_temp);
        known.unwrap_or_else(|| self.bin(op, ty, a, b))
    }

    /// The operation shortly before that gave slot `val` the value that it has.
    pub fn made_by(&self, val: Val) -> Option<&Inst> {
        self.near().find(|inst| inst.dst == val)
    }

    /// The last operations, the latest first, as far as what they read and write is known: helpers may change any slot.
    fn near(&self) -> impl Iterator<Item = &Inst> {
        self.insts.iter().rev().take(Self::NEAR).take_while(|inst| inst.op != Op::Call)
    }

    /// Has the last operation only keep its first operand, in a new temporary, which is returned: what it makes is not wanted.
    ///
    /// # Panics
    /// If there is no operation.
    pub fn keep_operand_of_last(&mut self) -> Val {
        let temp = self.temp();
        let last = self.insts.last_mut().expect("there is an operation");
        *last = Inst { op: Op::Mov, ty: Ty::I64, dst: temp, ..*last };
        temp
    }

    /// `dst = 1 if a cc b, else 0`.
    pub fn set_to(&mut self, dst: Val, cc: Cc, ty: Ty, a: Val, b: Val) {
        self.op(Op::Set, ty, cc as u16, dst, [a, b, Val::NONE], 0);
    }

    /// `dst = b if a is not zero, else c`.
    pub fn select_to(&mut self, dst: Val, ty: Ty, a: Val, b: Val, c: Val) {
        self.op(Op::Select, ty, 0, dst, [a, b, c], 0);
    }

    /// `dst` = the virtual address `offset` bytes from the start of the block's page.
    pub fn pc_to(&mut self, dst: Val, offset: i32) {
        self.op(Op::Pc, Ty::None, 0, dst, [Val::NONE; 3], offset);
    }

    /// `dst` = the unit of type `ty` at `a + imm`.
    pub fn load_to(&mut self, dst: Val, ty: Ty, attr: MemAttr, a: Val, imm: i32) {
        self.op(Op::Load, ty, attr.bits(), dst, [a, Val::NONE, Val::NONE], imm);
    }

    /// Stores `b` as `ty` at `a + imm`.
    pub fn store(&mut self, ty: Ty, attr: MemAttr, a: Val, imm: i32, b: Val) {
        self.op(Op::Store, ty, attr.bits(), Val::NONE, [a, b, Val::NONE], imm);
    }

    /// `dst` = the unit at `a`, which is replaced by `amo` of it and `b`.
    pub fn amo_to(&mut self, dst: Val, amo: AmoOp, ty: Ty, attr: MemAttr, a: Val, b: Val) {
        self.op(Op::Amo, ty, attr.bits() | (amo as u16) << 8, dst, [a, b, Val::NONE], 0);
    }

    /// `dst` = what helper `id` of the front end returns for `args`; the missing ones are zero.
    pub fn call_to(&mut self, dst: Val, id: u16, args: &[Val]) {
        let zero = if args.len() < 3 { self.imm(0) } else { Val::NONE };
        let arg = |i: usize| args.get(i).copied().unwrap_or(zero);
        self.op(Op::Call, Ty::None, 0, dst, [arg(0), arg(1), arg(2)], i32::from(id));
    }

    /// What helper `id` of the front end returns, in a new temporary.
    pub fn call(&mut self, id: u16, args: &[Val]) -> Val {
        let dst = self.temp();
        self.call_to(dst, id, args);
        dst
    }

    /// Ends the block here if `a cc b`, going on at `target`.
    pub fn exit_if(&mut self, cc: Cc, ty: Ty, a: Val, b: Val, target: i32) {
        self.op(Op::ExitIf, ty, cc as u16, Val::NONE, [a, b, Val::NONE], target);
    }

    /// Raises the exception `cause` with `value` if `a cc b`.
    pub fn raise_if(&mut self, cc: Cc, ty: Ty, [a, b]: [Val; 2], cause: u32, value: Val) {
        self.op(Op::RaiseIf, ty, cc as u16, Val::NONE, [a, b, value], cause as i32);
    }

    /// Finishes the block and makes the builder empty again.
    pub fn finish(&mut self, key: BlockKey, terminal: Terminal) -> Block {
        let block = Block {
            key,
            insts: self.insts.as_slice().into(),
            consts: self.consts.as_slice().into(),
            marks: self.marks.as_slice().into(),
            temps: self.temps,
            terminal,
            crosses_page: self.crosses_page,
        };
        self.insts.clear();
        self.consts.clear();
        self.marks.clear();
        self.temps = 0;
        self.crosses_page = false;
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_the_same_until_its_operands_change() {
        let mut builder = BlockBuilder::new();
        let (x, y, z) = (Val::slot(1), Val::slot(2), Val::slot(3));
        let add = |builder: &mut BlockBuilder, a, b| builder.same(Op::Add, Ty::I64, a, b);
        builder.mark(0, 4);
        let sum = add(&mut builder, x, y);
        let wide = builder.same(Op::Sext32, Ty::None, x, Val::NONE);
        builder.store(Ty::I64, MemAttr::from_bits(0), sum, 0, z);
        assert_eq!(add(&mut builder, x, y), sum);
        assert_eq!(builder.same(Op::Sext32, Ty::None, x, Val::NONE), wide);
        assert_ne!(add(&mut builder, y, x), sum);
        builder.bin_to(z, Op::Add, Ty::I64, x, y);
        assert_eq!(add(&mut builder, x, y), sum, "a slot is no temporary");
        // What an instruction that is taken back has made is gone with it.
        builder.mark(4, 4);
        let other = add(&mut builder, x, z);
        builder.unmark();
        assert_ne!(add(&mut builder, x, z), other);
        // Operands change.
        builder.bin_to(y, Op::Add, Ty::I64, y, z);
        let next = add(&mut builder, x, y);
        assert_ne!(next, sum);
        builder.call_to(Val::NONE, 0, &[]);
        let after = add(&mut builder, x, y);
        assert_ne!(after, next, "a helper may change any slot");
        (0..BlockBuilder::NEAR).for_each(|_| builder.un_to(z, Op::Mov, Ty::I64, x));
        assert_ne!(add(&mut builder, x, y), after, "too far back");
    }
}
