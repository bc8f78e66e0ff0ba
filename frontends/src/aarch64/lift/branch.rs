//! Branches and exception generation (DDI 0487, C4.1.93 "Branches, Exception Generating and System instructions").

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{Cc, Hint, Op, Terminal, Ty, Val};

use super::super::decode::args::{B, Bcond, Br, Cb, Exc, Tb};
use super::super::features::Feature;
use super::super::helper::Helper;
use super::super::syndrome::{class, syndrome};
use super::flags::{Test, always};
use super::{Flow, Lifter, Refusal};

/// The link register.
const LR: u8 = 30;

/// PSTATE.BTYPE after an indirect branch.
pub(super) mod btype {
    /// None: a return.
    pub const NONE: u64 = 0;
    /// A branch by `x16` or `x17`, or from a page that is not guarded.
    pub const ANY: u64 = 1;
    /// A call.
    pub const CALL: u64 = 2;
    /// Another branch.
    pub const JUMP: u64 = 3;
}

/// Whether the instruction at offset `at` of a guarded page is a landing pad for `btype`; or one whose own exception comes
/// first. With `bt`, `PACIASP` and `PACIBSP` are none for jumps (D8.4.9 "Branch target identification").
pub(super) fn lands(code: &mut dyn FetchCode, at: u32, btype: u32, bt: bool) -> Result<bool, Exception> {
    let bits = u32::from(code.half(at)?) | u32::from(code.half(at + 2)?) << 16;
    let (call, jump) = (btype != btype::JUMP as u32, btype != btype::CALL as u32);
    Ok(match bits {
        0xd503_245f => call,
        0xd503_249f => jump,
        0xd503_24df => true,
        0xd503_233f | 0xd503_237f => call || !bt,
        // `BRK` and `HLT`.
        _ => matches!(bits & 0xffe0_001f, 0xd420_0000 | 0xd440_0000),
    })
}

