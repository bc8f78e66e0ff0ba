//! Memory accesses: the hit path of the soft TLB inline, everything else by a helper.

use std::mem::offset_of;
use std::ops::Range;

use dynasmrt::DynamicLabel;
use emu_core::ir::{AmoOp, Block, Class, Inst, MemAttr, Op};
use emu_core::mem::{GUARD, PAGE_BITS, PAGE_SIZE, TlbEntry};

use super::asm::{Alu, At, Cond, Mem, Operand, RAX, RCX, RDI, RSI, Reg, Shift, Xmm};
use super::merge::Role;
use super::regs::AnyReg;
use super::{Cold, CompileError, Compiler, Done, Lead, Merge, is_int};
use crate::frame::{self, Site};

const _: () = assert!(size_of::<TlbEntry>() == 32);
/// What a virtual address is shifted by to get the byte offset of its entry, which is then masked ([`frame::tlb_mask`]).
pub(crate) const ENTRY_SHIFT: u8 = PAGE_BITS as u8 - 5;
pub(crate) const ADDEND: i32 = offset_of!(TlbEntry, addend) as i32;

/// Bytes that are filled with zeros inline.
const MOST_ZEROS: i32 = 256;

/// Which tag an access compares.
pub(crate) const fn tag(write: bool) -> i32 {
    (if write { offset_of!(TlbEntry, write) } else { offset_of!(TlbEntry, read) }) as i32
}

/// What the slow path of an access is given.
pub(super) struct Slow {
    pub(super) entry: DynamicLabel,
    pub(super) va: Reg,
    /// What to add to `va`.
    pub(super) imm: i32,
    /// That is a host address in the window.
    pub(super) host: bool,
    /// Offset of the access, if it may fault.
    pub(super) fault: Option<u32>,
    pub(super) sources: [Option<Source>; 2],
    pub(super) dst: Option<AnyReg>,
    /// Slots that are in registers only where it begins.
    pub(super) dirty: Range<usize>,
}

impl Slow {
    /// Of an access to `va` by the soft TLB.
    fn by_tlb(
        (entry, va): (DynamicLabel, Reg),
        sources: [Option<Source>; 2],
        dst: Option<AnyReg>,
        dirty: Range<usize>,
    ) -> Self {
        Self { entry, va, imm: 0, host: false, fault: None, sources, dst, dirty }
    }
}

impl Compiler {
    pub(super) fn access(&mut self, block: &Block, inst: &Inst, at: usize, number: usize) -> Done {
        match inst.op {
            Op::Load => self.load(block, inst, at, number),
            Op::Store => self.store(block, inst, at, number),
            Op::Amo => self.amo(block, inst, number),
            Op::Cas => self.cas(block, inst, number),
            Op::Zero if inst.imm <= MOST_ZEROS => self.zero(block, inst, number),
            Op::Copy | Op::Fill if inst.attr == 0 => self.bulk(block, inst, number),
            _ => self.access_by_helper(block, inst, number),
        }
    }

    fn access_by_helper(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        self.write_all_back();
        self.pass(block, 0, Class::Int, inst.a)?;
        if inst.op == Op::Zero {
            self.asm.store_imm(frame::arg(1), inst.imm);
        }
        let kinds = inst.op.info().src;
        for (n, val) in [(1, inst.b), (2, inst.c)] {
            if let Some(class) = kinds[n].class(inst.ty) {
                self.pass(block, n, class, val)?;
            }
        }
        self.site(Site::new(inst.op, inst.ty, inst.attr), Self::mark(block, number)?, None);
        self.asm.call_out(self.stubs.operation[usize::from(self.regs.vectors_live())]);
        self.take_result(inst.op.info().dst.class(inst.ty), inst.dst)
    }

    /// What follows the inline path of an access: the slow one comes back here.
    pub(super) fn slow_path(&mut self, block: &Block, inst: &Inst, number: usize, slow: Slow) -> Done {
        let back = self.asm.label();
        self.asm.bind(back);
        let Slow { entry, va, imm, host, fault, sources, dst, dirty } = slow;
        self.cold.push(Cold::Access {
            entry,
            back,
            site: Site::new(inst.op, inst.ty, inst.attr | if host { Site::HOST } else { 0 }),
            mark: Self::mark(block, number)?,
            va,
            imm,
            fault,
            sources,
            dst,
            dirty,
            vectors: self.regs.vectors_live(),
        });
        Ok(())
    }

