//! The stubs that copy and fill small ranges of memory.
//!
//! They are called with the operands of the operation in `rdi`, `rsi` and `rcx`, and change none of these; other scratch registers
//! are theirs. They return "equal" and what is left, zero, in `rax`; or "not equal", having done nothing, where it is not
//! that simple: work goes downward, the range is large or crosses a page, a translation is not cached, or bytes would be
//! overwritten before they are read. Regions call them by a [`function`].
#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

use crate::frame;
use crate::template::asm::{Asm, RAX, RDI, RDX, RSI, Reg, x64};
use crate::template::mem::{ADDEND, ENTRY_SHIFT, tag};

/// Bytes that are moved here at most; a helper is faster with more.
const MOST: i32 = 1024;
const R11: Reg = Reg(11);
const PAGE: i32 = -(emu_core::mem::PAGE_SIZE as i32);

/// The first register gets the host address of the `rcx` bytes up to `end`, if they lie in one page that may be accessed; the
/// others are lost. Else on to `slow`.
fn find(asm: &mut Asm, end: Reg, write: bool, [host, entry, page]: [Reg; 3]) {
    let (end, host, entry, page) = (end.0, host.0, entry.0, page.0);
    x64!(asm, lea Rq(host), [Rq(end) + rcx]
        ; mov Rq(entry), Rq(host); shr Rq(entry), ENTRY_SHIFT as i8
        ; and Rd(entry), [rbp + frame::tlb_mask(0).disp]
        ; add Rq(entry), [rbp + frame::tlb(0).disp]
        ; lea Rq(page), [Rq(end) - 1]; and Rq(page), PAGE; cmp Rq(page), [Rq(entry) + tag(write)]; jne >slow
        ; add Rq(host), [Rq(entry) + ADDEND]);
}

/// `rcx` bytes, up to `rsi`, to as many up to `rdi`, both counted from their ends.
pub(crate) fn copy(asm: &mut Asm) {
    x64!(asm, mov rax, rcx; neg rax; jz >nothing; dec rax; cmp rax, MOST; jae >slow);
    find(asm, RSI, false, [RAX, RDX, R11]);
    x64!(asm, movq xmm0, rax);
    find(asm, RDI, true, [RDX, R11, RAX]);
    x64!(asm, movq rax, xmm0
        // From `rax` to `rdx`. Upward, only a destination behind the source is in the way.
        ; neg rcx; mov r11, rdx; sub r11, rax; cmp r11, rcx; jb >overlap
        ; cmp ecx, 16; jb >few
        // What does not fill a vector is in the last one, which is read before anything is written.
        ; movups xmm1, [rax + rcx - 16]; sub ecx, 16; xor r11d, r11d; jmp >test
        ; next:; movups xmm0, [rax + r11]; movups [rdx + r11], xmm0; add r11d, 16
        ; test:; cmp r11d, ecx; jb <next
        ; movups [rdx + rcx], xmm1; add ecx, 16; jmp >done
        ; few:; test cl, 8; jz >half
        ; mov r11, [rax]; mov rax, [rax + rcx - 8]; mov [rdx], r11; mov [rdx + rcx - 8], rax; jmp >done
        ; half:; test cl, 4; jz >quarter
        ; mov r11d, [rax]; mov eax, [rax + rcx - 4]; mov [rdx], r11d; mov [rdx + rcx - 4], eax; jmp >done
        ; quarter:; movzx r11d, BYTE [rax]; cmp ecx, 1; je >single
        ; movzx eax, WORD [rax + rcx - 2]; mov [rdx + rcx - 2], ax
        ; single:; mov [rdx], r11b
        ; done:; neg rcx; xor eax, eax; ret
        ; overlap:; neg rcx
        ; slow:; test rsp, rsp; nothing:; ret);
}

/// `rcx` bytes up to `rdi` with the lowest byte of `rsi`, counted from the end.
pub(crate) fn fill(asm: &mut Asm) {
    x64!(asm, mov rax, rcx; neg rax; jz >nothing; dec rax; cmp rax, MOST; jae >slow);
    find(asm, RDI, true, [RDX, R11, RAX]);
    x64!(asm, mov r11, QWORD 0x0101_0101_0101_0101; movzx eax, sil; imul rax, r11; neg rcx
        ; cmp ecx, 16; jb >few
        ; movq xmm0, rax; punpcklqdq xmm0, xmm0; sub ecx, 16; xor r11d, r11d; jmp >test
        ; next:; movups [rdx + r11], xmm0; add r11d, 16
        ; test:; cmp r11d, ecx; jb <next
        ; movups [rdx + rcx], xmm0; add ecx, 16; jmp >done
        ; few:; test cl, 8; jz >half; mov [rdx], rax; mov [rdx + rcx - 8], rax; jmp >done
        ; half:; test cl, 4; jz >quarter; mov [rdx], eax; mov [rdx + rcx - 4], eax; jmp >done
        ; quarter:; mov [rdx], al; cmp ecx, 1; je >done; mov [rdx + rcx - 2], ax
        ; done:; neg rcx; xor eax, eax; ret
        ; slow:; test rsp, rsp; nothing:; ret);
}

/// The System V function `(state, a, b, c)` that calls the stub with these operands, and returns zero if nothing is left to do.
pub(crate) fn function(asm: &mut Asm, stub: usize) {
    x64!(asm, push rbp; mov rbp, rdi; mov rdi, rsi; mov rsi, rdx);
    asm.call_out(stub);
    x64!(asm, setne al; movzx eax, al; pop rbp; ret);
}
