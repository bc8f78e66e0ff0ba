//! The fixed pieces of host code around translated blocks: the way in, the ways out, and the calls of helpers.
#![allow(unsafe_code, reason = "the one module that calls generated code")]

use std::mem::offset_of;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::exec::CpuState;

use crate::bulk;
use crate::frame::{self, Entry, Frame, MXCSR, PRESERVED, accrued};
use crate::helpers::Helper;
use crate::template::asm::{Asm, Mem, RAX, RBP, Reg, Xmm, x64};
use crate::template::regs::{SCRATCH, VECTORS};
use crate::template::{Compiler, Features};

/// The addresses of the stubs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stubs {
    /// The way in.
    pub enter: usize,
    /// Called: performs the operation that the site describes. There is one for blocks whose vector registers hold nothing
    /// at that place, and one that preserves these.
    pub operation: [usize; 2],
    /// Called: sees to it that the unit that the site describes may be accessed; the result is what to add to its address
    /// in order that the frame's `imm` says (0 for a read, 1 for a write), or zero if that is not as simple.
    pub reach: [usize; 2],
    /// Called: runs a helper of the front end. Scratch and vector registers are lost.
    pub call: usize,
    /// Called: see [`crate::bulk`].
    pub copy: usize,
    /// Called: likewise.
    pub fill: usize,
    /// What regions call to copy and to fill: see [`bulk::function`].
    pub bulk_functions: [usize; 2],
    /// Jumped to: goes on at the virtual address in `rax`, polling.
    pub go: usize,
    /// Called: as `go`, to the offset that stands 5 bytes after the call.
    pub go_at: usize,
    /// Jumped to: as `go`, when the jump cache has missed. `page_base` is set.
    pub miss: usize,
    /// Called: leaves to go on at the offset that follows the call.
    pub leave_at: usize,
    /// Jumped to: leaves to go on at `rax`.
    pub leave_at_rax: usize,
    /// Called: leaves to go on at the offset that follows the call, by an exit that can be linked: its block and
    /// number come next.
    pub link: usize,
    /// Where the constants are.
    constants: usize,
}

