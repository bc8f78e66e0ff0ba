//! Tier 1: blocks to x86-64 in one pass, operation by operation.
//!
//! Between blocks, everything is in a known place: the hot slots in their host registers, the others in
//! [`emu_core::exec::CpuState`], `rbp` pointing to that, `rsp` to the [`crate::frame::Frame`], `page_base` exact, `pc` not.
//! Within a block, each operation has taken full effect on the slots before the next one begins, so that an exception needs
//! nothing but the number and the offset of its instruction, which the site carries.
#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers that are bytes already"
)]

pub(crate) mod asm;
mod flags;
pub(crate) mod flow;
pub(crate) mod fp;
pub(crate) mod guess;
mod int;
pub(crate) mod mem;
mod merge;
pub(crate) mod regs;
mod vec;
mod vec_asm;
mod vec_crypto;
pub(crate) mod vec_float;
mod vec_lanes;
mod vec_moves;
mod vec_widths;
mod window;

use std::mem::offset_of;
use std::ops::Range;

use dynasmrt::{DynamicLabel, DynasmError};
use emu_core::ir::{Block, Class, Inst, Op, SlotInfo, Ty, Val, ValKind};
use emu_core::mem::WINDOWED;
use thiserror::Error;

use self::asm::{Asm, Operand, Reg, Xmm};
use self::guess::{Guess, Likely};
use self::mem::Source;
use self::merge::Groups;
use self::regs::{AnyReg, Dirty, Regs, SCRATCH, TooManyTemps};
use crate::faults::Fault;
use crate::frame::{self, Frame, MarkAt, Site};
use crate::shared::Variant;
use crate::stubs::Stubs;

/// Why a block cannot be translated; the interpreter runs it then.
#[derive(Debug, Error)]
pub(crate) enum CompileError {
    /// It has more temporaries alive at once than the frame has cells for.
    #[error("the block needs too many temporaries at once")]
    Temps,
    /// An instruction is not where instructions of a page are.
    #[error("an instruction lies too far from the block's page")]
    Mark,
    /// The assembler refused.
    #[error("the assembler failed: {0}")]
    Assembler(#[from] DynasmError),
}

impl From<TooManyTemps> for CompileError {
    fn from(_: TooManyTemps) -> Self {
        Self::Temps
    }
}

type Done = Result<(), CompileError>;

/// What the host can do beyond the baseline (x86-64-v2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub bmi1: bool,
    pub bmi2: bool,
    pub lzcnt: bool,
    pub avx: bool,
    pub avx2: bool,
    pub fma: bool,
    pub aes: bool,
    pub sha: bool,
    pub pclmulqdq: bool,
}

impl Features {
    pub(crate) fn of_host() -> Self {
        Self {
            bmi1: std::arch::is_x86_feature_detected!("bmi1"),
            bmi2: std::arch::is_x86_feature_detected!("bmi2"),
            lzcnt: std::arch::is_x86_feature_detected!("lzcnt"),
            avx: std::arch::is_x86_feature_detected!("avx"),
            avx2: std::arch::is_x86_feature_detected!("avx2"),
            fma: std::arch::is_x86_feature_detected!("fma"),
            aes: std::arch::is_x86_feature_detected!("aes"),
            sha: std::arch::is_x86_feature_detected!("sha"),
            pclmulqdq: std::arch::is_x86_feature_detected!("pclmulqdq"),
        }
    }
}

/// A jump to another block of the same page, which can be patched to go there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Offset of its 32-bit displacement from the start of the code.
    pub site: u32,
    /// Offset of where it goes while it is not linked.
    pub cold: u32,
    /// Offset of the guest target from the start of the page.
    pub target: i32,
    /// It goes to the version of the target whose accesses share no checks; see [`merge`].
    pub plain: bool,
}

impl Exit {
    /// The displacement while it is not linked.
    pub(crate) fn cold_displacement(&self) -> i32 {
        self.cold.wrapping_sub(self.site + 4) as i32
    }
}