    /// Fills a block with zeros.
    fn zero(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let va = self.read(block, inst.a)?;
        let entry = self.asm.label();
        let view = MemAttr::from_bits(inst.attr).view as usize;
        let (host, _) = self.translate(va, (0, 0), 1, (view, true), entry)?;
        let dirty = self.list_dirty();
        self.asm.alu(Alu::Add, true, host, Operand::Reg(va));
        self.asm.alu(Alu::And, true, host, Operand::Imm(-inst.imm));
        self.asm.zero_block(host, inst.imm);
        let sources = [Some(Source::Int(Operand::Imm(inst.imm))), None];
        self.slow_path(block, inst, number, Slow::by_tlb((entry, va), sources, None, dirty))
    }

    /// Copies or fills a range, by a stub if it is small.
    fn bulk(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        self.regs.vacate_all::<Reg>(&mut self.asm)?;
        for (reg, val) in [(RDI, inst.a), (RSI, inst.b), (RCX, inst.c)] {
            self.copy(block, true, reg, val);
        }
        let entry = self.asm.label();
        let stub = if inst.op == Op::Copy { self.stubs.copy } else { self.stubs.fill };
        self.asm.call_out(stub);
        let dirty = self.list_dirty();
        self.asm.jcc(Cond::NE, entry);
        let sources = [RSI, RCX].map(|reg| Some(Source::Int(Operand::Reg(reg))));
        let slow = Slow::by_tlb((entry, RDI), sources, Some(AnyReg::Int(RAX)), dirty);
        self.slow_path(block, inst, number, slow)?;
        self.finish(inst.dst, RAX)
    }

    /// A register that holds the virtual address of an access; the base's register may be used again, unless it is
    /// `kept`.
    pub(super) fn address_of(
        &mut self,
        block: &Block,
        inst: &Inst,
        kept: Option<AnyReg>,
    ) -> Result<Reg, CompileError> {
        let base = self.read(block, inst.a)?;
        if inst.imm == 0 {
            return Ok(base);
        }
        let va = self.regs.scratch(&mut self.asm)?;
        self.asm.lea(true, va, base, inst.imm);
        if kept != Some(AnyReg::Int(base)) {
            self.regs.unlock(base);
        }
        Ok(va)
    }

    /// Looks up the page of the byte at `va + first`; what to add to an address in it is in the first register that is
    /// returned, nothing in the second. Goes to the label if it may not be accessed, if `va + last` is in another page, or
    /// if `va` is not a multiple of `align`. From there to here no register is vacated.
    fn translate(
        &mut self,
        va: Reg,
        (first, last): (i32, i32),
        align: usize,
        (view, write): (usize, bool),
        miss: DynamicLabel,
    ) -> Result<(Reg, Reg), CompileError> {
        let entry: Reg = self.regs.scratch(&mut self.asm)?;
        let page: Reg = self.regs.scratch(&mut self.asm)?;
        if align > 1 {
            self.asm.alu(Alu::Test, false, va, Operand::Imm(align as i32 - 1));
            self.asm.jcc(Cond::NE, miss);
        }
        if first == 0 {
            self.asm.mov(entry, va);
        } else {
            self.asm.lea(true, entry, va, first);
        }
        self.asm.shift_imm(Shift::Shr, true, entry, ENTRY_SHIFT);
        self.asm.alu(Alu::And, false, entry, Operand::Mem(frame::tlb_mask(view)));
        self.asm.alu(Alu::Add, true, entry, Operand::Mem(frame::tlb(view)));
        self.asm.lea(true, page, va, last);
        self.asm.alu(Alu::And, true, page, Operand::Imm(-(PAGE_SIZE as i32)));
        self.asm.alu(Alu::Cmp, true, page, Operand::Mem(Mem { base: entry, disp: tag(write) }));
        self.asm.jcc(Cond::NE, miss);
        self.asm.load(entry, Mem { base: entry, disp: ADDEND });
        self.regs.unlock(page);
        Ok((entry, page))
    }

