//! Which values are in which host registers while a block is translated.
//!
//! The hottest guest registers have host registers of their own everywhere. The other slots live in memory, are written
//! through, and may have a copy in a scratch register. Temporaries live in scratch registers from their assignment to their
//! last use, or in cells of the frame if these do not suffice.

use emu_core::ir::{Block, Terminal, Val, ValKind};

use super::asm::{Asm, Mem, Operand, RAX, RCX, RDI, RDX, RSI, Reg};
use crate::frame::{self, PINNED, SPILLS};

/// The registers that are no guest register's.
pub(crate) const SCRATCH: [Reg; 5] = [RAX, RSI, RDI, RDX, RCX];

/// What a scratch register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Temp(u16),
    /// A copy of the slot in memory.
    Slot(u16),
}

#[derive(Clone, Copy, Debug)]
struct Temp {
    /// Index into [`SCRATCH`].
    scratch: Option<u8>,
    /// Its cell holds the value.
    cell: Option<u16>,
    /// Number of the last operation that reads it.
    last_use: u32,
}

/// The state of all registers at a point of the block.
pub(crate) struct Regs {
    /// The host register of each pinned slot.
    pinned: Box<[Option<Reg>]>,
    held: [Held; SCRATCH.len()],
    /// When each was last used.
    age: [u32; SCRATCH.len()],
    /// Scratch registers that the operation in hand needs, as bits.
    locked: u8,
    temps: Vec<Temp>,
    cells: Vec<bool>,
    now: u32,
}

/// The block needs more temporaries at once than there is room for.
#[derive(Debug)]
pub(crate) struct TooManyTemps;

impl Regs {
    /// With the guest registers `hot` in host registers.
    pub(crate) fn new(hot: &[u16]) -> Self {
        let mut pinned = vec![None; emu_core::exec::SLOTS].into_boxed_slice();
        for (&slot, reg) in hot.iter().zip(PINNED) {
            if let Some(place) = pinned.get_mut(usize::from(slot)) {
                *place = Some(reg);
            }
        }
        Self {
            pinned,
            held: [Held::Nothing; _],
            age: [0; _],
            locked: 0,
            temps: Vec::new(),
            cells: vec![false; SPILLS],
            now: 0,
        }
    }

    /// Begins a block: finds where each temporary is used last.
    pub(crate) fn begin(&mut self, block: &Block) {
        self.held = [Held::Nothing; _];
        self.locked = 0;
        self.now = 0;
        self.cells.fill(false);
        self.temps.clear();
        self.temps.resize(usize::from(block.temps), Temp { scratch: None, cell: None, last_use: 0 });
        let mut used = |val: Val, at: usize| {
            if let ValKind::Temp(n) = val.kind()
                && let Some(temp) = self.temps.get_mut(usize::from(n))
            {
                temp.last_use = at as u32;
            }
        };
        for (at, inst) in block.insts.iter().enumerate() {
            [inst.a, inst.b, inst.c].into_iter().for_each(|val| used(val, at));
        }
        let end = block.insts.len();
        match block.terminal {
            Terminal::Branch { a, b, .. } => [a, b].into_iter().for_each(|val| used(val, end)),
            Terminal::Indirect { target: value, .. } | Terminal::Exception { value, .. } => used(value, end),
            Terminal::Jump { .. } | Terminal::Lookup { .. } => {}
        }
    }

    /// Goes on to operation `at`: nothing is locked, and temporaries that are not used any more are gone.
    pub(crate) fn advance(&mut self, at: usize) {
        self.now = at as u32;
        self.locked = 0;
        for held in &mut self.held {
            if let Held::Temp(n) = *held
                && self.temps[usize::from(n)].last_use < self.now
            {
                self.temps[usize::from(n)].scratch = None;
                *held = Held::Nothing;
            }
        }
    }

    /// Whether temporary `val` is not read after the operation in hand.
    pub(crate) fn dies(&self, val: Val) -> bool {
        matches!(val.kind(), ValKind::Temp(n) if self.temps[usize::from(n)].last_use <= self.now)
    }

    /// The host register of slot `n`, if it has one.
    pub(crate) fn pinned(&self, n: u16) -> Option<Reg> {
        self.pinned.get(usize::from(n)).copied().flatten()
    }

    fn find(&self, held: Held) -> Option<usize> {
        self.held.iter().position(|&h| h == held)
    }

    fn touch(&mut self, index: usize) -> Reg {
        self.locked |= 1 << index;
        self.age[index] = self.now;
        SCRATCH[index]
    }