/// A check that a group of accesses shares.
#[derive(Clone, Copy)]
struct Merge {
    /// The temporary that gets the host address of the leader's base.
    host: Val,
    /// The bytes that are touched, from the base: first and last.
    first: i32,
    last: i32,
    /// One of the accesses is a store.
    write: bool,
}

/// The code of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub bytes: Vec<u8>,
    pub exits: Vec<Exit>,
    /// Offsets of the displacements to places outside it, which depend on where it is.
    pub outs: Vec<u32>,
    /// The accesses that may fault, and where to go on then, as offsets.
    pub faults: Vec<Fault>,
}

/// The slow path of such a check.
#[derive(Clone, Copy)]
struct Lead {
    back: DynamicLabel,
    site: Site,
    mark: MarkAt,
    /// Offset of the leader's access, if that may fault.
    fault: Option<u32>,
    /// The register with the base, the one that gets what to add to it, and one that is free.
    base: Reg,
    addend: Reg,
    page: Reg,
    /// Where the leader's own access is, from the base.
    imm: i32,
    merge: Merge,
    /// Vector registers hold values.
    vectors: bool,
}

/// The parts of a block that stand after its body. `dirty` names the slots, in [`Compiler::dirty`], that are in registers
/// only where such a part begins.
#[derive(Clone)]
enum Cold {
    /// What follows where an address is not in the segment that was expected.
    Segment {
        entry: DynamicLabel,
        back: DynamicLabel,
        outside: DynamicLabel,
        base: Reg,
        /// The register that gets what to add; it has the number of the address's segment, unless it was expected to be low.
        addend: Reg,
        likely: Likely,
    },
    /// The slow path of a memory access.
    Access {
        entry: DynamicLabel,
        back: DynamicLabel,
        site: Site,
        mark: MarkAt,
        va: Reg,
        /// What to add to `va`.
        imm: i32,
        /// Offset of the access, if it may fault.
        fault: Option<u32>,
        sources: [Option<Source>; 2],
        dst: Option<AnyReg>,
        dirty: Range<usize>,
        /// Vector registers hold values.
        vectors: bool,
    },
    /// The slow path of an access that checks for its group.
    Lead { entry: DynamicLabel, dirty: Range<usize>, lead: Lead },
    /// The slow path of an operation on vector registers.
    Helper { entry: DynamicLabel, back: DynamicLabel, site: Site, sources: [Option<Xmm>; 3], dst: AnyReg },
    /// A binary32 number that was not boxed.
    Unboxed { entry: DynamicLabel, back: DynamicLabel, dst: Xmm },
    /// Leaves for the dispatcher, to go on at an offset.
    Leave { entry: DynamicLabel, target: i32 },
    /// The taken side of an [`Op::ExitIf`].
    SideExit { entry: DynamicLabel, target: i32, retired: usize, dirty: Range<usize> },
    /// The exception of an [`Op::RaiseIf`].
    Raise { entry: DynamicLabel, mark: MarkAt, cause: i32, value: Operand, dirty: Range<usize> },
}

/// Translates blocks; each vCPU thread has its own, so that its buffers are reused.
pub(crate) struct Compiler {
    asm: Asm,
    regs: Regs,
    features: Features,
    stubs: Stubs,
    cold: Vec<Cold>,
    dirty: Vec<Dirty>,
    /// A buffer for a moment.
    list: Vec<Dirty>,
    groups: Groups,
    exits: Vec<Exit>,
    faults: Vec<Fault>,
    /// Accesses may go through windows.
    windows: bool,
    /// Those of the current view in this block do.
    windowed: bool,
    guess: Option<Guess>,
    /// Number that the block's exits name it by.
    id: u32,
    /// Offset of the block's first instruction from the page.
    start: i32,
}

