//! Which values are in which host registers while a block is translated.
//!
//! The hottest guest registers have host registers of their own everywhere. The other slots live in memory between blocks;
//! within one, a scratch register may hold a copy, which may be newer than the memory ("dirty"): it is written back where the
//! block ends, where it calls a helper that may look at slots, and on the way out where it leaves early. Temporaries live in
//! scratch registers from their assignment to their last use, or in cells of the frame if these do not suffice.
//!
//! A register that holds an integer slot may be *narrow*: its upper half is anything, and the slot's value is the lower half,
//! sign-extended. So 32-bit results, which some instruction sets extend, need not be extended one by one; whoever needs all of
//! the value extends it, and whoever writes it back does.
//!
//! There are two files of scratch registers, general ones for integers and vector ones for floating-point numbers and
//! vectors; what can be done with a register of either is the same ([`HostReg`]).

use emu_core::exec::SLOTS;
use emu_core::ir::{Block, Class, SlotInfo, Val, ValKind};

use super::asm::{Asm, Mem, Operand, RAX, RCX, RDI, RDX, RSI, Reg, Xmm};
use crate::frame::{self, PINNED, SPILLS};

/// The general registers that are no guest register's.
pub(crate) const SCRATCH: [Reg; 6] = [RAX, RSI, RDI, RDX, RCX, Reg(11)];
/// The vector registers that hold values; the others are for use within one operation.
pub(crate) const VECTORS: [Xmm; 14] = [
    Xmm(2),
    Xmm(3),
    Xmm(4),
    Xmm(5),
    Xmm(6),
    Xmm(7),
    Xmm(8),
    Xmm(9),
    Xmm(10),
    Xmm(11),
    Xmm(12),
    Xmm(13),
    Xmm(14),
    Xmm(15),
];
/// The larger number of these.
const MOST: usize = VECTORS.len();

/// What a scratch register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Temp(u16),
    /// A copy of the slot.
    Slot(u16),
}

#[derive(Clone, Copy, Debug, Default)]
struct Temp {
    /// Its index in the file of its class.
    at: Option<u8>,
    /// Its cell holds the value.
    cell: Option<u16>,
    /// Number of the last operation that reads it.
    last_use: u32,
    /// It is a binary32 number in a register whose upper bits may be anything.
    loose: bool,
}

/// The registers of one file.
#[derive(Clone, Copy)]
pub(crate) struct File {
    held: [Held; MOST],
    /// When each was last used.
    age: [u32; MOST],
    /// Those that the operation in hand needs, as bits.
    locked: u16,
    /// Those that hold a slot's value which memory does not.
    dirty: u16,
}

impl File {
    const EMPTY: Self = Self { held: [Held::Nothing; MOST], age: [0; MOST], locked: 0, dirty: 0 };

    fn find(&self, held: Held) -> Option<usize> {
        self.held.iter().position(|&h| h == held)
    }
}

/// A host register of one of the two files.
pub(crate) trait HostReg: Copy + PartialEq + 'static {
    /// The registers that hold values.
    const FILE: &'static [Self];
    /// The file's state.
    fn file(regs: &mut Regs) -> &mut File;
    /// Writes it to memory.
    fn store(self, asm: &mut Asm, to: Mem, vector: bool);
    /// As part of a list of both kinds.
    fn any(self) -> AnyReg;
}

/// A register of either file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnyReg {
    /// A general register.
    Int(Reg),
    /// A vector register.
    Vec(Xmm),
}

impl HostReg for Reg {
    const FILE: &'static [Self] = &SCRATCH;

    fn file(regs: &mut Regs) -> &mut File {
        &mut regs.ints
    }

    fn store(self, asm: &mut Asm, to: Mem, _: bool) {
        asm.store(to, self);
    }

    fn any(self) -> AnyReg {
        AnyReg::Int(self)
    }
}

impl HostReg for Xmm {
    const FILE: &'static [Self] = &VECTORS;

    fn file(regs: &mut Regs) -> &mut File {
        &mut regs.vecs
    }

    fn store(self, asm: &mut Asm, to: Mem, vector: bool) {
        asm.store_xmm(to, self, vector);
    }

    fn any(self) -> AnyReg {
        AnyReg::Vec(self)
    }
}

/// What has to be done so that all slots are where they belong between blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dirty {
    /// This register, which is a slot's own, must be extended.
    Narrow(Reg),
    /// This register must be written to the slot, extended if it is narrow.
    Int { slot: u16, reg: Reg, narrow: bool },
    /// This register must be written to the slot, which is a vector or a number.
    Vec { slot: u16, reg: Xmm, vector: bool },
}

