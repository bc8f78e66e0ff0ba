//! How blocks end: links, lookups, exits.

use emu_core::ir::{Block, Cc, Hint, Inst, Op, Terminal, Ty};
use emu_core::mem::{JUMP_ENTRIES, JumpEntry, PAGE_BITS, PAGE_SIZE, SEGMENT_BITS, SEGMENTS, jump_index};

use super::asm::{Alu, Asm, Cond, Mem, Operand, RAX, RCX, RDX, Shift};
use super::guess::Likely;
use super::regs::AnyReg;
use super::{Cold, Compiler, Done, Exit};
use crate::frame::{self, MarkAt, PLAIN_EXIT, Site};
use crate::stubs::Stubs;

// What `Compiler::go` computes is the index of the jump cache, scaled by half of an entry's size.
const _: () = assert!(size_of::<JumpEntry>() == 16 && std::mem::offset_of!(JumpEntry, code) == 8);
const _: () = {
    let mut bit = 0;
    while bit < 64 {
        let pc = 1u64 << bit;
        assert!(((pc ^ pc >> PAGE_BITS) & INDEX_MASK as u64) as usize == jump_index(pc) * 2);
        bit += 1;
    }
};
/// Where the number of the code stands from where an exit goes that is not linked: behind a call, and the exit's target.
pub(crate) const LINK_ID: u32 = 5 + 4;
/// Bytes that stand there.
pub(crate) const COLD_LINK: u32 = LINK_ID + 8;

/// The bits that are the index, doubled.
const INDEX_MASK: i32 = (JUMP_ENTRIES as i32 - 1) * 2;

