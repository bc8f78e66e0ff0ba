//! Memory accesses: the hit path of the soft TLB inline, everything else by a helper.

use std::mem::offset_of;

use emu_core::ir::{Block, Class, Inst, MemAttr, Op, Ty};
use emu_core::mem::{TLB_ENTRIES, TlbEntry};

use super::asm::{Alu, Cond, Mem, Operand, Reg, Shift};
use super::{Cold, CompileError, Compiler, Done, is_vec};
use crate::frame::{self, Site};

const _: () = assert!(size_of::<TlbEntry>() == 32 && TLB_ENTRIES.is_power_of_two());
/// What a virtual address is shifted by to get the byte offset of its entry.
const ENTRY_SHIFT: u8 = 12 - 5;
const ENTRY_MASK: i32 = (TLB_ENTRIES as i32 - 1) << 5;

impl Compiler {
    pub(super) fn access(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        match inst.op {
            Op::Load if inst.ty != Ty::V128 => self.load(block, inst, number),
            Op::Store if inst.ty != Ty::V128 => self.store(block, inst, number),
            _ => self.access_by_helper(block, inst, number),
        }
    }

    fn access_by_helper(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let va = self.read(block, inst.a)?;
        if inst.imm == 0 {
            self.asm.store(frame::arg(0), va);
        } else {
            let sum = self.regs.scratch(&mut self.asm)?;
            self.asm.lea(true, sum, va, inst.imm);
            self.asm.store(frame::arg(0), sum);
            self.regs.unlock(sum);
        }
        let kinds = inst.op.info().src;
        for (n, val) in [(1, inst.b), (2, inst.c)] {
            if kinds[n].class(inst.ty).is_some() {
                let class = if is_vec(kinds[n], inst.ty) { Class::Vec } else { Class::Int };
                self.pass(block, n, class, val)?;
            }
        }
        self.site(Site::new(inst.op, inst.ty, inst.attr), Self::mark(block, number)?, None);
        self.asm.call_out(self.stubs.operation);
        self.take_result(inst.op.info().dst.class(inst.ty), inst.dst)
    }

    /// A register that holds the virtual address of an access; the base's register may be used again, unless it is
    /// `kept`.
    fn address_of(&mut self, block: &Block, inst: &Inst, kept: Option<Operand>) -> Result<Reg, CompileError> {
        let base = self.read(block, inst.a)?;
        if inst.imm == 0 {
            return Ok(base);
        }
        let va = self.regs.scratch(&mut self.asm)?;
        self.asm.lea(true, va, base, inst.imm);
        if kept != Some(Operand::Reg(base)) {
            self.regs.unlock(base);
        }
        Ok(va)
    }

    /// Looks `va` up; what to add to it is in the register that is returned. Goes to the label otherwise.
    fn translate(
        &mut self,
        inst: &Inst,
        va: Reg,
        tag: usize,
        miss: dynasmrt::DynamicLabel,
    ) -> Result<Reg, CompileError> {
        let bytes = inst.ty.bytes() as i32;
        let attr = MemAttr::from_bits(inst.attr);
        let entry = self.regs.scratch(&mut self.asm)?;
        let page = self.regs.scratch(&mut self.asm)?;
        if attr.exclusive && bytes > 1 {
            self.asm.alu(Alu::Test, false, va, Operand::Imm(bytes - 1));
            self.asm.jcc(Cond::NE, miss);
        }
        self.asm.mov(entry, va);
        self.asm.shift_imm(Shift::Shr, true, entry, ENTRY_SHIFT);
        self.asm.alu(Alu::And, false, entry, Operand::Imm(ENTRY_MASK));
        self.asm.alu(Alu::Add, true, entry, Operand::Mem(frame::tlb(attr.view as usize)));
        // The page of the last byte: an access that crosses into the next page never hits.
        self.asm.lea(true, page, va, bytes - 1);
        self.asm.alu(Alu::And, true, page, Operand::Imm(-4096));
        self.asm.alu(Alu::Cmp, true, page, Operand::Mem(Mem { base: entry, disp: tag as i32 }));
        self.asm.jcc(Cond::NE, miss);
        self.asm.load(entry, Mem { base: entry, disp: offset_of!(TlbEntry, addend) as i32 });
        self.regs.unlock(page);
        Ok(entry)
    }

    fn load(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let va = self.address_of(block, inst, None)?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        // Chosen before the paths part: what making room for it emits is for both.
        let dst = self.target(inst.dst, &[])?;
        let addend = self.translate(inst, va, offset_of!(TlbEntry, read), entry)?;
        self.asm.load_unit(inst.ty.bytes(), MemAttr::from_bits(inst.attr).signed, dst, addend, va);
        self.asm.bind(back);
        self.cold.push(Cold::Access {
            entry,
            back,
            site: Site::new(inst.op, inst.ty, inst.attr),
            mark: Self::mark(block, number)?,
            va,
            source: None,
            dst: Some(dst),
        });
        self.finish(inst.dst, dst)
    }

    fn store(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let source = match self.operand(block, true, inst.b)? {
            Operand::Mem(_) => Operand::Reg(self.read(block, inst.b)?),
            source => source,
        };
        let va = self.address_of(block, inst, Some(source))?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        let addend = self.translate(inst, va, offset_of!(TlbEntry, write), entry)?;
        self.asm.store_unit(inst.ty.bytes(), addend, va, source);
        self.asm.bind(back);
        self.cold.push(Cold::Access {
            entry,
            back,
            site: Site::new(inst.op, inst.ty, inst.attr),
            mark: Self::mark(block, number)?,
            va,
            source: Some(source),
            dst: None,
        });
        if MemAttr::from_bits(inst.attr).release {
            // A release that is followed by an acquire stays before it (Arm's RCsc).
            self.asm.mfence();
        }
        Ok(())
    }
}