impl Dirty {
    /// Does it.
    pub(crate) fn write_back(self, asm: &mut Asm) {
        match self {
            Self::Narrow(reg) => asm.movsxd(reg, reg),
            Self::Int { slot, reg, narrow } => {
                if narrow {
                    asm.movsxd(reg, reg);
                }
                asm.store(frame::slot(slot), reg);
            }
            Self::Vec { slot, reg, vector } => asm.store_xmm(frame::slot(slot), reg, vector),
        }
    }
}

/// The state of all registers at a point of the block.
pub(crate) struct Regs {
    /// The host register of each pinned slot.
    pinned: Box<[Option<Reg>]>,
    /// Which slots are vectors.
    vector_slots: [bool; SLOTS],
    ints: File,
    vecs: File,
    /// Narrow registers, by their number.
    narrow: u16,
    /// For each slot the number of the last operation that reads it.
    last_read: [u32; SLOTS],
    temps: Vec<Temp>,
    cells: Vec<bool>,
    now: u32,
    /// Slots that hold a boxed binary32 number, as far as the block knows.
    boxed: [bool; SLOTS],
    any_boxed: bool,
}

/// The block needs more temporaries at once than there is room for.
#[derive(Debug)]
pub(crate) struct TooManyTemps;

impl Regs {
    /// With the guest registers `hot` in host registers.
    pub(crate) fn new(hot: &[u16], slots: &[SlotInfo]) -> Self {
        let mut pinned = vec![None; SLOTS].into_boxed_slice();
        for (&slot, reg) in hot.iter().zip(PINNED) {
            if let Some(place) = pinned.get_mut(usize::from(slot)) {
                *place = Some(reg);
            }
        }
        let mut vector_slots = [false; SLOTS];
        for slot in slots.iter().filter(|slot| slot.class == Class::Vec) {
            vector_slots[usize::from(slot.index)] = true;
        }
        Self {
            pinned,
            vector_slots,
            ints: File::EMPTY,
            vecs: File::EMPTY,
            narrow: 0,
            last_read: [0; SLOTS],
            temps: Vec::new(),
            cells: vec![false; SPILLS],
            now: 0,
            boxed: [false; SLOTS],
            any_boxed: false,
        }
    }

    /// Begins a block: finds where each temporary is used last.
    pub(crate) fn begin(&mut self, block: &Block) {
        (self.ints, self.vecs) = (File::EMPTY, File::EMPTY);
        self.narrow = 0;
        self.last_read.fill(0);
        self.now = 0;
        self.cells.fill(false);
        if std::mem::take(&mut self.any_boxed) {
            self.boxed.fill(false);
        }
        self.temps.clear();
        self.temps.resize(usize::from(block.temps), Temp::default());
        let mut used = |val: Val, at: usize| match val.kind() {
            ValKind::Temp(n) => {
                if let Some(temp) = self.temps.get_mut(usize::from(n)) {
                    temp.last_use = at as u32;
                }
            }
            ValKind::Slot(n) => self.last_read[usize::from(n) % SLOTS] = at as u32,
            ValKind::Const(_) | ValKind::None => {}
        };
        for (at, inst) in block.insts.iter().enumerate() {
            [inst.a, inst.b, inst.c].into_iter().for_each(|val| used(val, at));
        }
        let end = block.insts.len();
        block.terminal.operands().into_iter().for_each(|val| used(val, end));
    }

    /// The number of the last operation that reads temporary `val`; valid after [`Regs::begin`].
    pub(crate) fn last_use(&self, val: Val) -> Option<u32> {
        match val.kind() {
            ValKind::Temp(n) => self.temps.get(usize::from(n)).map(|temp| temp.last_use),
            _ => None,
        }
    }

    /// A temporary of the compiler's own, which is last read by operation `last_use`.
    pub(crate) fn add_temp(&mut self, last_use: u32) -> Val {
        self.temps.push(Temp { last_use, ..Temp::default() });
        Val::temp((self.temps.len() - 1) as u16)
    }

