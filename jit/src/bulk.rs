//! The stubs that copy and fill ranges of memory.
//!
//! They are called with the operands of the operation in `rdi`, `rsi` and `rcx`, and change none of these; other scratch registers
//! are theirs. They return "equal" and what is left in `rax`; or "not equal", having done nothing, where it is not
//! that simple: work goes downward, a small range crosses a page, a translation is not cached, or bytes would be
//! overwritten before they are read. Regions call them by a [`function`].
//!
//! A large range is done in pieces, each of which lies in one page. All are looked up before the first is done, so that what is left
//! depends on nothing but the operands.
#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::exec::MOST_BULK;

use crate::frame;
use crate::template::asm::{Asm, RAX, RDI, RDX, RSI, Reg, x64};
use crate::template::mem::{ADDEND, ENTRY_SHIFT, tag};

/// Bytes of a small range at most.
const SMALL: i32 = 1024;
/// Bytes that are moved at once in large ranges. Measured: some hosts' `rep movsb` takes ten times as long where the destination
/// lies a little behind the source in its page.
const STEP: i32 = 64;
const R11: Reg = Reg(11);
const PAGE: i32 = -(emu_core::mem::PAGE_SIZE as i32);

/// `entry` gets the address of the soft TLB's entry for the virtual address in `va`.
fn find_entry(asm: &mut Asm, va: Reg, entry: Reg) {
    let (va, entry) = (va.0, entry.0);
    x64!(asm, mov Rq(entry), Rq(va); shr Rq(entry), ENTRY_SHIFT as i8
        ; and Rd(entry), [rbp + frame::tlb_mask(0).disp]
        ; add Rq(entry), [rbp + frame::tlb(0).disp]);
}

/// The first register gets the host address of the `rcx` bytes up to `end`, if they lie in one page that may be accessed; the
/// others are lost. Else on to `slow`.
fn find(asm: &mut Asm, end: Reg, write: bool, [host, entry, page]: [Reg; 3]) {
    x64!(asm, lea Rq(host.0), [Rq(end.0) + rcx]);
    find_entry(asm, host, entry);
    let (end, host, entry, page) = (end.0, host.0, entry.0, page.0);
    x64!(asm, lea Rq(page), [Rq(end) - 1]; and Rq(page), PAGE; cmp Rq(page), [Rq(entry) + tag(write)]; jne >slow
        ; add Rq(host), [Rq(entry) + ADDEND]);
}

/// The host address of the byte at `end + rcx`, if it may be accessed, and at most so many bytes in `r9` as go on in its page;
/// `r10` and `rdx` are lost. Else on to `missing`.
fn find_piece(asm: &mut Asm, end: Reg, write: bool, host: Reg) {
    x64!(asm, lea Rq(host.0), [Rq(end.0) + rcx]
        ; mov rdx, Rq(host.0); or rdx, PAGE; neg rdx; cmp rdx, r9; cmovb r9, rdx);
    find_entry(asm, host, Reg(10));
    x64!(asm, mov rdx, Rq(host.0); and rdx, PAGE; cmp rdx, [r10 + tag(write)]; jne >missing
        ; add Rq(host.0), [r10 + ADDEND]);
}

/// Does a large range in pieces of `r9` bytes that `find` looks up: first each is looked at by `check`, which may go to `missing`, then
/// each is done by `act`. Both may use `rdx` and `r10`.
fn pieces(asm: &mut Asm, find: impl Fn(&mut Asm), check: impl Fn(&mut Asm), act: impl Fn(&mut Asm)) {
    // What is left then is in `r8`, and `rbx` says whether all have been found.
    x64!(asm, test rcx, rcx; jns <slow
        ; push r8; push r9; push r10; push rbx; push rcx
        ; xor ebx, ebx; lea r8, [rcx + MOST_BULK as i32]; test r8, r8; cmovns r8, rbx
        ; pass:; mov rcx, [rsp]
        ; piece:; mov r9, r8; sub r9, rcx);
    find(asm);
    x64!(asm, test ebx, ebx; jnz >act);
    check(asm);
    x64!(asm, jmp >on; act:);
    act(asm);
    x64!(asm, on:; add rcx, r9; cmp rcx, r8; jne <piece
        ; xor ebx, 1; jnz <pass
        ; mov rax, r8; cmp eax, eax; jmp >back
        ; missing:; test rsp, rsp
        ; back:; pop rcx; pop rbx; pop r10; pop r9; pop r8; ret);
}

