//! What translated code keeps on the host stack while it runs, and where the parts of the state are.

use std::mem::offset_of;

use emu_core::exec::CpuState;
use emu_core::mem::Tables;

use crate::template::asm::{Mem, RBP, RSP, Reg};

/// Cells for temporaries that found no register.
pub(crate) const SPILLS: usize = 64;

/// The stack frame of translated code: `rsp` points to it.
#[repr(C)]
pub(crate) struct Frame {
    /// What [`Entry`] holds.
    pub entry: Entry,
    /// Scratch registers, while a helper runs.
    pub saved: [u64; 6],
    /// Operands of a helper.
    pub args: [u128; 3],
    /// What it returned.
    pub result: u128,
    /// The operation that a helper is to perform, as [`Site`].
    pub site: u64,
    /// The constant operand of that operation.
    pub imm: u64,
    /// Offset from the page of the instruction that it belongs to.
    pub offset: i32,
    /// Length of that instruction in bytes.
    pub len: u32,
    /// Of an exit that may be linked: block and number.
    pub link: [u32; 2],
    /// Temporaries.
    pub spills: [u128; SPILLS],
}

impl Frame {
    /// The operation that a helper is to perform.
    pub(crate) fn site(&self) -> Site {
        Site(self.site)
    }

    /// The number of its instruction in its block.
    pub(crate) fn number(&self) -> u64 {
        self.site().number()
    }
}

/// What a run is given; copied to the bottom of the frame.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The `Vcpu`.
    pub vcpu: u64,
    /// The `Context`.
    pub context: u64,
    /// The flags that say whether the vCPU is wanted elsewhere.
    pub attention: u64,
    /// The helpers, by [`crate::helpers::Helper`].
    pub helpers: u64,
}

/// What a helper must know of the operation it stands for, in 64 bits: the instruction's number in its block in bits 47
/// to 32, attribute, type and operation below.
#[derive(Clone, Copy)]
pub(crate) struct Site(pub u64);

impl Site {
    pub(crate) fn new(op: emu_core::ir::Op, ty: emu_core::ir::Ty, attr: u16, number: usize) -> Self {
        Self(op as u64 | (ty as u64) << 8 | u64::from(attr) << 16 | (number as u64) << 32)
    }

    pub(crate) fn op(self) -> emu_core::ir::Op {
        emu_core::ir::Op::ALL[self.0 as usize & 0xff]
    }

    pub(crate) fn ty(self) -> emu_core::ir::Ty {
        emu_core::ir::Ty::ALL[(self.0 >> 8) as usize & 0xff]
    }

    pub(crate) fn attr(self) -> u16 {
        (self.0 >> 16) as u16
    }

    pub(crate) fn number(self) -> u64 {
        self.0 >> 32
    }
}

/// A field of [`CpuState`], for translated code.
pub(crate) const fn state(offset: usize) -> Mem {
    Mem { base: RBP, disp: offset as i32 }
}

/// A field of the frame.
pub(crate) const fn frame(offset: usize) -> Mem {
    Mem { base: RSP, disp: offset as i32 }
}

pub(crate) const PC: Mem = state(offset_of!(CpuState, pc));
pub(crate) const PAGE_BASE: Mem = state(offset_of!(CpuState, page_base));
pub(crate) const RETIRED: Mem = state(offset_of!(CpuState, retired));
pub(crate) const JUMPS: Mem = state(offset_of!(CpuState, tables) + offset_of!(Tables, jumps));
pub(crate) const ATTENTION: Mem = frame(offset_of!(Frame, entry) + offset_of!(Entry, attention));
pub(crate) const RESULT: Mem = frame(offset_of!(Frame, result));

/// Where guest register slot `n` is.
pub(crate) const fn slot(n: u16) -> Mem {
    state(offset_of!(CpuState, slots) + 8 * n as usize)
}

/// Where the entries of the translations for `view` are named.
pub(crate) const fn tlb(view: usize) -> Mem {
    state(offset_of!(CpuState, tables) + offset_of!(Tables, data) + 8 * view)
}

/// Operand `n` of a helper.
pub(crate) const fn arg(n: usize) -> Mem {
    frame(offset_of!(Frame, args) + 16 * n)
}

/// The cell of a spilled temporary.
pub(crate) const fn spill(n: u16) -> Mem {
    frame(offset_of!(Frame, spills) + 16 * n as usize)
}

/// The upper half of a 128-bit cell.
pub(crate) const fn upper(mem: Mem) -> Mem {
    Mem { base: mem.base, disp: mem.disp + 8 }
}

/// Host registers that hold guest registers, the hottest first. Helpers preserve the first five.
pub(crate) const PINNED: [Reg; 9] =
    [Reg(3), Reg(12), Reg(13), Reg(14), Reg(15), Reg(8), Reg(9), Reg(10), Reg(11)];
/// How many of [`PINNED`] the host's calling convention preserves.
pub(crate) const PRESERVED: usize = 5;