    /// Goes on to operation `at`: nothing is locked, and temporaries that are not used any more are gone.
    pub(crate) fn advance(&mut self, at: usize) {
        self.now = at as u32;
        let (temps, now) = (&mut self.temps, self.now);
        for file in [&mut self.ints, &mut self.vecs] {
            file.locked = 0;
            for held in &mut file.held {
                if let Held::Temp(n) = *held
                    && temps[usize::from(n)].last_use < now
                {
                    temps[usize::from(n)].at = None;
                    *held = Held::Nothing;
                }
            }
        }
    }

    /// Whether temporary `val` is not read after the operation in hand.
    pub(crate) fn dies(&self, val: Val) -> bool {
        matches!(val.kind(), ValKind::Temp(n) if self.temps[usize::from(n)].last_use <= self.now)
    }

    /// Whether slot `val`, which is in memory, is read again after the operation in hand.
    pub(crate) fn read_again(&self, val: Val) -> bool {
        matches!(val.kind(), ValKind::Slot(n) if self.last_read[usize::from(n) % SLOTS] > self.now)
    }

    /// Whether the slot is in a narrow register.
    pub(crate) fn is_narrow(&self, val: Val) -> bool {
        let ValKind::Slot(n) = val.kind() else { return false };
        let held = || self.ints.find(Held::Slot(n)).map(|index| SCRATCH[index]);
        self.narrow != 0 && self.pinned(n).or_else(held).is_some_and(|reg| self.narrow >> reg.0 & 1 != 0)
    }

    /// Notes whether the register that holds the slot, which has just been assigned, is narrow.
    pub(crate) fn set_narrow(&mut self, val: Val, narrow: bool) {
        if let ValKind::Slot(n) = val.kind() {
            let held = self.pinned(n).or_else(|| self.ints.find(Held::Slot(n)).map(|index| SCRATCH[index]));
            if let Some(reg) = held {
                self.narrow = self.narrow & !(1 << reg.0) | u16::from(narrow) << reg.0;
            }
        }
    }

    /// Extends a narrow register.
    pub(crate) fn widen(&mut self, asm: &mut Asm, reg: Reg) {
        if self.narrow >> reg.0 & 1 != 0 {
            asm.movsxd(reg, reg);
            self.narrow &= !(1 << reg.0);
        }
    }

    /// The host register of slot `n`, if it has one.
    pub(crate) fn pinned(&self, n: u16) -> Option<Reg> {
        self.pinned.get(usize::from(n)).copied().flatten()
    }

    fn touch<R: HostReg>(&mut self, index: usize) -> R {
        let now = self.now;
        let file = R::file(self);
        file.locked |= 1 << index;
        file.age[index] = now;
        R::FILE[index]
    }

    /// The scratch register that holds the value, if one does.
    pub(crate) fn find<R: HostReg>(&mut self, val: Val) -> Option<R> {
        let index = match val.kind() {
            ValKind::Slot(n) => R::file(self).find(Held::Slot(n))?,
            ValKind::Temp(n) => self.temps[usize::from(n)].at?.into(),
            ValKind::Const(_) | ValKind::None => return None,
        };
        Some(self.touch(index))
    }

    /// The memory of a value that is in no register.
    pub(crate) fn memory(&self, val: Val) -> Option<Mem> {
        match val.kind() {
            ValKind::Slot(n) => Some(frame::slot(n)),
            ValKind::Temp(n) => self.temps[usize::from(n)].cell.map(frame::spill),
            ValKind::Const(_) | ValKind::None => None,
        }
    }

    /// Where the integer is now: in a register, or in memory. Not for constants.
    pub(crate) fn place(&mut self, val: Val) -> Operand {
        if let ValKind::Slot(n) = val.kind()
            && let Some(reg) = self.pinned(n)
        {
            return Operand::Reg(reg);
        }
        match self.find(val) {
            Some(reg) => Operand::Reg(reg),
            // Verified blocks assign before they use.
            None => self.memory(val).map_or(Operand::Imm(0), Operand::Mem),
        }
    }

    /// Whether the value is 128 bits wide in memory: vectors are, and every value in a cell of a vector register.
    pub(crate) fn is_vector(&self, val: Val) -> bool {
        match val.kind() {
            ValKind::Slot(n) => self.vector_slots[usize::from(n) % SLOTS],
            _ => true,
        }
    }

