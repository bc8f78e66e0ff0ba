//! How blocks end: links, lookups, exits.

use emu_core::ir::{Block, Cc, Hint, Inst, Op, Terminal, Ty};
use emu_core::mem::{JUMP_ENTRIES, JumpEntry, jump_index};

use super::asm::{Alu, Cond, Mem, Operand, RAX, RCX, RDX, Shift};
use super::{Cold, Compiler, Done, Exit};
use crate::frame::{self, MarkAt, Site};

const _: () = assert!(size_of::<JumpEntry>() == 16 && std::mem::offset_of!(JumpEntry, code) == 8);
// What `Compiler::go` computes by shifts and masks is the index of the jump cache.
const _: () = {
    const fn scaled(pc: u64) -> usize {
        ((pc >> 2) & PAGE_BITS as u64 | (pc << 3) & UNIT_BITS as u64) as usize
    }
    let mut bit = 0;
    while bit < 64 {
        assert!(scaled(1 << bit) == jump_index(1 << bit) * size_of::<JumpEntry>());
        bit += 1;
    }
    assert!((PAGE_BITS | UNIT_BITS) as usize == (JUMP_ENTRIES - 1) * size_of::<JumpEntry>());
};
const PAGE_BITS: i32 = 0x1_fc00;
const UNIT_BITS: i32 = 0x3f0;

/// Bytes in a page.
const PAGE: i32 = 4096;

