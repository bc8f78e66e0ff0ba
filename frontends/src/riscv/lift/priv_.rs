//! Environment calls, fences of instructions and translations, cache-block operations, waiting, and the
//! privileged instructions (Priv., "Supervisor Instructions" and "Machine-Mode Privileged Instructions").
//!
//! An instruction's privilege is checked here; what bits of `mstatus`, `menvcfg` and the like decide, by its
//! helper.

use emu_core::ir::{Hint, MemAttr, Op, Terminal, Ty, Val};

use super::super::decode::insn32::args::{Cbo, Vma};
use super::super::helper::Helper;
use super::super::{CACHE_BLOCK, Privilege};
use super::{Lifter, Refusal};

/// Cause of a breakpoint exception (Priv., "Machine Cause Register").
const BREAKPOINT: u32 = 3;

impl Lifter<'_> {
    /// Calls a helper that may change anything, and ends the block.
    pub(super) fn call_and_look_up(&mut self, helper: Helper, args: &[Val]) -> Terminal {
        self.call(helper, args);
        self.lookup()
    }

    pub(super) fn ecall(&mut self) -> Terminal {
        self.call_and_look_up(Helper::Ecall, &[])
    }

    pub(super) fn ebreak(&mut self) -> Terminal {
        let value = self.builder.temp();
        self.builder.pc_to(value, self.at as i32);
        Terminal::Exception { cause: BREAKPOINT, value }
    }

    pub(super) fn fence_i(&mut self) -> Terminal {
        self.call_and_look_up(Helper::FenceI, &[])
    }

    fn trap_return(&mut self, helper: Helper) -> Terminal {
        let before = self.builder.marks() as u64 - 1;
        let (bits, before) = (self.bits(), self.builder.imm(before));
        let target = self.builder.call(helper as u16, &[bits, before]);
        Terminal::Indirect { target, hint: Hint::Switch }
    }

    pub(super) fn mret(&mut self) -> Result<Terminal, Refusal> {
        self.must_be(Privilege::Machine)?;
        Ok(self.trap_return(Helper::Mret))
    }

    pub(super) fn sret(&mut self) -> Result<Terminal, Refusal> {
        self.must_be(Privilege::Supervisor)?;
        Ok(self.trap_return(Helper::Sret))
    }

    /// In user mode, where there is a supervisor mode, it is illegal rather than waiting for some bounded
    /// time.
    pub(super) fn wfi(&mut self) -> Result<Terminal, Refusal> {
        self.must_be(Privilege::Supervisor)?;
        let bits = self.bits();
        Ok(self.call_and_look_up(Helper::Wfi, &[bits]))
    }

    pub(super) fn wrs_nto(&mut self) -> Terminal {
        self.wrs()
    }

    pub(super) fn wrs_sto(&mut self) -> Terminal {
        self.wrs()
    }

    pub(super) fn sfence_vma(&mut self, a: Vma) -> Result<Terminal, Refusal> {
        self.must_be(Privilege::Supervisor)?;
        let which = u64::from(a.rs1 != 0) | u64::from(a.rs2 != 0) << 1 | u64::from(self.bits) << 32;
        let args = [self.x(a.rs1), self.x(a.rs2), self.builder.imm(which)];
        Ok(self.call_and_look_up(Helper::SfenceVma, &args))
    }

    pub(super) fn sinval_vma(&mut self, a: Vma) -> Result<Terminal, Refusal> {
        self.sfence_vma(a)
    }

    pub(super) fn sfence_w_inval(&mut self) -> Result<Terminal, Refusal> {
        self.must_be(Privilege::Supervisor)?;
        let bits = self.bits();
        Ok(self.call_and_look_up(Helper::SfenceInval, &[bits]))
    }

    pub(super) fn sfence_inval_ir(&mut self) -> Result<Terminal, Refusal> {
        self.sfence_w_inval()
    }

    fn cache_block(&mut self, operation: u64, a: Cbo) {
        let args = [self.x(a.rs1), self.builder.imm(operation), self.bits()];
        self.call(Helper::Cbo, &args);
    }

    pub(super) fn cbo_inval(&mut self, a: Cbo) {
        self.cache_block(0, a);
    }

    pub(super) fn cbo_clean(&mut self, a: Cbo) {
        self.cache_block(1, a);
    }

    pub(super) fn cbo_flush(&mut self, a: Cbo) {
        self.cache_block(2, a);
    }

    pub(super) fn cbo_zero(&mut self, a: Cbo) {
        if !self.guest.ctx.zero {
            return self.cache_block(4, a);
        }
        let rs1 = self.x(a.rs1);
        let attr = MemAttr::PLAIN.bits();
        self.builder.op(Op::Zero, Ty::None, attr, Val::NONE, [rs1, Val::NONE, Val::NONE], CACHE_BLOCK as i32);
    }
}
