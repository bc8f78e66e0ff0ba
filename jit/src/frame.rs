//! What translated code keeps on the host stack while it runs, and where the parts of the state are.

use std::mem::offset_of;

use emu_core::exec::{CpuState, REGION_COUNTS, RegionCount};
use emu_core::fp::Flags;
use emu_core::ir::{Op, Ty};
use emu_core::mem::{Segment, Tables};

use crate::template::asm::{Mem, RBP, RSP, Reg};
use crate::template::regs::VECTORS;

/// Cells for temporaries that found no register.
pub(crate) const SPILLS: usize = 64;

/// The stack frame of translated code: `rsp` points to it.
#[repr(C)]
pub(crate) struct Frame {
    // What code names most often is near `rsp`, where instructions that name it are short.
    /// What [`Entry`] holds.
    pub entry: Entry,
    /// Operands of a helper.
    pub args: [u128; 3],
    /// What it returned.
    pub result: u128,
    /// The operation that a helper is to perform.
    pub site: Site,
    /// Where it stands.
    pub mark: MarkAt,
    /// The constant operand of that operation.
    pub imm: u64,
    /// Length of the instruction that it belongs to, in bytes.
    pub len: u32,
    /// Of an exit that may be linked: block and number.
    pub link: [u32; 2],
    /// The floating-point control and status of translated code when it last went to Rust, and as it is to be when it
    /// comes back: nothing accrued.
    pub mxcsr: [u32; 2],
    /// Its status, where translated code looks at it itself.
    pub status: u32,
    /// Scratch registers, while a helper runs.
    pub saved: [u64; 6],
    /// Vector registers, likewise.
    pub vectors: [u128; VECTORS.len()],
    /// Temporaries.
    pub spills: [u128; SPILLS],
}

/// In the number of an exit that may be linked: it goes to the plain variant of its target.
pub(crate) const PLAIN_EXIT: u32 = 1 << 31;

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

/// MXCSR with all exceptions masked, rounding to nearest, nothing accrued.
pub(crate) const MXCSR: u32 = 0x1f80;

/// The guest's flags, as [`emu_core::fp::Flags`] has them, that MXCSR has accrued (Intel SDM volume 1, 10.2.3).
pub(crate) fn accrued(mxcsr: u32) -> u64 {
    const PAIRS: [(u32, Flags); 5] = [
        (0, Flags::INVALID),
        (2, Flags::DIV_BY_ZERO),
        (3, Flags::OVERFLOW),
        (4, Flags::UNDERFLOW),
        (5, Flags::INEXACT),
    ];
    if mxcsr & 0x3d == 0 {
        return 0;
    }
    let of = |(bit, flag): (u32, Flags)| if mxcsr >> bit & 1 != 0 { u64::from(flag.bits()) } else { 0 };
    PAIRS.into_iter().map(of).fold(0, |all, flag| all | flag)
}

/// What a helper must know of the operation it stands for, in 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Site(pub u32);

impl Site {
    /// In the attributes of a load or store: its address is a host address in the window.
    pub(crate) const HOST: u16 = 1 << 15;

    pub(crate) fn new(op: Op, ty: Ty, attr: u16) -> Self {
        Self(op as u32 | (ty as u32) << 8 | u32::from(attr) << 16)
    }

    pub(crate) fn op(self) -> Op {
        Op::ALL[self.0 as usize & 0xff]
    }

    pub(crate) fn ty(self) -> Ty {
        Ty::ALL[(self.0 >> 8) as usize & 0xff]
    }