    /// An access that checks for its group: the register with the host address of its base, and whether it has to.
    fn lead(
        &mut self,
        block: &Block,
        inst: &Inst,
        (at, number): (usize, usize),
        merge: Merge,
    ) -> Result<Reg, CompileError> {
        let base = self.read(block, inst.a)?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        let view = MemAttr::from_bits(inst.attr).view as usize;
        let range = (merge.first, merge.last);
        let near = |distance: i32| u64::from(distance.unsigned_abs()) <= GUARD;
        let (addend, page) = if self.through_window(inst) && near(merge.first) && near(merge.last) {
            // What is outside goes by the soft TLB, in the cold part.
            let pair = (self.regs.scratch(&mut self.asm)?, self.regs.scratch(&mut self.asm)?);
            self.check_window(block, at, base, pair.0, entry);
            self.regs.unlock(pair.1);
            pair
        } else {
            self.translate(base, range, 1, (view, merge.write), entry)?
        };
        self.asm.bind(back);
        let dirty = self.list_dirty();
        let site = Site::new(inst.op, inst.ty, inst.attr);
        let mark = Self::mark(block, number)?;
        let vectors = self.regs.vectors_live();
        let lead = Lead { back, site, mark, fault: None, base, addend, page, imm: inst.imm, merge, vectors };
        self.cold.push(Cold::Lead { entry, dirty, lead });
        self.asm.alu(Alu::Add, true, addend, Operand::Reg(base));
        self.regs.hold(merge.host, addend, false);
        Ok(addend)
    }

    /// Where a unit is, if a check that covers it has been made; else nothing.
    pub(super) fn covered(
        &mut self,
        block: &Block,
        inst: &Inst,
        at: usize,
        number: usize,
    ) -> Result<Option<At>, CompileError> {
        Ok(match self.groups.role(at) {
            None => None,
            Some(Role::Leader { host, first, last, write }) => {
                let base = self.lead(block, inst, (at, number), Merge { host, first, last, write })?;
                Some(At::Mem(Mem { base, disp: inst.imm }))
            }
            Some(Role::Follower { host, distance }) => {
                let base = self.read(block, host)?;
                Some(At::Mem(Mem { base, disp: distance }))
            }
        })
    }

    fn load(&mut self, block: &Block, inst: &Inst, at: usize, number: usize) -> Done {
        let attr = MemAttr::from_bits(inst.attr);
        let bytes = inst.ty.bytes();
        // Binary16 numbers go through a general register, and what is to be extended by its sign.
        let int = is_int(inst.ty) || bytes == 2 || attr.signed && bytes < 8;
        if self.through_window(inst) {
            return self.load_window(block, inst, at, number, int);
        }
        let covered = self.covered(block, inst, at, number)?;
        // Chosen before the paths part: what making room for it emits is for both.
        let place = match covered {
            Some(at) => (at, None),
            None => {
                let va = self.address_of(block, inst, None)?;
                let dst = self.load_target(inst, int)?;
                let entry = self.asm.label();
                let align = if attr.exclusive { bytes } else { 1 };
                let range = (0, bytes as i32 - 1);
                let (addend, _) = self.translate(va, range, align, (attr.view as usize, false), entry)?;
                let dirty = self.list_dirty();
                (At::Sum(addend, va), Some((entry, va, dst, dirty)))
            }
        };
        let (at, check) = place;
        let dst = match &check {
            Some((_, _, dst, _)) => *dst,
            None => self.load_target(inst, int)?,
        };
        match dst {
            AnyReg::Int(dst) => self.asm.load_unit(bytes, attr.signed, dst, at),
            AnyReg::Vec(dst) => self.asm.load_unit_xmm(bytes, dst, at),
        }
        if let Some((entry, va, dst, dirty)) = check {
            let slow = Slow::by_tlb((entry, va), [None, None], Some(dst), dirty);
            self.slow_path(block, inst, number, slow)?;
        }
        self.loaded(inst, dst)
    }

    /// A register for what is loaded: a general one if it is loaded as an integer.
    pub(super) fn load_target(&mut self, inst: &Inst, int: bool) -> Result<AnyReg, CompileError> {
        Ok(match int {
            true if is_int(inst.ty) => AnyReg::Int(self.target(inst.dst, &[])?),
            true => AnyReg::Int(self.regs.scratch(&mut self.asm)?),
            false => AnyReg::Vec(self.regs.scratch(&mut self.asm)?),
        })
    }

    /// Makes what has been loaded the value of its destination.
    pub(super) fn loaded(&mut self, inst: &Inst, dst: AnyReg) -> Done {
        match dst {
            AnyReg::Int(dst) if is_int(inst.ty) => self.finish(inst.dst, dst),
            AnyReg::Int(bits) => {
                let dst = self.regs.scratch(&mut self.asm)?;
                self.asm.movd_to_xmm(dst, bits);
                self.finish_xmm(inst.dst, dst)
            }
            AnyReg::Vec(dst) => self.finish_xmm(inst.dst, dst),
        }
    }

