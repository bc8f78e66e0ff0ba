//! System instructions, system registers, hints and barriers. What registers there are, who may access them and what they do
//! is known to the helpers.

use emu_core::ir::{MemAttr, Op, Terminal, Ty, Val};

use super::super::decode::args::{Barrier, Bti, Clrex, Hint, Isb, Mrs, Msr, MsrImm, Sys, Sysl};
use super::super::features::Feature;
use super::super::helper::{Helper, sysreg};
use super::super::sysop::cache::ZERO_BLOCK;
use super::super::sysreg::changes_context;
use super::super::{SP_EL, TPIDR_EL, TPIDRRO};
use super::flags::Flags;
use super::{Flow, Lifter};

const NZCV: u16 = sysreg(3, 3, 4, 2, 0);
const CURRENT_EL: u16 = sysreg(3, 0, 4, 2, 2);
const SP_EL0: u16 = sysreg(3, 0, 4, 1, 0);
const TPIDR_EL0: u16 = sysreg(3, 3, 13, 0, 2);
const TPIDR_EL1: u16 = sysreg(3, 0, 13, 0, 4);
const TPIDR_EL2: u16 = sysreg(3, 4, 13, 0, 2);
const TPIDRRO_EL0: u16 = sysreg(3, 3, 13, 0, 3);
const RNDR: u16 = sysreg(3, 3, 2, 4, 0);
const RNDRRS: u16 = sysreg(3, 3, 2, 4, 1);
const DC_ZVA: u16 = sysreg(1, 3, 7, 4, 1);

/// The flags in their register.
const FLAGS: u64 = 0xf << 28;