macro_rules! constants {
    ($($(#[doc = $doc:literal])* $name:ident $value:expr;)*) => {
        /// A constant that translated code has at a fixed place, as wide as a vector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Constant {
            $($(#[doc = $doc])* $name,)*
        }

        const CONSTANTS: &[u128] = &[$($value,)*];
    };
}

constants! {
    /// The upper half of a boxed binary32 number.
    Box 0xffff_ffff << 32;
    /// The canonical NaN of binary32.
    Nan32 0x7fc0_0000;
    /// The sign of a binary32 number.
    Sign32 1 << 31;
    /// All but that, and the upper bits.
    Rest32 (1 << 31) - 1;
    /// The sign of a binary64 number.
    Sign64 1 << 63;
    /// All but that.
    Rest64 (1 << 63) - 1;
    /// All but the signs of binary32 numbers.
    Magnitude32 0x7fff_ffff_7fff_ffff_7fff_ffff_7fff_ffff;
    /// All but the signs of binary64 numbers.
    Magnitude64 0x7fff_ffff_ffff_ffff_7fff_ffff_ffff_ffff;
    /// The smallest normal binary32 numbers.
    Normal32 0x0080_0000_0080_0000_0080_0000_0080_0000;
    /// The smallest normal binary64 numbers.
    Normal64 0x0010_0000_0000_0000_0010_0000_0000_0000;
    /// The signs of 64-bit lanes.
    Signs64 0x8000_0000_0000_0000_8000_0000_0000_0000;
    /// The low byte of each 16 bits.
    LowBytes 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    /// The low half of each 32 bits.
    LowHalves 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    /// The low half of each byte.
    LowNibbles 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;
    /// How many bits are set in each number below 16.
    NibbleCounts 0x0403_0302_0302_0201_0302_0201_0201_0100;
    /// What makes bytes from 16 on negative, when added with saturation.
    NotBelow16 0x7070_7070_7070_7070_7070_7070_7070_7070;
    /// 16 in each byte.
    Bytes16 0x1010_1010_1010_1010_1010_1010_1010_1010;
    /// 32 in each byte.
    Bytes32 0x2020_2020_2020_2020_2020_2020_2020_2020;
    /// 48 in each byte.
    Bytes48 0x3030_3030_3030_3030_3030_3030_3030_3030;
    /// The bytes of each 16 bits in opposite order.
    Reverse16 0x0e0f_0c0d_0a0b_0809_0607_0405_0203_0001;
    /// Of each 32 bits.
    Reverse32 0x0c0d_0e0f_0809_0a0b_0405_0607_0001_0203;
    /// Of each 64 bits.
    Reverse64 0x0809_0a0b_0c0d_0e0f_0001_0203_0405_0607;
    /// The low bytes of each 16 bits one after the other, zeros above.
    NarrowBytes 0x8080_8080_8080_8080_0e0c_0a08_0604_0200;
    /// The low halves of each 32 bits, likewise.
    NarrowHalves 0x8080_8080_8080_8080_0d0c_0908_0504_0100;
    /// 2^32 as a binary64 number.
    Two32 0x41f0_0000_0000_0000;
    /// 2^63 as a binary64 number.
    Two63 0x43e0_0000_0000_0000;
    /// 2^32 as a binary32 number.
    Two32Single 0x4f80_0000;
    /// 2^63 as a binary32 number.
    Two63Single 0x5f00_0000;
}

/// The flags of MXCSR are its lowest bits, as many as name an entry of the table that follows the constants: what the guest
/// has accrued then.
const ACCRUED_LEN: u32 = 64;

/// Why translated code came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A helper has stopped it; the context says how.
    Stopped = 0,
    /// By an exit that can be linked; the frame, copied to the context, says which.
    Link = 1,
    /// Its next block could not be found quickly.
    Lookup = 2,
    /// Something wants attention.
    Attention = 3,
}

/// Bytes below the saved registers: the frame, and what keeps it aligned.
const FRAME: i32 = size_of::<Frame>() as i32 + 8;
const _: () = assert!(size_of::<Frame>().is_multiple_of(16) && offset_of!(Frame, entry) == 0);
const _: () = assert!(size_of::<Entry>() == 32);

/// A place in the frame, seen from inside a stub that was called.
const fn in_call(mem: Mem) -> Mem {
    Mem { base: mem.base, disp: mem.disp + 8 }
}

impl Stubs {
    /// The stubs for guests whose hottest slots are `hot`, to be placed at `base`.
    pub(crate) fn build(hot: &[u16], base: usize) -> (Self, Vec<u8>) {
        let mut asm = Asm::new();
        asm.restart(base);
        for constant in CONSTANTS {
            asm.ops_push(&constant.to_le_bytes());
        }
        for status in 0..ACCRUED_LEN {
            asm.ops_push(&[accrued(status) as u8]);
        }
        let pinned = frame::pinned(hot);
        let lost = pinned.get(PRESERVED..).unwrap_or_default();
        let spill = |asm: &mut Asm, regs: &[(Reg, Mem)]| regs.iter().for_each(|&(r, m)| asm.store(m, r));
        let fill = |asm: &mut Asm, regs: &[(Reg, Mem)]| regs.iter().for_each(|&(r, m)| asm.load(r, m));
        let here = |asm: &mut Asm| {
            while !asm.offset().is_multiple_of(16) {
                asm.ops_push(&[0xcc]);
            }
            base + asm.offset()
        };
        let helpers = frame::frame(offset_of!(Frame, entry) + offset_of!(Entry, helpers));
        let mxcsr = offset_of!(Frame, mxcsr) as i32;
        let saved = |n: usize| in_call(frame::frame(offset_of!(Frame, saved) + 8 * n));
        let saved_vector = |n: usize| in_call(frame::frame(offset_of!(Frame, vectors) + 16 * n));
        let mut stubs = Self { constants: base, enter: here(&mut asm), ..Self::default() };
        // enter(code, state, entry) -> Left
        x64!(asm, push rbx; push rbp; push r12; push r13; push r14; push r15; sub rsp, FRAME
            ; movups xmm0, [rdx]; movups xmm1, [rdx + 16]; movups [rsp], xmm0; movups [rsp + 16], xmm1
            ; mov rbp, rsi
            ; mov DWORD [rsp + mxcsr], 0; mov DWORD [rsp + mxcsr + 4], MXCSR as i32; ldmxcsr [rsp + mxcsr + 4]);
        fill(&mut asm, &pinned);
        x64!(asm, jmp rdi);
        // The way out; `eax` says why.
        let leave = here(&mut asm);
        spill(&mut asm, &pinned);
        x64!(asm, mov rcx, [rsp + offset_of!(Entry, context) as i32]
            ; mov rdx, [rsp + offset_of!(Frame, link) as i32]
            ; mov [rcx], rdx
            ; mov DWORD [rcx + 12], 0; stmxcsr [rcx + 8]; ldmxcsr [rsp + mxcsr + 4]
            ; add rsp, FRAME; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; ret);

        stubs.leave_at = here(&mut asm);
        x64!(asm, pop rcx; movsxd rax, DWORD [rcx]; add rax, [rbp + frame::PAGE_BASE.disp]);
        stubs.leave_at_rax = base + asm.offset();
        asm.store(frame::PC, RAX);
        x64!(asm, mov eax, Left::Attention as i32);
        asm.jmp_out(leave);

        stubs.link = here(&mut asm);
        x64!(asm, pop rcx; movsxd rax, DWORD [rcx]; add rax, [rbp + frame::PAGE_BASE.disp]);
        asm.store(frame::PC, RAX);
        x64!(asm, mov rax, [rcx + 4]; mov [rsp + offset_of!(Frame, link) as i32], rax
            ; mov eax, Left::Link as i32);
        asm.jmp_out(leave);

        stubs.miss = here(&mut asm);
        asm.store(frame::PC, RAX);
        spill(&mut asm, lost);
        x64!(asm, mov rdi, rsp; mov rax, [rsp + helpers.disp]; call QWORD [rax + 8 * Helper::Find as i32]);
        fill(&mut asm, lost);
        x64!(asm, test rax, rax; jz >none; jmp rax; none: ; mov eax, Left::Lookup as i32);
        asm.jmp_out(leave);

        let [operation, operation_vec] = &mut stubs.operation;
        let [reach, reach_vec] = &mut stubs.reach;
        let helpers_called: [(_, _, &[Reg], &[Xmm]); 5] = [
            (operation, Helper::Operation, &SCRATCH, &[]),
            (operation_vec, Helper::Operation, &SCRATCH, &VECTORS),
            (reach, Helper::Reach, &SCRATCH, &[]),
            (reach_vec, Helper::Reach, &SCRATCH, &VECTORS),
            (&mut stubs.call, Helper::Call, &[], &[]),
        ];
        for (place, helper, scratch, vectors) in helpers_called {
            *place = here(&mut asm);
            // A helper of the front end may look at all slots; the others change none.
            let exposed = if helper == Helper::Call { pinned.as_slice() } else { lost };
            for (n, &reg) in scratch.iter().enumerate() {
                asm.store(saved(n), reg);
            }
            for (n, &reg) in vectors.iter().enumerate() {
                asm.store_xmm(saved_vector(n), reg, true);
            }
            spill(&mut asm, exposed);
            x64!(asm, lea rdi, [rsp + 8]; mov rax, [rsp + helpers.disp + 8]
                ; stmxcsr [rdi + mxcsr]; ldmxcsr [rdi + mxcsr + 4]
                ; sub rsp, 8; call QWORD [rax + 8 * helper as i32]; add rsp, 8
                ; ldmxcsr [rsp + mxcsr + 12]; test eax, eax);
            fill(&mut asm, exposed);
            x64!(asm, jnz > stopped);
            for (n, &reg) in scratch.iter().enumerate() {
                asm.load(reg, saved(n));
            }
            for (n, &reg) in vectors.iter().enumerate() {
                asm.load_xmm(reg, saved_vector(n), true);
            }
            x64!(asm, ret; stopped: ; add rsp, 8; mov eax, Left::Stopped as i32);
            asm.jmp_out(leave);
        }

        let Features { avx, .. } = Features::of_host();
        stubs.copy = here(&mut asm);
        bulk::copy(&mut asm, avx);
        stubs.fill = here(&mut asm);
        bulk::fill(&mut asm, avx);
        stubs.bulk_functions = [stubs.copy, stubs.fill].map(|stub| {
            let function = here(&mut asm);
            bulk::function(&mut asm, stub);
            function
        });

        stubs.go_at = here(&mut asm);
        x64!(asm, pop rcx; movsxd rax, DWORD [rcx + 5]; add rax, [rbp + frame::PAGE_BASE.disp]);
        // It falls through.
        let go = base + asm.offset();
        let mut code = asm.finish().unwrap_or_default();
        let mut compiler = Compiler::new(hot, &[], Features::of_host(), stubs);
        code.extend(compiler.go_stub(go));
        stubs.go = go;
        debug_assert_eq!(RBP, frame::PC.base);
        (stubs, code)
    }

    /// The same, as if they began at zero.
    pub(crate) fn relative(&self) -> Self {
        let base = self.constants;
        let from = |place: usize| place - base;
        let Self { enter, operation, reach, call, copy, fill, bulk_functions, go, go_at, miss, .. } = *self;
        let Self { leave_at, leave_at_rax, link, constants, .. } = *self;
        Self {
            enter: from(enter),
            operation: operation.map(from),
            reach: reach.map(from),
            call: from(call),
            copy: from(copy),
            fill: from(fill),
            bulk_functions: bulk_functions.map(from),
            go: from(go),
            go_at: from(go_at),
            miss: from(miss),
            leave_at: from(leave_at),
            leave_at_rax: from(leave_at_rax),
            link: from(link),
            constants: from(constants),
        }
    }

    /// Where a constant is.
    pub(crate) fn constant(&self, constant: Constant) -> usize {
        self.constants + 16 * constant as usize
    }

    /// Where the guest's flags are, one byte for each value of MXCSR's.
    pub(crate) fn accrued(&self) -> usize {
        self.constants + 16 * CONSTANTS.len()
    }

    /// Runs translated code.
    ///
    /// # Safety
    /// `code` must be the address of a block in the code memory that these stubs belong to, which no other thread reuses
    /// while it runs; `state` the state of the vCPU that `entry` names, its helpers made for its type; nothing else may
    /// use that vCPU or the context meanwhile. The context begins with 16 bytes that receive link and MXCSR.
    pub(crate) unsafe fn enter(&self, code: usize, state: *mut CpuState, entry: &Entry) -> Left {
        type Enter = unsafe extern "sysv64" fn(usize, *mut CpuState, *const Entry) -> u32;
        // SAFETY: `enter` is the address of the code that `build` made for this signature, mapped executable.
        let enter = unsafe { std::mem::transmute::<usize, Enter>(self.enter) };
        // SAFETY: the caller's promise.
        match unsafe { enter(code, state, entry) } {
            0 => Left::Stopped,
            1 => Left::Link,
            2 => Left::Lookup,
            _ => Left::Attention,
        }
    }
}