impl Compiler {
    pub(super) fn terminal(&mut self, block: &Block) -> Done {
        let len = block.len();
        match block.terminal {
            Terminal::Jump { target, call: _ } => {
                self.retire(len);
                self.go_to(target);
            }
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                self.retire(len);
                let cond = self.compare(block, cc, ty != Ty::I32, a, b)?;
                self.branch(cond, taken, fall);
            }
            Terminal::Indirect { target, hint: Hint::Jump | Hint::Call(_) | Hint::Return } => {
                let target = self.read(block, target)?;
                self.asm.mov(RAX, target);
                self.retire(len);
                self.go();
            }
            Terminal::Indirect { target, hint: Hint::Switch } => {
                let target = self.read(block, target)?;
                self.asm.mov(RAX, target);
                self.retire(len);
                self.asm.jmp_out(self.stubs.go);
            }
            Terminal::Lookup { next } => {
                self.retire(len);
                self.address(next);
                self.asm.jmp_out(self.stubs.go);
            }
            Terminal::Exception { cause, value } => {
                self.pass(block, 0, emu_core::ir::Class::Int, value)?;
                self.raise(Self::mark(block, len - 1)?, cause as i32);
            }
        }
        Ok(())
    }

    pub(super) fn exit_if(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let cond = self.compare(block, Cc::from_bits(inst.attr), inst.ty != Ty::I32, inst.a, inst.b)?;
        let entry = self.asm.label();
        self.asm.jcc(cond, entry);
        self.cold.push(Cold::SideExit { entry, target: inst.imm, retired: number + 1 });
        Ok(())
    }

    pub(super) fn raise_if(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let value = self.operand(block, true, inst.c)?;
        let cond = self.compare(block, Cc::from_bits(inst.attr), inst.ty != Ty::I32, inst.a, inst.b)?;
        let entry = self.asm.label();
        self.asm.jcc(cond, entry);
        let mark = Self::mark(block, number)?;
        self.cold.push(Cold::Raise { entry, mark, cause: inst.imm, value });
        Ok(())
    }

    /// Raises the exception whose value is in the first argument cell.
    fn raise(&mut self, mark: MarkAt, cause: i32) {
        self.site(Site::new(Op::RaiseIf, Ty::None, 0), mark, Some(cause));
        self.asm.call_out(self.stubs.operation);
    }

    /// Counts instructions.
    pub(super) fn retire(&mut self, count: usize) {
        self.asm.add_mem(frame::RETIRED, count as i32);
    }

    /// `rax` = the virtual address at `offset`.
    fn address(&mut self, offset: i32) {
        self.asm.load(RAX, frame::PAGE_BASE);
        if offset != 0 {
            self.asm.alu(Alu::Add, true, RAX, Operand::Imm(offset));
        }
    }

    fn same_page(target: i32) -> bool {
        (0..PAGE).contains(&target)
    }

    /// Whether a jump there can close a cycle, so that it must poll.
    fn polls(&self, target: i32) -> bool {
        target <= self.start
    }

    fn branch(&mut self, cond: Cond, taken: i32, fall: i32) {
        let bare = |s: &Self, target| Self::same_page(target) && !s.polls(target);
        if bare(self, taken) {
            self.link_if(cond, taken);
            self.go_to(fall);
        } else if bare(self, fall) {
            self.link_if(cond.inverted(), fall);
            self.go_to(taken);
        } else {
            let to_taken = self.asm.label();
            self.asm.jcc(cond, to_taken);
            self.go_to(fall);
            self.asm.bind(to_taken);
            self.go_to(taken);
        }
    }

    /// Goes on at an offset.
    pub(super) fn go_to(&mut self, target: i32) {
        if !Self::same_page(target) {
            self.address(target);
            return self.go();
        }
        if self.polls(target) {
            let leave = self.asm.label();
            self.asm.load(RAX, frame::ATTENTION);
            self.asm.cmp_mem32(Mem { base: RAX, disp: 0 }, 0);
            self.asm.jcc(Cond::NE, leave);
            self.cold.push(Cold::Leave { entry: leave, target });
        }
        self.asm.align_ahead(1);
        self.asm.ops_push(&[0xe9]);
        self.link(target);
    }

    fn link_if(&mut self, cond: Cond, target: i32) {
        self.asm.align_ahead(2);
        self.asm.ops_push(&[0x0f, 0x80 | cond.0]);
        self.link(target);
    }

    /// The displacement of a jump that can be patched.
    fn link(&mut self, target: i32) {
        let site = self.asm.offset() as u32;
        self.asm.ops_push(&[0; 4]);
        self.exits.push(Exit { site, cold: 0, target });
    }

    /// Goes on at the virtual address in `rax`, through the jump cache.
    fn go(&mut self) {
        self.asm.load(RCX, frame::ATTENTION);
        self.asm.cmp_mem32(Mem { base: RCX, disp: 0 }, 0);
        self.asm.jcc_out(Cond::NE, self.stubs.leave_at_rax);
        self.asm.mov(RDX, RAX);
        self.asm.alu(Alu::And, true, RDX, Operand::Imm(-PAGE));
        self.asm.store(frame::PAGE_BASE, RDX);
        self.asm.mov32(RCX, RAX);
        self.asm.shift_imm(Shift::Shr, false, RCX, 2);
        self.asm.alu(Alu::And, false, RCX, Operand::Imm(PAGE_BITS));
        self.asm.mov32(RDX, RAX);
        self.asm.shift_imm(Shift::Shl, false, RDX, 3);
        self.asm.alu(Alu::And, false, RDX, Operand::Imm(UNIT_BITS));
        self.asm.alu(Alu::Or, false, RCX, Operand::Reg(RDX));
        self.asm.alu(Alu::Add, true, RCX, Operand::Mem(frame::JUMPS));
        self.asm.alu(Alu::Cmp, true, RAX, Operand::Mem(Mem { base: RCX, disp: 0 }));
        self.asm.jcc_out(Cond::NE, self.stubs.miss);
        self.asm.jmp_mem(Mem { base: RCX, disp: 8 });
    }

    /// The code of [`Compiler::go`], as the stub at `base`.
    pub(crate) fn go_stub(&mut self, base: usize) -> Vec<u8> {
        self.asm.restart(base);
        self.go();
        self.asm.finish().unwrap_or_default()
    }

    /// Emits what stands after the body.
    pub(super) fn cold_parts(&mut self) -> Done {
        // Side exits make cold parts and links of their own, so they come first.
        let mut next = 0;
        while let Some(cold) = self.cold.get(next) {
            next += 1;
            match *cold {
                Cold::SideExit { entry, target, retired } => {
                    self.asm.bind(entry);
                    self.retire(retired);
                    self.go_to(target);
                }
                Cold::Raise { entry, mark, cause, value } => {
                    self.asm.bind(entry);
                    match value {
                        Operand::Reg(reg) => self.asm.store(frame::arg(0), reg),
                        Operand::Imm(imm) => self.asm.store_imm(frame::arg(0), imm),
                        Operand::Mem(mem) => {
                            self.asm.load(RAX, mem);
                            self.asm.store(frame::arg(0), RAX);
                        }
                    }
                    self.raise(mark, cause);
                }
                Cold::Float { entry, back, site, sources, dst } => {
                    self.asm.bind(entry);
                    self.cold_float(site, sources, dst);
                    self.asm.jmp(back);
                }
                Cold::Leave { entry, target } => {
                    self.asm.bind(entry);
                    self.asm.call_out(self.stubs.leave_at);
                    self.asm.ops_push(&target.to_le_bytes());
                }
                Cold::Access { entry, back, site, mark, va, source, dst } => {
                    self.asm.bind(entry);
                    self.asm.store(frame::arg(0), va);
                    match source {
                        Some(Operand::Reg(reg)) => self.asm.store(frame::arg(1), reg),
                        Some(Operand::Imm(imm)) => self.asm.store_imm(frame::arg(1), imm),
                        Some(Operand::Mem(_)) | None => {}
                    }
                    self.site(site, mark, None);
                    self.asm.call_out(self.stubs.operation);
                    if let Some(dst) = dst {
                        self.asm.load(dst, frame::RESULT);
                    }
                    self.asm.jmp(back);
                }
            }
        }
        for number in 0..self.exits.len() {
            let target = self.exits[number].target;
            // For targets that cannot be linked to; what follows `cold` says where to, too.
            self.asm.call_out(self.stubs.go_at);
            self.exits[number].cold = self.asm.offset() as u32;
            self.asm.call_out(self.stubs.link);
            self.asm.ops_push(&target.to_le_bytes());
            self.asm.ops_push(&self.id.to_le_bytes());
            self.asm.ops_push(&(number as u32).to_le_bytes());
        }
        Ok(())
    }
}