    pub(crate) fn attr(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// Which guest instruction of its block an operation belongs to, in 32 bits: its offset from the page, and its number.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct MarkAt(pub u32);

impl MarkAt {
    /// None if the block is so odd that these do not fit.
    pub(crate) fn new(offset: i32, number: usize) -> Option<Self> {
        let offset = i16::try_from(offset).ok()? as u16;
        Some(Self(u32::from(offset) | u32::from(u16::try_from(number).ok()?) << 16))
    }

    pub(crate) fn offset(self) -> i64 {
        i64::from(self.0 as i16)
    }

    pub(crate) fn number(self) -> u64 {
        u64::from(self.0 >> 16)
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
pub(crate) const FP_FLAGS: Mem = state(offset_of!(CpuState, fp_flags));
pub(crate) const STATUS: Mem = frame(offset_of!(Frame, status));
/// MXCSR with nothing accrued.
pub(crate) const CLEAN: Mem = frame(offset_of!(Frame, mxcsr) + 4);
pub(crate) const JUMPS: Mem = state(offset_of!(CpuState, tables) + offset_of!(Tables, jumps));
/// Where segment `n` of the window is named: its number, and what to add to its addresses.
pub(crate) const fn segment(n: usize) -> (Mem, Mem) {
    let at = offset_of!(CpuState, tables) + offset_of!(Tables, segments) + n * size_of::<Segment>();
    (state(at + offset_of!(Segment, number)), state(at + offset_of!(Segment, addend)))
}

/// Addresses below this are in the first segment.
pub(crate) const LOW: Mem = state(offset_of!(CpuState, tables) + offset_of!(Tables, low));
pub(crate) const FETCH: Mem = state(offset_of!(CpuState, fetch_table));
/// The attention flag that does not keep regions from being entered: something is to be done first.
pub(crate) const BRIEFLY: u32 = 1 << 31;
pub(crate) const ATTENTION: Mem = frame(offset_of!(Frame, entry) + offset_of!(Entry, attention));
/// The same where compiled regions find it.
pub(crate) const REGION_ATTENTION: Mem = state(offset_of!(CpuState, attention));
pub(crate) const RESULT: Mem = frame(offset_of!(Frame, result));

/// Where is counted what the region with this number does: its entries, and the instructions retired in it.
pub(crate) const fn region_count(number: u32) -> (Mem, Mem) {
    let n = number as usize % REGION_COUNTS;
    let at = offset_of!(CpuState, regions) + n * size_of::<RegionCount>();
    (state(at + offset_of!(RegionCount, entries)), state(at + offset_of!(RegionCount, instructions)))
}

/// How often regions were left in the middle of a block.
pub(crate) const BAIL_OUTS: Mem = state(offset_of!(CpuState, bail_outs));

/// Where guest register slot `n` is.
pub(crate) const fn slot(n: u16) -> Mem {
    state(offset_of!(CpuState, slots) + 8 * n as usize)
}

/// Where the entries of the translations for `view` are named.
pub(crate) const fn tlb(view: usize) -> Mem {
    state(offset_of!(CpuState, tables) + offset_of!(Tables, data) + 8 * view)
}

/// Where the mask of offsets of these entries is.
pub(crate) const fn tlb_mask(view: usize) -> Mem {
    state(offset_of!(CpuState, tables) + offset_of!(Tables, masks) + 8 * view)
}

/// Operand `n` of a helper.
pub(crate) const fn arg(n: usize) -> Mem {
    frame(offset_of!(Frame, args) + 16 * n)
}

/// The cell of a spilled temporary.
pub(crate) const fn spill(n: u16) -> Mem {
    frame(offset_of!(Frame, spills) + 16 * n as usize)
}

/// Host registers that hold guest registers: the first of [`Isa::HOT_SLOTS`](emu_core::exec::Isa::HOT_SLOTS), as many as there
/// are here. Helpers preserve the first five.
pub(crate) const PINNED: [Reg; 8] = [Reg(3), Reg(12), Reg(13), Reg(14), Reg(15), Reg(8), Reg(9), Reg(10)];
/// These, with the places of what they hold for guests whose hottest slots are `hot`.
pub(crate) fn pinned(hot: &[u16]) -> Vec<(Reg, Mem)> {
    PINNED.into_iter().zip(hot).map(|(reg, &n)| (reg, slot(n))).collect()
}

/// How many of [`PINNED`] the host's calling convention preserves.
pub(crate) const PRESERVED: usize = 5;