impl Compiler {
    pub(crate) fn new(hot: &[u16], slots: &[SlotInfo], features: Features, stubs: Stubs) -> Self {
        Self {
            asm: Asm::new(),
            regs: Regs::new(hot, slots),
            features,
            stubs,
            cold: Vec::new(),
            dirty: Vec::new(),
            list: Vec::new(),
            groups: Groups::default(),
            exits: Vec::new(),
            faults: Vec::new(),
            windows: false,
            windowed: false,
            guess: None,
            id: 0,
            start: 0,
        }
    }

    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Lets accesses go through windows: their faults will be handled.
    pub(crate) fn use_windows(&mut self, windows: bool) {
        self.windows = windows;
    }

    /// What accesses of the next blocks are guessed from.
    pub(crate) fn guess_by(&mut self, guess: Guess) {
        self.guess = Some(guess);
    }

    /// The code of `block`, to be put at host address `base`; its exits name it as `id`.
    pub(crate) fn compile(
        &mut self,
        block: &Block,
        variant: Variant,
        id: u32,
        base: usize,
    ) -> Result<Code, CompileError> {
        self.asm.restart(base);
        self.regs.begin(block);
        self.windowed = self.windows && block.key.ctx & WINDOWED != 0;
        match variant {
            Variant::Merged => self.groups.find(block, &mut self.regs),
            Variant::Plain => self.groups.clear(),
        }
        self.cold.clear();
        self.dirty.clear();
        self.exits.clear();
        self.faults.clear();
        self.id = id;
        self.start = block.marks.first().map_or(0, |mark| mark.offset);
        let mut number = 0;
        let mut at = 0;
        while let Some(inst) = block.insts.get(at) {
            while block.marks.get(number + 1).is_some_and(|mark| usize::from(mark.inst) <= at) {
                number += 1;
            }
            self.regs.advance(at);
            if let Some(both) = self.narrow_pair(block, at) {
                self.int(block, &both)?;
                self.regs.set_narrow(both.dst, true);
                at += 2;
                continue;
            }
            let narrow = self.stays_narrow(block, inst);
            match narrow {
                true => self.int(block, &Inst { ty: Ty::I32, ..*inst })?,
                false => self.inst(block, inst, at, number)?,
            }
            self.regs.set_narrow(inst.dst, narrow);
            at += 1;
        }
        self.regs.advance(block.insts.len());
        self.terminal(block)?;
        self.cold_parts()?;
        let bytes = self.asm.finish()?;
        let (exits, faults) = (std::mem::take(&mut self.exits), std::mem::take(&mut self.faults));
        Ok(Code { bytes, exits, outs: self.asm.take_outs(), faults })
    }

    /// The 32-bit operation `at` and the extension of its result to a slot that follows as one, which leaves the slot narrow.
    fn narrow_pair(&self, block: &Block, at: usize) -> Option<Inst> {
        let (inst, next) = (&block.insts[at], block.insts.get(at + 1)?);
        let fits = next.op == Op::Sext32
            && next.a == inst.dst
            && inst.ty == Ty::I32
            && matches!(next.dst.kind(), ValKind::Slot(_))
            && self.regs.last_use(inst.dst) == Some(at as u32 + 1)
            && int::is_inline(inst.op);
        fits.then_some(Inst { dst: next.dst, ..*inst })
    }

    /// Whether the operation can be done on the lower halves of narrow operands, with a narrow result.
    fn stays_narrow(&self, block: &Block, inst: &Inst) -> bool {
        let binary = matches!(inst.op, Op::And | Op::Or | Op::Xor | Op::Xnor | Op::Andn | Op::Orn);
        if inst.ty != Ty::I64 || !(binary || inst.op == Op::Mov) {
            return false;
        }
        matches!(inst.dst.kind(), ValKind::Slot(_))
            && (self.regs.is_narrow(inst.a) || binary && self.regs.is_narrow(inst.b))
            && self.is_extended(block, inst.a)
            && (!binary || self.is_extended(block, inst.b))
    }