impl Lifter<'_> {
    pub(super) fn nop(&mut self) {}

    pub(super) fn hint(&mut self, _: Hint) {}

    /// The landing pad is looked at where the block is entered.
    pub(super) fn bti(&mut self, _: Bti) {}

    /// Errors are not deferred.
    pub(super) fn esb(&mut self) {}

    pub(super) fn yield_(&mut self) {
        self.call(Helper::Yield, &[]);
    }

    pub(super) fn wfe(&mut self) -> Terminal {
        match self.take_waited() {
            Some(args) => self.call_and_look_up(Helper::WfeWhile, &args),
            None => self.call_and_look_up(Helper::Wfe, &[]),
        }
    }

    pub(super) fn wfi(&mut self) -> Terminal {
        self.call_and_look_up(Helper::Wfi, &[])
    }

    pub(super) fn sev(&mut self) {
        self.call(Helper::Sev, &[]);
    }

    pub(super) fn sevl(&mut self) {
        self.call(Helper::Sevl, &[]);
    }

    pub(super) fn clrex(&mut self, _: Clrex) {
        self.call(Helper::Clrex, &[]);
    }

    /// Orders the accesses in `before` with those in `after`: bit 0 reads, bit 1 writes.
    fn order(&mut self, before: u16, after: u16) {
        let none = [Val::NONE; 3];
        self.builder.op(Op::Fence, Ty::None, before | after << 2, none[0], none, 0);
    }

    /// The types of CRm (C6.2 "DMB"): loads before everything, stores before stores, or everything; other values mean
    /// everything. The shareability domains are one.
    pub(super) fn dmb(&mut self, a: Barrier) {
        match a.crm & 3 {
            1 => self.order(0b01, 0b11),
            2 => self.order(0b10, 0b10),
            _ => self.order(0b11, 0b11),
        }
    }

    pub(super) fn dsb(&mut self, a: Barrier) {
        self.dmb(a);
    }

    /// Nothing is speculated.
    pub(super) fn sb(&mut self) {}

    pub(super) fn isb(&mut self, _: Isb) -> Terminal {
        self.call_and_look_up(Helper::Isb, &[])
    }

    /// The helper's view of a register or instruction and the general register that goes with it.
    fn number(&mut self, [op0, op1, crn, crm, op2]: [u8; 5], rt: u8) -> (u16, Val) {
        let number = sysreg(op0.into(), op1.into(), crn.into(), crm.into(), op2.into());
        (number, self.builder.imm(u64::from(number) | u64::from(rt) << 16))
    }

    /// How many instructions precede this one in its block.
    fn before(&mut self) -> Val {
        self.builder.imm(self.builder.marks() as u64 - 1)
    }

    /// Masking interrupts has no consequences; unmasking them may have at once. A change of the stack pointer is one of the
    /// context.
    pub(super) fn msr_imm(&mut self, a: MsrImm) -> Flow {
        const SP_SEL: u8 = 0o05;
        const DAIF_CLR: u8 = 0o37;
        let field = a.op1 << 3 | a.op2;
        let args = [self.builder.imm(field.into()), self.builder.imm(a.crm.into())];
        self.call(Helper::MsrImmediate, &args);
        if matches!(field, SP_SEL | DAIF_CLR) { Flow::End(self.lookup()) } else { Flow::Next }
    }

    pub(super) fn sys(&mut self, a: Sys) {
        let (number, arg) = self.number([1, a.op1, a.crn, a.crm, a.op2], a.rt);
        let value = self.x(a.rt);
        if number == DC_ZVA && self.guest.ctx.zva {
            return self.zero_block(value);
        }
        self.call(Helper::Sys, &[arg, value]);
    }

    /// `DC ZVA`.
    fn zero_block(&mut self, address: Val) {
        let (mask, zero) = (self.imm(-(ZERO_BLOCK as i32)), self.builder.imm(0));
        let base = self.builder.bin(Op::And, Ty::I64, address, mask);
        let zeros = self.builder.bin(Op::Vpair, Ty::None, zero, zero);
        for offset in (0..ZERO_BLOCK as i32).step_by(16) {
            self.builder.store(Ty::V128, MemAttr::PLAIN, base, offset, zeros);
        }
    }

    pub(super) fn sysl(&mut self, a: Sysl) {
        let (_, arg) = self.number([1, a.op1, a.crn, a.crm, a.op2], a.rt);
        let value = self.builder.call(Helper::Sysl as u16, &[arg]);
        self.set_x(a.rt, Ty::I64, value);
    }

    /// The slot of a register that is in one and can be accessed here without any check.
    fn plain_slot(&self, register: u16, write: bool) -> Option<u16> {
        let ctx = self.guest.ctx;
        match register {
            NZCV if !write => Some(super::NZCV),
            TPIDR_EL0 => Some(TPIDR_EL),
            TPIDRRO_EL0 if !write || ctx.el > 0 => Some(TPIDRRO),
            TPIDR_EL1 if ctx.el > 0 => Some(TPIDR_EL + 1),
            TPIDR_EL2 if ctx.el > 1 => Some(TPIDR_EL + 2),
            SP_EL0 if ctx.el > 0 && ctx.sp_sel => Some(SP_EL),
            _ => None,
        }
    }

    pub(super) fn mrs(&mut self, a: Mrs) {
        let (register, arg) = self.number([2 + a.o0, a.op1, a.crn, a.crm, a.op2], a.rt);
        let value = match (register, self.plain_slot(register, false)) {
            (_, Some(slot)) => Val::slot(slot),
            (CURRENT_EL, _) if self.guest.ctx.el != 0 => self.builder.imm(u64::from(self.guest.ctx.el) << 2),
            (RNDR | RNDRRS, _) if self.has(Feature::Rng) => {
                let reseeded = self.builder.imm(u64::from(register == RNDRRS));
                // It sets the flags.
                self.guest.flags = Flags::Unknown;
                self.builder.call(Helper::Random as u16, &[reseeded])
            }
            _ => {
                let before = self.before();
                self.builder.call(Helper::Mrs as u16, &[arg, before])
            }
        };
        self.set_x(a.rt, Ty::I64, value);
    }

    pub(super) fn msr(&mut self, a: Msr) -> Flow {
        let (register, arg) = self.number([2 + a.o0, a.op1, a.crn, a.crm, a.op2], a.rt);
        let value = self.x(a.rt);
        if register == NZCV {
            let mask = self.builder.imm(FLAGS);
            self.set_nzcv(Op::And, value, mask);
            self.guest.flags = Flags::Unknown;
        } else if let Some(slot) = self.plain_slot(register, true) {
            self.copy_to(Val::slot(slot), Ty::I64, value);
        } else {
            let before = self.before();
            self.call(Helper::Msr, &[arg, value, before]);
            if changes_context(register) {
                return Flow::End(self.lookup());
            }
        }
        Flow::Next
    }
}