    fn store(&mut self, block: &Block, inst: &Inst, at: usize, number: usize) -> Done {
        let attr = MemAttr::from_bits(inst.attr);
        let bytes = inst.ty.bytes();
        let source = if is_int(inst.ty) {
            let wide = bytes == 8;
            match self.operand(block, wide, inst.b)? {
                Operand::Mem(_) => Source::Int(Operand::Reg(self.read_as(block, wide, inst.b)?)),
                source => Source::Int(source),
            }
        } else {
            Source::Vec(if bytes <= 4 { self.read_xmm(inst.b)? } else { self.read_tight(inst.b)? })
        };
        if self.through_window(inst) {
            return self.store_window(block, inst, at, number, source);
        }
        let (place, check) = match self.covered(block, inst, at, number)? {
            Some(at) => (at, None),
            None => {
                let kept = match source {
                    Source::Int(Operand::Reg(reg)) => Some(AnyReg::Int(reg)),
                    _ => None,
                };
                let va = self.address_of(block, inst, kept)?;
                let entry = self.asm.label();
                let range = (0, bytes as i32 - 1);
                let (addend, _) = self.translate(va, range, 1, (attr.view as usize, true), entry)?;
                (At::Sum(addend, va), Some((entry, va)))
            }
        };
        match source {
            Source::Int(source) => self.asm.store_unit(bytes, place, source),
            Source::Vec(source) => self.asm.store_unit_xmm(bytes, place, source),
        }
        if let Some((entry, va)) = check {
            let dirty = self.list_dirty();
            let slow = Slow::by_tlb((entry, va), [Some(source), None], None, dirty);
            self.slow_path(block, inst, number, slow)?;
        }
        if attr.release {
            // A release that is followed by an acquire stays before it (RCsc).
            self.asm.full_fence();
        }
        Ok(())
    }

    /// Looks up the unit of an atomic access; the register with its host address, and one that is free.
    fn atomic_place(&mut self, inst: &Inst, va: Reg, miss: DynamicLabel) -> Result<(Reg, Reg), CompileError> {
        let view = MemAttr::from_bits(inst.attr).view as usize;
        let (host, free) = self.translate(va, (0, 0), inst.ty.bytes(), (view, true), miss)?;
        self.asm.alu(Alu::Add, true, host, Operand::Reg(va));
        Ok((host, free))
    }

    /// What follows an atomic access: its slow path, and its result, the old value in `old`.
    fn atomic_end(
        &mut self,
        block: &Block,
        inst: &Inst,
        number: usize,
        (entry, va, sources): (DynamicLabel, Reg, [Option<Source>; 2]),
        old: Option<Reg>,
        dirty: Range<usize>,
    ) -> Done {
        if let Some(old) = old {
            let signed = MemAttr::from_bits(inst.attr).signed;
            self.asm.extend(inst.ty.bytes(), signed, old);
        }
        let slow = Slow::by_tlb((entry, va), sources, old.map(AnyReg::Int), dirty);
        self.slow_path(block, inst, number, slow)?;
        match old {
            Some(old) => self.finish(inst.dst, old),
            None => Ok(()),
        }
    }

    fn amo(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        let op = AmoOp::from_bits(inst.attr >> 8);
        let bytes = inst.ty.bytes();
        let wanted = !inst.dst.is_none();
        let alu = match op {
            AmoOp::And | AmoOp::Clear => Some(Alu::And),
            AmoOp::Or => Some(Alu::Or),
            AmoOp::Xor => Some(Alu::Xor),
            _ => None,
        };
        // Others than these are tried until nobody else has changed the unit meanwhile.
        let single = matches!(op, AmoOp::Swap | AmoOp::Add) || alu.is_some() && !wanted;
        if !single {
            self.regs.claim(&mut self.asm, RAX)?;
        }
        let source = self.read(block, inst.b)?;
        let va = self.read(block, inst.a)?;
        let value: Reg = if single { self.regs.scratch(&mut self.asm)? } else { RAX };
        let entry = self.asm.label();
        let (host, new) = self.atomic_place(inst, va, entry)?;
        let dirty = self.list_dirty();
        let unit = Mem { base: host, disp: 0 };
        if single {
            self.asm.mov(value, source);
            match (op, alu) {
                (AmoOp::Swap, _) => self.asm.xchg(bytes, unit, value),
                (_, Some(alu)) => {
                    if op == AmoOp::Clear {
                        self.asm.not(true, value);
                    }
                    self.asm.lock_alu(alu, bytes, unit, value);
                }
                _ => self.asm.lock_xadd(bytes, unit, value),
            }
        } else {
            let again = self.asm.label();
            self.asm.load_unit(bytes, false, RAX, At::Mem(unit));
            self.asm.bind(again);
            self.amo_value(op, alu, bytes, new, source);
            self.asm.lock_cmpxchg(bytes, unit, new);
            self.asm.jcc(Cond::NE, again);
        }
        let sources = [Some(Source::Int(Operand::Reg(source))), None];
        self.atomic_end(block, inst, number, (entry, va, sources), wanted.then_some(value), dirty)
    }