    fn inst(&mut self, block: &Block, inst: &Inst, at: usize, number: usize) -> Done {
        match inst.op {
            Op::Load | Op::Store | Op::Amo | Op::Cas | Op::Cas128 | Op::Zero | Op::Copy | Op::Fill => {
                self.access(block, inst, at, number)
            }
            Op::Fence => {
                // The host orders everything but a store with a later load (Intel SDM volume 3, 8.2.2).
                if inst.orders_stores_before_loads() {
                    self.asm.full_fence();
                }
                Ok(())
            }
            Op::Call => self.call(block, inst, number),
            Op::Fpflags => self.read_flags(inst),
            Op::FpflagsSet => self.write_flags(block, inst),
            Op::ExitIf => self.exit_if(block, inst, number),
            Op::RaiseIf => self.raise_if(block, inst, number),
            op if (op as u8) < Op::Load as u8 => self.int(block, inst),
            op if (op as u8) < Op::Vmov as u8 => self.float(block, inst),
            _ => self.vector(block, inst),
        }
    }

    /// An operation that a helper performs.
    fn evaluate(&mut self, block: &Block, inst: &Inst) -> Done {
        let kinds = inst.op.info().src;
        for (n, (kind, val)) in kinds.into_iter().zip([inst.a, inst.b, inst.c]).enumerate() {
            if let Some(class) = kind.class(inst.ty) {
                self.pass(block, n, class, val)?;
            }
        }
        self.site(Site::new(inst.op, inst.ty, inst.attr), MarkAt(0), Some(inst.imm));
        self.asm.call_out(self.stubs.operation[usize::from(self.regs.vectors_live())]);
        let class = inst.op.info().dst.class(inst.ty);
        self.take_result(class, inst.dst)
    }

    /// Puts a value into argument cell `n`.
    fn pass(&mut self, block: &Block, n: usize, class: Class, val: Val) -> Done {
        let cell = frame::arg(n);
        if class != Class::Int {
            let reg = self.read_tight(val)?;
            self.asm.store_xmm(cell, reg, true);
            return Ok(());
        }
        match block.constant(val).map(|value| i32::try_from(value as i64)) {
            Some(Ok(value)) => self.asm.store_imm(cell, value),
            _ => {
                let reg = self.read(block, val)?;
                self.asm.store(cell, reg);
                self.regs.unlock(reg);
            }
        }
        Ok(())
    }

    /// Writes down what a helper needs to know.
    fn site(&mut self, site: Site, mark: MarkAt, imm: Option<i32>) {
        self.asm.store_imm32(frame::frame(offset_of!(Frame, site)), site.0 as i32);
        self.asm.store_imm32(frame::frame(offset_of!(Frame, mark)), mark.0 as i32);
        if let Some(imm) = imm {
            self.asm.store_imm(frame::frame(offset_of!(Frame, imm)), imm);
        }
    }

    /// The place of guest instruction `number` of the block.
    fn mark(block: &Block, number: usize) -> Result<MarkAt, CompileError> {
        let offset = block.marks.get(number).map_or(0, |mark| mark.offset);
        MarkAt::new(offset, number).ok_or(CompileError::Mark)
    }

    /// Moves what a helper has returned to `dst`.
    fn take_result(&mut self, class: Option<Class>, dst: Val) -> Done {
        match class {
            None => Ok(()),
            Some(_) if dst.is_none() => Ok(()),
            Some(Class::Int) => {
                let reg = self.target(dst, &[])?;
                self.asm.load(reg, frame::RESULT);
                self.finish(dst, reg)
            }
            Some(_) => {
                let reg: Xmm = self.regs.scratch(&mut self.asm)?;
                self.asm.load_xmm(reg, frame::RESULT, true);
                self.finish_xmm(dst, reg)
            }
        }
    }