/// Does a piece of `r9` bytes: by `step` as many as [`STEP`] up to offset `rdx`, of which the last ones may have been done before;
/// or, if it has fewer, one by one by `byte`, at that offset. `r10` may be used.
fn in_steps(asm: &mut Asm, avx: bool, step: impl Fn(&mut Asm), byte: impl Fn(&mut Asm)) {
    x64!(asm, mov edx, STEP; cmp r9, rdx; jb >few; next:);
    step(asm);
    x64!(asm, add rdx, STEP; cmp rdx, r9; jbe <next; mov rdx, r9);
    step(asm);
    x64!(asm, jmp >done; few:; xor edx, edx; next:);
    byte(asm);
    x64!(asm, inc edx; cmp edx, r9d; jne <next; done:);
    if avx {
        x64!(asm, vzeroupper);
    }
}

/// `rcx` bytes, up to `rsi`, to as many up to `rdi`, both counted from their ends; by wide vectors where there are.
pub(crate) fn copy(asm: &mut Asm, avx: bool) {
    x64!(asm, mov rax, rcx; neg rax; jz >nothing; dec rax; cmp rax, SMALL; jae >large);
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
        ; slow:; test rsp, rsp; nothing:; ret
        ; large:);
    pieces(
        asm,
        |asm| {
            find_piece(asm, RSI, false, RAX);
            find_piece(asm, RDI, true, R11);
        },
        // The two parts may not have a byte in common.
        |asm| {
            x64!(asm, mov rdx, r11; sub rdx, rax; cmp rdx, r9; jb >missing; neg rdx; cmp rdx, r9; jb >missing);
        },
        |asm| {
            let step = |asm: &mut Asm| {
                if avx {
                    x64!(asm, vmovups ymm0, [rax + rdx - 64]; vmovups ymm1, [rax + rdx - 32]
                        ; vmovups [r11 + rdx - 64], ymm0; vmovups [r11 + rdx - 32], ymm1);
                    return;
                }
                for at in [-64, -32] {
                    x64!(asm, movups xmm0, [rax + rdx + at]; movups xmm1, [rax + rdx + at + 16]
                        ; movups [r11 + rdx + at], xmm0; movups [r11 + rdx + at + 16], xmm1);
                }
            };
            in_steps(asm, avx, step, |asm| {
                x64!(asm, movzx r10d, BYTE [rax + rdx]; mov [r11 + rdx], r10b);
            });
        },
    );
}

/// `rcx` bytes up to `rdi` with the lowest byte of `rsi`, counted from the end; by wide vectors where there are.
pub(crate) fn fill(asm: &mut Asm, avx: bool) {
    x64!(asm, mov rax, rcx; neg rax; jz >nothing; dec rax; cmp rax, SMALL; jae >large);
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
        ; slow:; test rsp, rsp; nothing:; ret
        ; large:);
    pieces(
        asm,
        |asm| find_piece(asm, RDI, true, R11),
        |_| {},
        |asm| {
            x64!(asm, mov rdx, QWORD 0x0101_0101_0101_0101; movzx eax, sil; imul rax, rdx
                ; movq xmm0, rax; punpcklqdq xmm0, xmm0);
            if avx {
                x64!(asm, vinsertf128 ymm0, ymm0, xmm0, 1);
            }
            let step = |asm: &mut Asm| {
                if avx {
                    x64!(asm, vmovups [r11 + rdx - 64], ymm0; vmovups [r11 + rdx - 32], ymm0);
                    return;
                }
                for at in [-64, -48, -32, -16] {
                    x64!(asm, movups[r11 + rdx + at], xmm0);
                }
            };
            in_steps(asm, avx, step, |asm| {
                x64!(asm, mov[r11 + rdx], al);
            });
        },
    );
}

/// What a [`function`] returns where the stub has done nothing; what is left of work upward is never positive.
pub(crate) const REFUSED: i64 = 1;

/// The System V function `(state, a, b, c)` that calls the stub with these operands, and returns what is left, or [`REFUSED`].
pub(crate) fn function(asm: &mut Asm, stub: usize) {
    x64!(asm, push rbp; mov rbp, rdi; mov rdi, rsi; mov rsi, rdx);
    asm.call_out(stub);
    x64!(asm, mov ecx, REFUSED as i32; cmovne rax, rcx; pop rbp; ret);
}