    /// Gives temporary `n` a cell of its own.
    fn cell(&mut self, n: u16) -> Result<Mem, TooManyTemps> {
        // Cells of temporaries that are dead may be used again.
        let now = self.now;
        if !self.cells.contains(&false) {
            self.cells.fill(false);
            for temp in self.temps.iter().filter(|temp| temp.last_use >= now) {
                if let Some(cell) = temp.cell {
                    self.cells[usize::from(cell)] = true;
                }
            }
        }
        let cell = self.cells.iter().position(|used| !used).ok_or(TooManyTemps)?;
        self.cells[cell] = true;
        self.temps[usize::from(n)].cell = Some(cell as u16);
        Ok(frame::spill(cell as u16))
    }

    /// Makes a scratch register free, saving what is still needed.
    fn vacate<R: HostReg>(&mut self, asm: &mut Asm, index: usize) -> Result<(), TooManyTemps> {
        let reg = R::FILE[index];
        let file = *R::file(self);
        match file.held[index] {
            Held::Temp(n) => {
                let temp = self.temps[usize::from(n)];
                if temp.last_use >= self.now && temp.cell.is_none() {
                    let cell = self.cell(n)?;
                    reg.store(asm, cell, true);
                }
                self.temps[usize::from(n)].at = None;
            }
            Held::Slot(n) if file.dirty >> index & 1 != 0 => {
                let vector = self.vector_slots[usize::from(n)];
                if let AnyReg::Int(reg) = reg.any() {
                    self.widen(asm, reg);
                }
                reg.store(asm, frame::slot(n), vector);
            }
            Held::Slot(_) | Held::Nothing => {}
        }
        let file = R::file(self);
        file.held[index] = Held::Nothing;
        file.dirty &= !(1 << index);
        if let AnyReg::Int(reg) = reg.any() {
            self.narrow &= !(1 << reg.0);
        }
        Ok(())
    }

    /// Whether any vector register holds a value.
    pub(crate) fn vectors_live(&self) -> bool {
        self.vecs.held.iter().any(|&held| held != Held::Nothing)
    }

    /// Makes all registers of a file free: a helper is about to be called that preserves none.
    pub(crate) fn vacate_all<R: HostReg>(&mut self, asm: &mut Asm) -> Result<(), TooManyTemps> {
        (0..R::FILE.len()).try_for_each(|index| self.vacate::<R>(asm, index))
    }

    /// A scratch register for the operation in hand.
    pub(crate) fn scratch<R: HostReg>(&mut self, asm: &mut Asm) -> Result<R, TooManyTemps> {
        let file = *R::file(self);
        let rank = |index: usize| match file.held[index] {
            Held::Nothing => (0, index as u32),
            Held::Slot(_) if file.dirty >> index & 1 == 0 => (1, file.age[index]),
            Held::Slot(_) | Held::Temp(_) => (2, file.age[index]),
        };
        let free = (0..R::FILE.len()).filter(|index| file.locked >> index & 1 == 0);
        let index = free.min_by_key(|&index| rank(index)).ok_or(TooManyTemps)?;
        self.vacate::<R>(asm, index)?;
        Ok(self.touch(index))
    }

    /// Takes a particular general register, moving away what is in it. It must not be locked.
    pub(crate) fn claim(&mut self, asm: &mut Asm, reg: Reg) -> Result<(), TooManyTemps> {
        let Some(index) = SCRATCH.iter().position(|&r| r == reg) else { return Ok(()) };
        debug_assert!(self.ints.locked >> index & 1 == 0, "{reg:?} is in use by the operation itself");
        self.ints.locked |= 1 << index;
        match self.ints.held[index] {
            Held::Temp(n) if self.temps[usize::from(n)].last_use >= self.now => {
                let locked = self.ints.locked;
                let to: Reg = self.scratch(asm)?;
                asm.mov(to, reg);
                let new = SCRATCH.iter().position(|&r| r == to).unwrap_or(0);
                self.ints.held[new] = Held::Temp(n);
                self.temps[usize::from(n)].at = Some(new as u8);
                self.ints.locked = locked;
                self.ints.held[index] = Held::Nothing;
                Ok(())
            }
            _ => self.vacate::<Reg>(asm, index),
        }
    }

    /// Lets the operation in hand use the register for something else.
    pub(crate) fn unlock(&mut self, reg: Reg) {
        if let Some(index) = SCRATCH.iter().position(|&r| r == reg) {
            self.ints.locked &= !(1 << index);
        }
    }

