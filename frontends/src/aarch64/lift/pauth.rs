//! Pointer authentication (DDI 0487, D8.10).

use emu_core::ir::{Cc, Hint, Op, Terminal, Ty, Val};

use super::super::KEYS;
use super::super::decode::args::{Br, Bra, Ldra, Pac, Pacga, Pacz};
use super::super::helper::{Helper, sysreg};
use super::super::pauth::{FACTORS, Key, Layout, SHIFTS, usual_layouts};
use super::super::syndrome::{class, syndrome};
use super::branch::btype;
use super::{Done, Lifter, Refusal};

/// The link register.
const LR: u8 = 30;

impl Lifter<'_> {
    /// Refuses the instruction where pointer authentication traps.
    fn pauth(&self) -> Done {
        if self.guest.ctx.pauth_trap { Err(Refusal::Raise(syndrome(class::PAUTH, 0), 0)) } else { Ok(()) }
    }

    fn key_enabled(&self, key: Key) -> bool {
        self.guest.ctx.pauth >> (key as u8) & 1 != 0
    }

    /// What `helper` makes of a pointer and a modifier; the pointer as it is while the key is disabled.
    fn with_key(&mut self, helper: Helper, key: Key, pointer: Val, modifier: Val) -> Result<Val, Refusal> {
        if !self.key_enabled(key) {
            return Ok(pointer);
        }
        self.pauth()?;
        if let Some(layouts) = usual_layouts(self.guest.ctx.pointers, key.is_data()) {
            return Ok(match helper {
                Helper::Pac => self.sign(layouts, key, pointer, modifier),
                _ => self.authenticate(layouts, key, pointer, modifier),
            });
        }
        let key = self.builder.imm(key as u64);
        Ok(self.builder.call(helper as u16, &[pointer, modifier, key]))
    }

    /// `op(a, b)` with a constant.
    fn with_imm(&mut self, op: Op, a: Val, b: u64) -> Val {
        let b = self.builder.imm(b);
        self.builder.bin(op, Ty::I64, a, b)
    }

    /// What is different for pointers to the lower (`sign` is 0) and to the upper half (all ones).
    fn by_half(&mut self, sign: Val, lower: u64, upper: u64) -> Val {
        if lower == upper {
            return self.builder.imm(lower);
        }
        let difference = self.with_imm(Op::And, sign, lower ^ upper);
        self.with_imm(Op::Xor, difference, lower)
    }

    /// Bit `at` in all bits.
    fn sign_of(&mut self, pointer: Val, at: u8) -> Val {
        let top = self.shl(Ty::I64, pointer, 63 - at);
        self.with_imm(Op::Sar, top, 63)
    }

    /// Where the code is, what of the pointer is not as the sign says there or in bit 55, and the pointer without that.
    fn without_code(&mut self, layouts: [Layout; 2], pointer: Val, sign: Val) -> [Val; 3] {
        let [lower, upper] = layouts.map(Layout::mask);
        let mask = self.by_half(sign, lower, upper);
        let field = self.by_half(sign, lower | 1 << 55, upper | 1 << 55);
        let differs = self.builder.bin(Op::Xor, Ty::I64, pointer, sign);
        let wrong = self.builder.bin(Op::And, Ty::I64, differs, field);
        let extended = self.builder.bin(Op::Xor, Ty::I64, pointer, wrong);
        [mask, wrong, extended]
    }

    /// The code by the fast algorithm.
    fn code(&mut self, key: Key, data: Val, modifier: Val) -> Val {
        let slot = KEYS + 2 * key as u16;
        let (low, high) = (Val::slot(slot), Val::slot(slot + 1));
        let mixed = self.builder.bin(Op::Xor, Ty::I64, data, low);
        let first = self.with_imm(Op::Mul, mixed, FACTORS[0]);
        let shifted = self.with_imm(Op::Shr, first, SHIFTS[0].into());
        let folded = self.builder.bin(Op::Xor, Ty::I64, first, shifted);
        let with_modifier = self.builder.bin(Op::Xor, Ty::I64, folded, modifier);
        let with_key = self.builder.bin(Op::Add, Ty::I64, with_modifier, high);
        let second = self.with_imm(Op::Mul, with_key, FACTORS[1]);
        let shifted = self.with_imm(Op::Shr, second, SHIFTS[1].into());
        let folded = self.builder.bin(Op::Xor, Ty::I64, second, shifted);
        self.with_imm(Op::Mul, folded, FACTORS[2])
    }

    /// As [`super::super::pauth::add`].
    fn sign(&mut self, layouts: [Layout; 2], key: Key, pointer: Val, modifier: Val) -> Val {
        let top_byte_counts = !layouts.iter().any(|layout| layout.tbi);
        let sign = self.sign_of(pointer, if top_byte_counts { 63 } else { 55 });
        let [mask, wrong, extended] = self.without_code(layouts, pointer, sign);
        let code = self.code(key, extended, modifier);
        let zero = self.builder.imm(0);
        let is_wrong = self.builder.temp();
        self.builder.set_to(is_wrong, Cc::Ne, Ty::I64, wrong, zero);
        let [lower, upper] = layouts.map(|layout| if layout.tbi { 54 } else { 62 });
        let at = self.by_half(sign, lower, upper);
        let flip = self.builder.bin(Op::Shl, Ty::I64, is_wrong, at);
        let code = self.builder.bin(Op::Xor, Ty::I64, code, flip);
        let change = self.builder.bin(Op::Xor, Ty::I64, extended, code);
        let change = self.builder.bin(Op::And, Ty::I64, change, mask);
        self.builder.bin(Op::Xor, Ty::I64, extended, change)
    }

    /// As [`super::super::pauth::authenticate`].
    fn authenticate(&mut self, layouts: [Layout; 2], key: Key, pointer: Val, modifier: Val) -> Val {
        let sign = self.sign_of(pointer, 55);
        let [mask, _, original] = self.without_code(layouts, pointer, sign);
        let code = self.code(key, original, modifier);
        let difference = self.builder.bin(Op::Xor, Ty::I64, code, pointer);
        let difference = self.builder.bin(Op::And, Ty::I64, difference, mask);
        // Two bits that are all alike become the error code.
        let [lower, upper] = layouts.map(|layout| if layout.tbi { 53 } else { 61 });
        let error = self.by_half(sign, key.error_code() << lower, (key.error_code() ^ 3) << upper);
        let poisoned = self.builder.bin(Op::Xor, Ty::I64, original, error);
        let result = self.builder.temp();
        self.builder.select_to(result, Ty::I64, difference, poisoned, original);
        result
    }

    /// Register `rd` = what `helper` makes of it.
    fn change(&mut self, helper: Helper, key: Key, rd: u8, modifier: Val) -> Done {
        let pointer = self.x(rd);
        let value = self.with_key(helper, key, pointer, modifier)?;
        if value != pointer {
            self.set_x(rd, Ty::I64, value);
        }
        Ok(())
    }

    pub(super) fn pac(&mut self, a: Pac, key: Key) -> Done {
        let modifier = self.xsp(a.rn);
        self.change(Helper::Pac, key, a.rd, modifier)
    }

    pub(super) fn aut(&mut self, a: Pac, key: Key) -> Done {
        let modifier = self.xsp(a.rn);
        self.change(Helper::Aut, key, a.rd, modifier)
    }

    pub(super) fn pacz(&mut self, a: Pacz, key: Key) -> Done {
        let zero = self.builder.imm(0);
        self.change(Helper::Pac, key, a.rd, zero)
    }

    pub(super) fn autz(&mut self, a: Pacz, key: Key) -> Done {
        let zero = self.builder.imm(0);
        self.change(Helper::Aut, key, a.rd, zero)
    }

    fn strip(&mut self, rd: u8, data: bool) -> Done {
        let args = [self.x(rd), self.builder.imm(data.into())];
        let value = self.builder.call(Helper::Xpac as u16, &args);
        self.set_x(rd, Ty::I64, value);
        Ok(())
    }

    pub(super) fn xpaci(&mut self, a: Pacz) -> Done {
        self.strip(a.rd, false)
    }

    pub(super) fn xpacd(&mut self, a: Pacz) -> Done {
        self.strip(a.rd, true)
    }

    pub(super) fn xpaclri(&mut self) -> Done {
        self.strip(LR, false)
    }

    /// Always enabled.
    pub(super) fn pacga(&mut self, a: Pacga) -> Done {
        self.pauth()?;
        let args = [self.x(a.rn), self.xsp(a.rm)];
        let value = self.builder.call(Helper::Pacga as u16, &args);
        self.set_x(a.rd, Ty::I64, value);
        Ok(())
    }

    pub(super) fn pac_1716(&mut self, key: Key) -> Done {
        let modifier = self.x(16);
        self.change(Helper::Pac, key, 17, modifier)
    }

    pub(super) fn aut_1716(&mut self, key: Key) -> Done {
        let modifier = self.x(16);
        self.change(Helper::Aut, key, 17, modifier)
    }

    pub(super) fn pac_lr_zero(&mut self, key: Key) -> Done {
        self.pacz(Pacz { rd: LR }, key)
    }

    pub(super) fn aut_lr_zero(&mut self, key: Key) -> Done {
        self.autz(Pacz { rd: LR }, key)
    }

    pub(super) fn pac_lr_sp(&mut self, key: Key) -> Done {
        self.pac(Pac { rd: LR, rn: 31 }, key)
    }

    pub(super) fn aut_lr_sp(&mut self, key: Key) -> Done {
        self.aut(Pac { rd: LR, rn: 31 }, key)
    }

    fn authenticated(&mut self, key: Key, rn: u8, modifier: Val) -> Result<Val, Refusal> {
        let pointer = self.x(rn);
        self.with_key(Helper::Aut, key, pointer, modifier)
    }

    pub(super) fn braz(&mut self, a: Br, key: Key) -> Result<Terminal, Refusal> {
        let zero = self.builder.imm(0);
        let target = self.authenticated(key, a.rn, zero)?;
        Ok(self.jump_by(a.rn, target))
    }

    pub(super) fn bra(&mut self, a: Bra, key: Key) -> Result<Terminal, Refusal> {
        let modifier = self.xsp(a.rm);
        let target = self.authenticated(key, a.rn, modifier)?;
        Ok(self.jump_by(a.rn, target))
    }

    pub(super) fn blraz(&mut self, a: Br, key: Key) -> Result<Terminal, Refusal> {
        let zero = self.builder.imm(0);
        let target = self.authenticated(key, a.rn, zero)?;
        Ok(self.call_to(target))
    }

    pub(super) fn blra(&mut self, a: Bra, key: Key) -> Result<Terminal, Refusal> {
        let modifier = self.xsp(a.rm);
        let target = self.authenticated(key, a.rn, modifier)?;
        Ok(self.call_to(target))
    }

    pub(super) fn reta(&mut self, key: Key) -> Result<Terminal, Refusal> {
        let modifier = self.xsp(31);
        let target = self.authenticated(key, LR, modifier)?;
        Ok(self.jump_to(target, btype::NONE, Hint::Return))
    }

    pub(super) fn ereta(&mut self, key: Key) -> Result<Terminal, Refusal> {
        let elr = match self.guest.ctx.el {
            0 => return Err(Refusal::Illegal),
            1 => sysreg(3, 0, 4, 0, 1),
            2 => sysreg(3, 4, 4, 0, 1),
            _ => sysreg(3, 6, 4, 0, 1),
        };
        let before = self.builder.marks() as u64 - 1;
        let args = [self.builder.imm(elr.into()), self.builder.imm(before)];
        let pointer = self.builder.call(Helper::Mrs as u16, &args);
        let modifier = self.xsp(31);
        let target = self.with_key(Helper::Aut, key, pointer, modifier)?;
        self.exception_return(Some(target))
    }

    /// A load from an authenticated base.
    pub(super) fn ldra(&mut self, a: Ldra) -> Done {
        let (zero, key) = (self.builder.imm(0), if a.m == 0 { Key::DA } else { Key::DB });
        let pointer = self.base(a.rn);
        let base = self.with_key(Helper::Aut, key, pointer, zero)?;
        let offset = self.imm(a.imm);
        let address = self.builder.bin(Op::Add, Ty::I64, base, offset);
        self.load_from(a.rt, address);
        if a.w != 0 {
            let dst = self.xsp_to(a.rn);
            self.copy_to(dst, Ty::I64, address);
        }
        Ok(())
    }
}
