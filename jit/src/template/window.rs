//! Accesses through the window of the address space ([`emu_core::mem::Windows`]): a comparison and one instruction, which faults
//! where nothing is mapped.

use dynasmrt::DynamicLabel;
use emu_core::ir::{Block, Inst, MemAttr, View};
use emu_core::mem::{GUARD, SEGMENT_BITS};

use super::asm::{Alu, At, Cond, Operand, Reg, Shift};
use super::guess::Likely;
use super::mem::{Slow, Source};
use super::merge::Role;
use super::regs::AnyReg;
use super::{Cold, CompileError, Compiler, Done};
use crate::frame;

/// An access through the window.
struct Through {
    /// Where the unit is.
    at: At,
    /// The address that its slow path begins with: the sum of a register and a constant.
    by: Reg,
    imm: i32,
    /// That is a host address; it has been checked.
    host: bool,
    /// It is its check that the fault of the access belongs to.
    leads: bool,
}

impl Compiler {
    /// Whether the access goes through the window.
    pub(super) fn through_window(&self, inst: &Inst) -> bool {
        let attr = MemAttr::from_bits(inst.attr);
        self.windowed && attr.view == View::Current && !attr.exclusive
    }

    /// `addend` = what to add to `base` to get a host address in the window, if that is where the operation `at` goes.
    pub(super) fn check_window(
        &mut self,
        block: &Block,
        at: usize,
        base: Reg,
        addend: Reg,
        outside: DynamicLabel,
    ) {
        let likely =
            self.guess.as_ref().map_or(Likely::In(0), |guess| guess.of(block, block.insts[at].a, at));
        let (number, to_add) = frame::segment(likely.segment());
        let (entry, back) = (self.asm.label(), self.asm.label());
        if likely == Likely::Low {
            self.asm.alu(Alu::Cmp, true, base, Operand::Mem(frame::LOW));
            self.asm.jcc(Cond::AE, entry);
        } else {
            self.asm.mov(addend, base);
            self.asm.shift_imm(Shift::Shr, true, addend, SEGMENT_BITS);
            self.asm.alu(Alu::Cmp, true, addend, Operand::Mem(number));
            self.asm.jcc(Cond::NE, entry);
        }
        self.asm.load(addend, to_add);
        self.asm.bind(back);
        self.cold.push(Cold::Segment { entry, back, outside, base, addend, likely });
    }

    /// Where the unit of an access through the window will be, and how its slow path finds it. Nothing is checked yet.
    fn window_place(
        &mut self,
        block: &Block,
        inst: &Inst,
        at: usize,
        number: usize,
        kept: Option<AnyReg>,
    ) -> Result<Through, CompileError> {
        let leads = matches!(self.groups.role(at), Some(Role::Leader { .. }));
        if let Some(At::Mem(mem)) = self.covered(block, inst, at, number)? {
            return Ok(Through { at: At::Mem(mem), by: mem.base, imm: mem.disp, host: true, leads });
        }
        let (by, imm) = if u64::from(inst.imm.unsigned_abs()) <= GUARD {
            (self.read(block, inst.a)?, inst.imm)
        } else {
            (self.address_of(block, inst, kept)?, 0)
        };
        let window = self.regs.scratch(&mut self.asm)?;
        Ok(Through { at: At::Far(by, window, imm), by, imm, host: false, leads: false })
    }

    /// Emits the check of an access through the window, if it needs one; the access is to follow at once. What its slow path
    /// is given, if it has one of its own.
    fn through(
        &mut self,
        block: &Block,
        at: usize,
        place: &Through,
        sources: [Option<Source>; 2],
        dst: Option<AnyReg>,
    ) -> Option<Slow> {
        if place.leads {
            // What others would find by the host address, they must find by one that is good for something.
            let fault = Some(self.asm.offset() as u32);
            if let Some(Cold::Lead { lead, .. }) = self.cold.last_mut() {
                lead.fault = fault;
            }
            return None;
        }
        let entry = self.asm.label();
        if let At::Far(base, window, _) = place.at {
            self.check_window(block, at, base, window, entry);
        }
        let dirty = self.list_dirty();
        let fault = Some(self.asm.offset() as u32);
        Some(Slow { entry, va: place.by, imm: place.imm, host: place.host, fault, sources, dst, dirty })
    }

    pub(super) fn load_window(
        &mut self,
        block: &Block,
        inst: &Inst,
        at: usize,
        number: usize,
        int: bool,
    ) -> Done {
        let place = self.window_place(block, inst, at, number, None)?;
        let dst = self.load_target(inst, int)?;
        let slow = self.through(block, at, &place, [None, None], Some(dst));
        let (bytes, signed) = (inst.ty.bytes(), MemAttr::from_bits(inst.attr).signed);
        match dst {
            AnyReg::Int(dst) => self.asm.load_unit(bytes, signed, dst, place.at),
            AnyReg::Vec(dst) => self.asm.load_unit_xmm(bytes, dst, place.at),
        }
        if let Some(slow) = slow {
            self.slow_path(block, inst, number, slow)?;
        }
        self.loaded(inst, dst)
    }

    pub(super) fn store_window(
        &mut self,
        block: &Block,
        inst: &Inst,
        at: usize,
        number: usize,
        source: Source,
    ) -> Done {
        let kept = match source {
            Source::Int(Operand::Reg(reg)) => Some(AnyReg::Int(reg)),
            _ => None,
        };
        let place = self.window_place(block, inst, at, number, kept)?;
        let slow = self.through(block, at, &place, [Some(source), None], None);
        match source {
            Source::Int(source) => self.asm.store_unit(inst.ty.bytes(), place.at, source),
            Source::Vec(source) => self.asm.store_unit_xmm(inst.ty.bytes(), place.at, source),
        }
        if let Some(slow) = slow {
            self.slow_path(block, inst, number, slow)?;
        }
        if MemAttr::from_bits(inst.attr).release {
            self.asm.full_fence();
        }
        Ok(())
    }
}