    /// Where the value is now: in a register, or in memory. Not for constants.
    pub(crate) fn place(&mut self, val: Val) -> Operand {
        match val.kind() {
            ValKind::Slot(n) => {
                if let Some(reg) = self.pinned(n) {
                    return Operand::Reg(reg);
                }
                match self.find(Held::Slot(n)) {
                    Some(index) => Operand::Reg(self.touch(index)),
                    None => Operand::Mem(frame::slot(n)),
                }
            }
            ValKind::Temp(n) => match self.temps[usize::from(n)] {
                Temp { scratch: Some(index), .. } => Operand::Reg(self.touch(usize::from(index))),
                Temp { cell: Some(cell), .. } => Operand::Mem(frame::spill(cell)),
                // Verified blocks assign before they use.
                _ => Operand::Imm(0),
            },
            ValKind::Const(_) | ValKind::None => Operand::Imm(0),
        }
    }

    /// The memory of a vector, or of a value that is wanted in memory: only slots that have no register, and temporaries
    /// made by [`Regs::cell`].
    pub(crate) fn memory(&self, val: Val) -> Option<Mem> {
        match val.kind() {
            ValKind::Slot(n) => Some(frame::slot(n)),
            ValKind::Temp(n) => self.temps[usize::from(n)].cell.map(frame::spill),
            _ => None,
        }
    }

    /// Gives temporary `n` a cell of its own, in which it stays.
    pub(crate) fn cell(&mut self, n: u16) -> Result<Mem, TooManyTemps> {
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

    /// Makes scratch register `index` free, saving what is still needed.
    fn vacate(&mut self, asm: &mut Asm, index: usize) -> Result<(), TooManyTemps> {
        if let Held::Temp(n) = self.held[index] {
            let temp = self.temps[usize::from(n)];
            if temp.last_use >= self.now && temp.cell.is_none() {
                let cell = self.cell(n)?;
                asm.store(cell, SCRATCH[index]);
            }
            self.temps[usize::from(n)].scratch = None;
        }
        self.held[index] = Held::Nothing;
        Ok(())
    }

    /// A scratch register for the operation in hand.
    pub(crate) fn scratch(&mut self, asm: &mut Asm) -> Result<Reg, TooManyTemps> {
        let free = |index: &usize| self.locked >> index & 1 == 0;
        let rank = |index: usize| match self.held[index] {
            Held::Nothing => (0, index as u32),
            Held::Slot(_) => (1, self.age[index]),
            Held::Temp(_) => (2, self.age[index]),
        };
        let index = (0..SCRATCH.len()).filter(free).min_by_key(|&i| rank(i)).ok_or(TooManyTemps)?;
        self.vacate(asm, index)?;
        Ok(self.touch(index))
    }

    /// Takes a particular scratch register, moving away what is in it. It must not be locked.
    pub(crate) fn claim(&mut self, asm: &mut Asm, reg: Reg) -> Result<(), TooManyTemps> {
        let Some(index) = SCRATCH.iter().position(|&r| r == reg) else { return Ok(()) };
        debug_assert!(self.locked >> index & 1 == 0, "{reg:?} is in use by the operation itself");
        self.locked |= 1 << index;
        match self.held[index] {
            Held::Temp(n) if self.temps[usize::from(n)].last_use >= self.now => {
                let locked = self.locked;
                let to = self.scratch(asm)?;
                asm.mov(to, reg);
                let new = SCRATCH.iter().position(|&r| r == to).unwrap_or(0);
                self.held[new] = Held::Temp(n);
                self.temps[usize::from(n)].scratch = Some(new as u8);
                self.locked = locked;
            }
            Held::Temp(n) => self.temps[usize::from(n)].scratch = None,
            _ => {}
        }
        self.held[index] = Held::Nothing;
        Ok(())
    }

    /// Lets the operation in hand use the register for something else.
    pub(crate) fn unlock(&mut self, reg: Reg) {
        if let Some(index) = SCRATCH.iter().position(|&r| r == reg) {
            self.locked &= !(1 << index);
        }
    }

    /// Notes that `reg` holds the value of `val` from now on: a temporary, or a copy of a slot that lives in memory.
    pub(crate) fn hold(&mut self, val: Val, reg: Reg) {
        let Some(index) = SCRATCH.iter().position(|&r| r == reg) else { return };
        match self.held[index] {
            Held::Temp(n) => self.temps[usize::from(n)].scratch = None,
            Held::Slot(_) | Held::Nothing => {}
        }
        self.held[index] = Held::Nothing;
        match val.kind() {
            ValKind::Slot(n) => {
                self.forget_slot(n);
                self.held[index] = Held::Slot(n);
            }
            ValKind::Temp(n) => {
                self.held[index] = Held::Temp(n);
                self.temps[usize::from(n)].scratch = Some(index as u8);
            }
            _ => {}
        }
        self.age[index] = self.now;
    }

    /// Drops copies of slot `n`: it has changed in memory.
    pub(crate) fn forget_slot(&mut self, n: u16) {
        if let Some(index) = self.find(Held::Slot(n)) {
            self.held[index] = Held::Nothing;
        }
    }

    /// Drops all copies of slots.
    pub(crate) fn forget_slots(&mut self) {
        for held in &mut self.held {
            if matches!(held, Held::Slot(_)) {
                *held = Held::Nothing;
            }
        }
    }
}
