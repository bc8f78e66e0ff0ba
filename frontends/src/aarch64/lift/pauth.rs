//! Pointer authentication (DDI 0487, D8.10).

use emu_core::ir::{Hint, Op, Terminal, Ty, Val};

use super::super::decode::args::{Br, Bra, Ldra, Pac, Pacga, Pacz};
use super::super::helper::{Helper, sysreg};
use super::super::pauth::Key;
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
        let key = self.builder.imm(key as u64);
        Ok(self.builder.call(helper as u16, &[pointer, modifier, key]))
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