impl Lifter<'_> {
    /// Goes on at `imm` bytes from here if the test holds. Between a load-exclusive and its store, the block goes on where
    /// it does not.
    fn branch_if(&mut self, test: Test, imm: i32) -> Flow {
        let (Test { cc, ty, a, b }, taken) = (test, self.target(imm));
        if self.sequence.is_some() {
            self.builder.exit_if(cc, ty, a, b, taken);
            return Flow::Next;
        }
        Flow::End(Terminal::Branch { cc, ty, a, b, taken, fall: self.next() })
    }

    pub(super) fn b_cond(&mut self, a: Bcond) -> Flow {
        if always(a.cond) && self.sequence.is_none() {
            return Flow::End(Terminal::Jump { target: self.target(a.imm), call: None });
        }
        let test = self.condition(a.cond);
        self.branch_if(test, a.imm)
    }

    pub(super) fn b(&mut self, a: B) -> Terminal {
        Terminal::Jump { target: self.target(a.imm), call: None }
    }

    pub(super) fn bl(&mut self, a: B) -> Terminal {
        self.link();
        Terminal::Jump { target: self.target(a.imm), call: Some(self.next()) }
    }

    fn link(&mut self) {
        let (dst, next) = (self.x_dst(LR), self.next());
        self.builder.pc_to(dst, next);
    }

    fn compare_with_zero(&mut self, cc: Cc, ty: Ty, a: Cb) -> Flow {
        let (rt, zero) = (self.x(a.rt), self.builder.imm(0));
        self.branch_if(Test { cc, ty, a: rt, b: zero }, a.imm)
    }

    pub(super) fn cbz(&mut self, a: Cb, ty: Ty) -> Flow {
        self.compare_with_zero(Cc::Eq, ty, a)
    }

    pub(super) fn cbnz(&mut self, a: Cb, ty: Ty) -> Flow {
        self.compare_with_zero(Cc::Ne, ty, a)
    }

    fn test_bit(&mut self, cc: Cc, a: Tb) -> Flow {
        let (rt, mask, zero) = (self.x(a.rt), self.builder.imm(1 << a.bit), self.builder.imm(0));
        let bit = self.builder.bin(Op::And, Ty::I64, rt, mask);
        self.branch_if(Test { cc, ty: Ty::I64, a: bit, b: zero }, a.imm)
    }

    pub(super) fn tbz(&mut self, a: Tb) -> Flow {
        self.test_bit(Cc::Eq, a)
    }

    pub(super) fn tbnz(&mut self, a: Tb) -> Flow {
        self.test_bit(Cc::Ne, a)
    }

    /// Goes on at `target`. With BTYPE in the address's low bits (see [`super::super`]), a misaligned one must be told before;
    /// else it is at the target.
    pub(super) fn jump_to(&mut self, target: Val, btype: u64, hint: Hint) -> Terminal {
        if !self.has(Feature::Bti) {
            return Terminal::Indirect { target, hint };
        }
        let (low_bits, zero) = (self.builder.imm(3), self.builder.imm(0));
        let low = self.builder.bin(Op::And, Ty::I64, target, low_bits);
        self.builder.raise_if(Cc::Ne, Ty::I64, [low, zero], syndrome(class::PC_ALIGNMENT, 0), target);
        if btype == btype::NONE {
            return Terminal::Indirect { target, hint };
        }
        let btype = self.builder.imm(btype);
        let target = self.builder.bin(Op::Or, Ty::I64, target, btype);
        Terminal::Indirect { target, hint }
    }

    /// `BR` and its like, by register `rn` whose target is this.
    pub(super) fn jump_by(&mut self, rn: u8, target: Val) -> Terminal {
        let free = matches!(rn, 16 | 17) || !self.guest.ctx.guarded;
        self.jump_to(target, if free { btype::ANY } else { btype::JUMP }, Hint::Jump)
    }

    /// `BLR` and its like.
    pub(super) fn call_to(&mut self, target: Val) -> Terminal {
        // The link register may be where the target is.
        let target = if target == self.x(LR) { self.builder.un(Op::Mov, Ty::I64, target) } else { target };
        self.link();
        let next = self.next();
        self.jump_to(target, btype::CALL, Hint::Call(next))
    }

    pub(super) fn br(&mut self, a: Br) -> Terminal {
        let target = self.x(a.rn);
        self.jump_by(a.rn, target)
    }

    pub(super) fn blr(&mut self, a: Br) -> Terminal {
        let target = self.x(a.rn);
        self.call_to(target)
    }

    pub(super) fn ret(&mut self, a: Br) -> Terminal {
        let target = self.x(a.rn);
        self.jump_to(target, btype::NONE, Hint::Return)
    }

    /// Raises an exception of this class with the instruction's immediate as syndrome.
    fn exception(&mut self, class: u32, a: Exc) -> Terminal {
        let value = self.builder.imm(0);
        Terminal::Exception { cause: syndrome(class, a.imm16.into()), value }
    }

    pub(super) fn svc(&mut self, a: Exc) -> Terminal {
        self.exception(class::SVC, a)
    }

    pub(super) fn brk(&mut self, a: Exc) -> Terminal {
        self.exception(class::BRK, a)
    }

    pub(super) fn hvc(&mut self, a: Exc) -> Result<Terminal, Refusal> {
        self.monitor_call(Helper::Hvc, a)
    }

    pub(super) fn smc(&mut self, a: Exc) -> Result<Terminal, Refusal> {
        self.monitor_call(Helper::Smc, a)
    }

    /// Undefined at EL0; what system registers decide is decided by the helper.
    fn monitor_call(&mut self, helper: Helper, a: Exc) -> Result<Terminal, Refusal> {
        if self.guest.ctx.el == 0 {
            return Err(Refusal::Illegal);
        }
        let imm = self.builder.imm(a.imm16.into());
        Ok(self.call_and_look_up(helper, &[imm]))
    }

    /// Halting debug is not enabled.
    pub(super) fn hlt(&mut self, _: Exc) -> Result<(), Refusal> {
        Err(Refusal::Illegal)
    }

    /// Only for debug state, which there is not.
    pub(super) fn dcps1(&mut self, _: Exc) -> Result<(), Refusal> {
        Err(Refusal::Illegal)
    }

    pub(super) fn dcps2(&mut self, a: Exc) -> Result<(), Refusal> {
        self.dcps1(a)
    }

    pub(super) fn dcps3(&mut self, a: Exc) -> Result<(), Refusal> {
        self.dcps1(a)
    }

    pub(super) fn drps(&mut self) -> Result<(), Refusal> {
        Err(Refusal::Illegal)
    }

    pub(super) fn eret(&mut self) -> Result<Terminal, Refusal> {
        self.exception_return(None)
    }

    /// Returns to `ELR`, or to what that is when authenticated.
    pub(super) fn exception_return(&mut self, elr: Option<Val>) -> Result<Terminal, Refusal> {
        if self.guest.ctx.el == 0 {
            return Err(Refusal::Illegal);
        }
        let (zero, before) = (self.builder.imm(0), self.builder.imm(self.builder.marks() as u64 - 1));
        let given = self.builder.imm(elr.is_some().into());
        let target = self.builder.call(Helper::Eret as u16, &[elr.unwrap_or(zero), given, before]);
        Ok(Terminal::Indirect { target, hint: Hint::Switch })
    }
}