    fn call(&mut self, block: &Block, inst: &Inst, number: usize) -> Done {
        // The front end may look at any slot, and write it.
        self.write_all_back();
        for (n, val) in [inst.a, inst.b, inst.c].into_iter().enumerate() {
            self.pass(block, n, Class::Int, val)?;
        }
        let len = block.marks.get(number).map_or(0, |mark| mark.len);
        self.site(Site::new(inst.op, inst.ty, inst.attr), Self::mark(block, number)?, Some(inst.imm));
        self.asm.store_imm32(frame::frame(offset_of!(Frame, len)), len.into());
        self.regs.forget_slots();
        self.regs.vacate_all::<Reg>(&mut self.asm)?;
        self.regs.vacate_all::<Xmm>(&mut self.asm)?;
        self.asm.call_out(self.stubs.call);
        self.take_result(Some(Class::Int), inst.dst)
    }

    /// Notes which slots are in registers only.
    fn list_dirty(&mut self) -> Range<usize> {
        let start = self.dirty.len();
        self.regs.list_dirty(&mut self.dirty);
        start..self.dirty.len()
    }

    /// Writes back all that is in registers only.
    fn write_all_back(&mut self) {
        self.regs.write_back(&mut self.asm, &mut self.list);
    }

    /// Writes back what [`Compiler::list_dirty`] has noted.
    fn write_back(&mut self, dirty: Range<usize>) {
        for dirty in self.dirty.get(dirty).unwrap_or_default() {
            dirty.write_back(&mut self.asm);
        }
    }

    /// A register that holds the value; it must not be changed.
    fn read(&mut self, block: &Block, val: Val) -> Result<Reg, CompileError> {
        self.read_as(block, true, val)
    }

    /// As [`Compiler::read`]; if not `wide`, the upper half may be anything.
    fn read_as(&mut self, block: &Block, wide: bool, val: Val) -> Result<Reg, CompileError> {
        if let Some(value) = block.constant(val) {
            let reg = self.regs.scratch(&mut self.asm)?;
            self.asm.mov_imm(reg, value);
            return Ok(reg);
        }
        match self.place(wide, val) {
            Operand::Reg(reg) => Ok(reg),
            Operand::Mem(mem) => {
                let reg = self.regs.scratch(&mut self.asm)?;
                self.asm.load(reg, mem);
                self.regs.hold(val, reg, false);
                Ok(reg)
            }
            Operand::Imm(_) => Ok(self.regs.scratch(&mut self.asm)?),
        }
    }

    /// Where the value, which is no constant, is.
    fn place(&mut self, wide: bool, val: Val) -> Operand {
        let place = self.regs.place(val);
        if let (Operand::Reg(reg), true) = (place, wide) {
            self.regs.widen(&mut self.asm, reg);
        }
        place
    }

    /// The value as the second operand of an instruction.
    fn operand(&mut self, block: &Block, wide: bool, val: Val) -> Result<Operand, CompileError> {
        match block.constant(val) {
            Some(value) if !wide => Ok(Operand::Imm(value as i32)),
            Some(value) => match i32::try_from(value as i64) {
                Ok(value) => Ok(Operand::Imm(value)),
                Err(_) => Ok(Operand::Reg(self.read(block, val)?)),
            },
            None => match self.place(wide, val) {
                Operand::Mem(_) if self.regs.read_again(val) => {
                    Ok(Operand::Reg(self.read_as(block, wide, val)?))
                }
                place => Ok(place),
            },
        }
    }

    /// Copies the value into `reg`, if it is not there already; if not `wide`, the upper half may then be anything. The
    /// host's flags stay.
    fn copy(&mut self, block: &Block, wide: bool, reg: Reg, val: Val) {
        if let Some(value) = block.constant(val) {
            let value = if wide { value } else { value & 0xffff_ffff };
            return self.asm.mov_imm_keep_flags(reg, value);
        }
        match self.place(wide, val) {
            Operand::Reg(from) if from == reg => {}
            Operand::Reg(from) if wide => self.asm.mov(reg, from),
            Operand::Reg(from) => self.asm.mov32(reg, from),
            Operand::Mem(mem) if wide => self.asm.load(reg, mem),
            Operand::Mem(mem) => self.asm.load32(reg, mem),
            Operand::Imm(_) => {}
        }
    }