impl Compiler {
    pub(super) fn terminal(&mut self, block: &Block) -> Done {
        let len = block.len();
        if let Terminal::Branch { cc, ty, a, b, taken, fall } = block.terminal {
            self.retire(len);
            let cond = self.compare(block, cc, ty != Ty::I32, a, b)?;
            // Leaves the host's flags alone.
            self.write_all_back();
            self.branch(cond, taken, fall);
            return Ok(());
        }
        self.write_all_back();
        match block.terminal {
            Terminal::Jump { target, call: _ } => {
                self.retire(len);
                self.go_to(target);
            }
            Terminal::Branch { .. } => {}
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
        let dirty = self.list_dirty();
        self.cold.push(Cold::SideExit { entry, target: inst.imm, retired: number + 1, dirty });
        Ok(())
    }

    pub(super) fn raise_if(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let value = self.operand(block, true, inst.c)?;
        let cond = self.compare(block, Cc::from_bits(inst.attr), inst.ty != Ty::I32, inst.a, inst.b)?;
        let entry = self.asm.label();
        self.asm.jcc(cond, entry);
        let mark = Self::mark(block, number)?;
        let dirty = self.list_dirty();
        self.cold.push(Cold::Raise { entry, mark, cause: inst.imm, value, dirty });
        Ok(())
    }

    /// Raises the exception whose value is in the first argument cell.
    fn raise(&mut self, mark: MarkAt, cause: i32) {
        self.site(Site::new(Op::RaiseIf, Ty::None, 0), mark, Some(cause));
        self.asm.call_out(self.stubs.operation[0]);
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
        (0..(PAGE_SIZE as i32)).contains(&target)
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

    /// Goes on at an instruction of this page in a version of the code that shares no checks of accesses.
    pub(super) fn go_plain(&mut self, target: i32) {
        self.asm.align_ahead(1);
        self.asm.ops_push(&[0xe9]);
        self.link_to(target, true);
    }

    /// The displacement of a jump that can be patched.
    fn link(&mut self, target: i32) {
        self.link_to(target, false);
    }

    fn link_to(&mut self, target: i32, plain: bool) {
        let site = self.asm.offset() as u32;
        self.asm.ops_push(&[0; 4]);
        self.exits.push(Exit { site, cold: 0, target, plain });
    }

    /// Goes on at the virtual address in `rax`, through the jump cache.
    fn go(&mut self) {
        self.asm.load(RCX, frame::ATTENTION);
        self.asm.cmp_mem32(Mem { base: RCX, disp: 0 }, 0);
        self.asm.jcc_out(Cond::NE, self.stubs.leave_at_rax);
        self.asm.mov(RDX, RAX);
        self.asm.alu(Alu::And, true, RDX, Operand::Imm(-(PAGE_SIZE as i32)));
        self.asm.store(frame::PAGE_BASE, RDX);
        self.asm.mov32(RCX, RAX);
        self.asm.shift_imm(Shift::Shr, false, RCX, PAGE_BITS as u8);
        self.asm.alu(Alu::Xor, false, RCX, Operand::Reg(RAX));
        self.asm.alu(Alu::And, false, RCX, Operand::Imm(INDEX_MASK));
        self.asm.load(RDX, frame::JUMPS);
        self.asm.jump_entry(self.stubs.miss);
    }

    /// The code of [`Compiler::go`], as the stub at `base`.
    pub(crate) fn go_stub(&mut self, base: usize) -> Vec<u8> {
        self.asm.restart(base);
        self.go();
        self.asm.finish().unwrap_or_default()
    }

    fn cold_part(&mut self, cold: &Cold) {
        match cold.clone() {
            Cold::SideExit { entry, target, retired, dirty } => {
                self.asm.bind(entry);
                self.write_back(dirty);
                self.retire(retired);
                self.go_to(target);
            }
            Cold::Raise { entry, mark, cause, value, dirty } => {
                self.asm.bind(entry);
                self.write_back(dirty);
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
            Cold::Helper { entry, back, site, sources, dst } => {
                self.asm.bind(entry);
                self.cold_helper(site, sources, dst);
                self.asm.jmp(back);
            }
            Cold::Unboxed { entry, back, dst } => {
                self.asm.bind(entry);
                self.cold_unboxed(dst);
                self.asm.jmp(back);
            }
            Cold::Leave { entry, target } => {
                self.asm.bind(entry);
                self.asm.call_out(self.stubs.leave_at);
                self.asm.ops_push(&target.to_le_bytes());
            }
            Cold::Segment { entry, back, outside, base, addend, likely } => {
                self.asm.bind(entry);
                if likely == Likely::Low {
                    self.asm.mov(addend, base);
                    self.asm.shift_imm(Shift::Shr, true, addend, SEGMENT_BITS);
                }
                // The lowest may be another than when this was made.
                for n in (0..SEGMENTS).filter(|&n| likely != Likely::In(n)) {
                    let (number, to_add) = frame::segment(n);
                    let next = self.asm.label();
                    self.asm.alu(Alu::Cmp, true, addend, Operand::Mem(number));
                    self.asm.jcc(Cond::NE, next);
                    self.asm.load(addend, to_add);
                    self.asm.jmp(back);
                    self.asm.bind(next);
                }
                self.asm.jmp(outside);
            }
            Cold::Access { entry, back, site, mark, va, imm, fault, sources, dst, dirty, vectors } => {
                self.asm.bind(entry);
                if let Some(fault) = fault {
                    self.faults.push((fault, self.asm.offset() as u32));
                }
                self.write_back(dirty);
                self.cold_access(va, imm, sources);
                self.site(site, mark, None);
                self.asm.call_out(self.stubs.operation[usize::from(vectors)]);
                match dst {
                    Some(AnyReg::Int(dst)) => self.asm.load(dst, frame::RESULT),
                    Some(AnyReg::Vec(dst)) => self.asm.load_xmm(dst, frame::RESULT, true),
                    None => {}
                }
                self.asm.jmp(back);
            }
            Cold::Lead { entry, dirty, lead } => {
                self.asm.bind(entry);
                if let Some(fault) = lead.fault {
                    self.faults.push((fault, self.asm.offset() as u32));
                }
                self.write_back(dirty);
                self.cold_lead(&lead);
            }
        }
    }

    /// Emits what stands after the body.
    pub(super) fn cold_parts(&mut self) -> Done {
        // Side exits make cold parts and links of their own, so they come first.
        let mut next = 0;
        let mut cold = std::mem::take(&mut self.cold);
        while next < cold.len() {
            self.cold_part(&cold[next]);
            next += 1;
            cold.append(&mut self.cold);
        }
        self.cold = cold;
        self.asm.cold_links(&mut self.exits, &self.stubs, self.id);
        Ok(())
    }
}

impl Asm {
    /// Emits where the exits of the code `id` go while they are not linked, and notes where that is.
    pub(crate) fn cold_links(&mut self, exits: &mut [Exit], stubs: &Stubs, id: u32) {
        for (number, exit) in exits.iter_mut().enumerate() {
            // For targets that cannot be linked to; what follows `cold` says where to, too.
            self.call_out(stubs.go_at);
            exit.cold = self.offset() as u32;
            self.call_out(stubs.link);
            self.ops_push(&exit.target.to_le_bytes());
            debug_assert_eq!(self.offset() as u32, exit.cold + LINK_ID, "the number is elsewhere");
            self.ops_push(&id.to_le_bytes());
            let plain = if exit.plain { PLAIN_EXIT } else { 0 };
            self.ops_push(&(number as u32 | plain).to_le_bytes());
        }
    }
}
