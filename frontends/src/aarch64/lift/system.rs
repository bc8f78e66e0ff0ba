//! System instructions, system registers, hints and barriers. What registers there are, who may access them and what they do
//! is known to the helpers.

use emu_core::ir::{Op, Terminal, Ty, Val};

use super::super::decode::args::{Barrier, Bti, Clrex, Hint, Isb, Mrs, Msr, MsrImm, Sys, Sysl};
use super::super::helper::{Helper, sysreg};
use super::super::{TPIDR_EL, TPIDRRO};
use super::flags::Flags;
use super::{Flow, Lifter};

const NZCV: u16 = sysreg(3, 3, 4, 2, 0);
const CURRENT_EL: u16 = sysreg(3, 0, 4, 2, 2);
const TPIDR_EL0: u16 = sysreg(3, 3, 13, 0, 2);
const TPIDRRO_EL0: u16 = sysreg(3, 3, 13, 0, 3);

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
        self.call_and_look_up(Helper::Wfe, &[])
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

    pub(super) fn msr_imm(&mut self, a: MsrImm) -> Terminal {
        let field = self.builder.imm((a.op1 << 3 | a.op2).into());
        let value = self.builder.imm(a.crm.into());
        self.call_and_look_up(Helper::MsrImmediate, &[field, value])
    }

    pub(super) fn sys(&mut self, a: Sys) -> Terminal {
        let number = sysreg(1, a.op1.into(), a.crn.into(), a.crm.into(), a.op2.into());
        let args = [self.builder.imm(number.into()), self.x(a.rt)];
        self.call_and_look_up(Helper::Sys, &args)
    }

    pub(super) fn sysl(&mut self, a: Sysl) {
        let number = sysreg(1, a.op1.into(), a.crn.into(), a.crm.into(), a.op2.into());
        let number = self.builder.imm(number.into());
        let value = self.builder.call(Helper::Sysl as u16, &[number]);
        self.set_x(a.rt, Ty::I64, value);
    }

    pub(super) fn mrs(&mut self, a: Mrs) {
        let register = sysreg(2 + u16::from(a.o0), a.op1.into(), a.crn.into(), a.crm.into(), a.op2.into());
        let value = match register {
            NZCV => self.nzcv(),
            TPIDR_EL0 => Val::slot(TPIDR_EL),
            TPIDRRO_EL0 => Val::slot(TPIDRRO),
            CURRENT_EL if self.guest.ctx.el != 0 => self.builder.imm(u64::from(self.guest.ctx.el) << 2),
            _ => {
                let (register, before) =
                    (self.builder.imm(register.into()), self.builder.imm(self.builder.marks() as u64 - 1));
                self.builder.call(Helper::Mrs as u16, &[register, before])
            }
        };
        self.set_x(a.rt, Ty::I64, value);
    }

    pub(super) fn msr(&mut self, a: Msr) -> Flow {
        let register = sysreg(2 + u16::from(a.o0), a.op1.into(), a.crn.into(), a.crm.into(), a.op2.into());
        let value = self.x(a.rt);
        match register {
            NZCV => {
                let mask = self.builder.imm(FLAGS);
                self.set_nzcv(Op::And, value, mask);
                self.guest.flags = Flags::Unknown;
            }
            TPIDR_EL0 => self.copy_to(Val::slot(TPIDR_EL), Ty::I64, value),
            TPIDRRO_EL0 if self.guest.ctx.el != 0 => self.copy_to(Val::slot(TPIDRRO), Ty::I64, value),
            _ => {
                let register = self.builder.imm(register.into());
                return Flow::End(self.call_and_look_up(Helper::Msr, &[register, value]));
            }
        }
        Flow::Next
    }
}