    /// Notes that `reg` holds the value of `val` from now on: a temporary; or a slot's, which its memory does not hold yet if
    /// `dirty`.
    pub(crate) fn hold<R: HostReg>(&mut self, val: Val, reg: R, dirty: bool) {
        let Some(index) = R::FILE.iter().position(|&r| r == reg) else { return };
        if let Held::Temp(n) = R::file(self).held[index] {
            self.temps[usize::from(n)].at = None;
        }
        if let AnyReg::Int(reg) = reg.any() {
            self.narrow &= !(1 << reg.0);
        }
        let now = self.now;
        let held = match val.kind() {
            ValKind::Slot(n) => {
                self.forget_slot::<R>(n);
                Held::Slot(n)
            }
            ValKind::Temp(n) => {
                self.temps[usize::from(n)].at = Some(index as u8);
                Held::Temp(n)
            }
            ValKind::Const(_) | ValKind::None => Held::Nothing,
        };
        let file = R::file(self);
        file.held[index] = held;
        file.age[index] = now;
        file.dirty = file.dirty & !(1 << index) | u16::from(dirty && matches!(held, Held::Slot(_))) << index;
    }

    /// Drops the copy of slot `n`, dirty or not: it is about to get another value.
    pub(crate) fn forget_slot<R: HostReg>(&mut self, n: u16) {
        let file = R::file(self);
        if let Some(index) = file.find(Held::Slot(n)) {
            file.held[index] = Held::Nothing;
            file.dirty &= !(1 << index);
        }
    }

    /// Drops all copies of slots, none of which is dirty.
    pub(crate) fn forget_slots(&mut self) {
        for file in [&mut self.ints, &mut self.vecs] {
            debug_assert_eq!(file.dirty, 0, "a slot's value would be lost");
            for held in &mut file.held {
                if matches!(held, Held::Slot(_)) {
                    *held = Held::Nothing;
                }
            }
        }
        self.boxed.fill(false);
    }

    /// Appends what [`Regs::write_back`] would do now.
    pub(crate) fn list_dirty(&self, list: &mut Vec<Dirty>) {
        let narrow = |reg: Reg| self.narrow >> reg.0 & 1 != 0;
        list.extend(PINNED.into_iter().filter(|&reg| narrow(reg)).map(Dirty::Narrow));
        for (index, &reg) in SCRATCH.iter().enumerate() {
            if let (Held::Slot(slot), true) = (self.ints.held[index], self.ints.dirty >> index & 1 != 0) {
                list.push(Dirty::Int { slot, reg, narrow: narrow(reg) });
            }
        }
        if self.vecs.dirty == 0 {
            return;
        }
        for (index, &reg) in VECTORS.iter().enumerate() {
            if let (Held::Slot(slot), true) = (self.vecs.held[index], self.vecs.dirty >> index & 1 != 0) {
                list.push(Dirty::Vec { slot, reg, vector: self.vector_slots[usize::from(slot)] });
            }
        }
    }

    /// Writes all dirty copies back, and extends what is narrow; everything stays in its register.
    pub(crate) fn write_back(&mut self, asm: &mut Asm, list: &mut Vec<Dirty>) {
        list.clear();
        self.list_dirty(list);
        list.drain(..).for_each(|dirty| dirty.write_back(asm));
        (self.ints.dirty, self.vecs.dirty, self.narrow) = (0, 0, 0);
    }

    /// Notes whether the upper bits of the binary32 number in temporary `val` may be anything.
    pub(crate) fn set_loose(&mut self, val: Val, loose: bool) {
        if let ValKind::Temp(n) = val.kind() {
            self.temps[usize::from(n)].loose = loose;
        }
    }

    /// Notes that the number in temporary `val` has all its bits now, in its register.
    pub(crate) fn tightened(&mut self, val: Val) {
        if let ValKind::Temp(n) = val.kind() {
            let temp = &mut self.temps[usize::from(n)];
            (temp.loose, temp.cell) = (false, None);
        }
    }

    /// Whether they may.
    pub(crate) fn is_loose(&self, val: Val) -> bool {
        matches!(val.kind(), ValKind::Temp(n) if self.temps[usize::from(n)].loose)
    }

    /// Notes whether the slot is known to hold a boxed binary32 number.
    pub(crate) fn set_boxed(&mut self, val: Val, boxed: bool) {
        if let ValKind::Slot(n) = val.kind() {
            self.boxed[usize::from(n) % SLOTS] = boxed;
            self.any_boxed |= boxed;
        }
    }

    /// Whether it is.
    pub(crate) fn is_boxed(&self, val: Val) -> bool {
        matches!(val.kind(), ValKind::Slot(n) if self.boxed[usize::from(n) % SLOTS])
    }
}