    /// `new` = the operation of the old value, in `rax`, and `source`.
    fn amo_value(&mut self, op: AmoOp, alu: Option<Alu>, bytes: usize, new: Reg, source: Reg) {
        self.asm.mov(new, source);
        if op == AmoOp::Clear {
            self.asm.not(true, new);
        }
        if let Some(alu) = alu {
            return self.asm.alu(alu, true, new, Operand::Reg(RAX));
        }
        // Keep the old value where it is the right one already.
        let keep = match op {
            AmoOp::Min => Cond::LE,
            AmoOp::Max => Cond::GE,
            AmoOp::Minu => Cond::BE,
            _ => Cond::AE,
        };
        self.asm.cmp_unit(bytes, RAX, new);
        self.asm.cmov(keep, true, new, RAX);
    }

    fn cas(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        self.regs.claim(&mut self.asm, RAX)?;
        let new = self.read(block, inst.c)?;
        let va = self.read(block, inst.a)?;
        self.copy(block, true, RAX, inst.b);
        let entry = self.asm.label();
        let (host, _) = self.atomic_place(inst, va, entry)?;
        let dirty = self.list_dirty();
        self.asm.lock_cmpxchg(inst.ty.bytes(), Mem { base: host, disp: 0 }, new);
        let sources = [RAX, new].map(|reg| Some(Source::Int(Operand::Reg(reg))));
        self.atomic_end(block, inst, number, (entry, va, sources), Some(RAX), dirty)
    }

    /// The slow path of an access.
    pub(super) fn cold_access(&mut self, va: Reg, imm: i32, sources: [Option<Source>; 2]) {
        self.asm.store(frame::arg(0), va);
        if imm != 0 {
            self.asm.add_to(frame::arg(0), imm);
        }
        for (n, source) in sources.into_iter().enumerate() {
            let cell = frame::arg(n + 1);
            match source {
                Some(Source::Int(Operand::Reg(reg))) => self.asm.store(cell, reg),
                Some(Source::Int(Operand::Imm(imm))) => self.asm.store_imm(cell, imm),
                Some(Source::Vec(reg)) => self.asm.store_xmm(cell, reg, true),
                Some(Source::Int(Operand::Mem(_))) | None => {}
            }
        }
    }

    /// The slow path of an access that checks for its group.
    pub(super) fn cold_lead(&mut self, lead: &Lead) {
        let Lead { back, site, mark, base, addend, page, imm, merge, vectors, .. } = *lead;
        let plain = self.asm.label();
        self.asm.lea(true, addend, base, merge.first);
        self.asm.lea(true, page, base, merge.last);
        self.asm.alu(Alu::Xor, true, page, Operand::Reg(addend));
        self.asm.alu(Alu::Test, true, page, Operand::Imm(-(PAGE_SIZE as i32)));
        self.asm.jcc(Cond::NE, plain);
        self.asm.lea(true, addend, base, imm);
        self.asm.store(frame::arg(0), addend);
        self.site(site, mark, Some(merge.write.into()));
        self.asm.call_out(self.stubs.reach[usize::from(vectors)]);
        self.asm.load(addend, frame::RESULT);
        self.asm.alu(Alu::Test, true, addend, Operand::Reg(addend));
        self.asm.jcc(Cond::NE, back);
        self.asm.bind(plain);
        if mark.number() != 0 {
            self.retire(mark.number() as usize);
        }
        self.go_plain(mark.offset() as i32);
    }
}

/// What a store writes, or an atomic access combines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// An integer.
    Int(Operand),
    /// The low bits of a vector register.
    Vec(Xmm),
}