    /// A register to compute the value of `dst` in, other than those in `avoid`.
    fn target(&mut self, dst: Val, avoid: &[Reg]) -> Result<Reg, CompileError> {
        if let ValKind::Slot(n) = dst.kind()
            && let Some(reg) = self.regs.pinned(n)
            && !avoid.contains(&reg)
        {
            return Ok(reg);
        }
        Ok(self.regs.scratch(&mut self.asm)?)
    }

    /// As [`Compiler::target`], for an operation that begins with a copy of `a` and does not read it after that.
    fn target_over(&mut self, dst: Val, a: Val, avoid: &[Reg]) -> Result<Reg, CompileError> {
        let pinned = matches!(dst.kind(), ValKind::Slot(n) if self.regs.pinned(n).is_some());
        if !pinned
            && self.regs.dies(a)
            && let Operand::Reg(reg) = self.place(false, a)
            && SCRATCH.contains(&reg)
            && !avoid.contains(&reg)
        {
            return Ok(reg);
        }
        self.target(dst, avoid)
    }

    /// Makes `reg`, which [`Compiler::target`] gave, the value of `dst`.
    fn finish(&mut self, dst: Val, reg: Reg) -> Done {
        match dst.kind() {
            ValKind::Slot(n) => match self.regs.pinned(n) {
                Some(own) => self.asm.mov(own, reg),
                None => self.regs.hold(dst, reg, true),
            },
            ValKind::Temp(_) => self.regs.hold(dst, reg, false),
            ValKind::Const(_) | ValKind::None => {}
        }
        Ok(())
    }

    /// A vector register that holds the value; it must not be changed. Only the low bits of a binary32 number count.
    fn read_xmm(&mut self, val: Val) -> Result<Xmm, CompileError> {
        if let Some(reg) = self.regs.find(val) {
            return Ok(reg);
        }
        let reg: Xmm = self.regs.scratch(&mut self.asm)?;
        if let Some(from) = self.regs.memory(val) {
            self.asm.load_xmm(reg, from, self.regs.is_vector(val));
        }
        self.regs.hold(val, reg, false);
        Ok(reg)
    }

    /// As [`Compiler::read_xmm`], with all 64 bits of a floating-point number as they must be.
    fn read_tight(&mut self, val: Val) -> Result<Xmm, CompileError> {
        let reg = self.read_xmm(val)?;
        if self.regs.is_loose(val) {
            self.asm.zero_above_32(reg);
            self.regs.tightened(val);
        }
        Ok(reg)
    }

    /// A vector register to compute the value of `dst` in; no source of the operation is in it.
    fn target_xmm(&mut self) -> Result<Xmm, CompileError> {
        Ok(self.regs.scratch(&mut self.asm)?)
    }

    /// Makes `reg` the value of `dst`.
    fn finish_xmm(&mut self, dst: Val, reg: Xmm) -> Done {
        self.regs.set_boxed(dst, false);
        self.regs.set_loose(dst, false);
        self.regs.hold(dst, reg, true);
        Ok(())
    }

    /// Makes `reg`, whose upper bits may be anything, the binary32 value of `dst`.
    fn finish_loose(&mut self, dst: Val, reg: Xmm) -> Done {
        let temp = matches!(dst.kind(), ValKind::Temp(_));
        if !temp {
            self.asm.zero_above_32(reg);
        }
        self.finish_xmm(dst, reg)?;
        self.regs.set_loose(dst, temp);
        Ok(())
    }
}

/// Whether values of this type are in general registers.
fn is_int(ty: Ty) -> bool {
    ty.class() == Class::Int
}
