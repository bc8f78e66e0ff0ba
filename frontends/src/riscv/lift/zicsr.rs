//! Zicsr (Unpriv., "Zicsr Extension for Control and Status Register (CSR) Instructions").
//!
//! Which CSRs exist, which privilege they need and which are read-only is known to the helpers. Here it is
//! decided only whether an instruction reads and whether it writes, and what that means for the block.

use emu_core::ir::Val;

use super::super::decode::insn32::args::{Csr, CsrImm};
use super::super::helper::Helper;
use super::{Flow, Lifted, Lifter};

/// The accrued exceptions.
const FFLAGS: u16 = 0x001;

/// CSRs that only hold a value: writing one changes neither the context nor anything that later instructions
/// depend on other than by reading it. `sscratch`, `sepc`, `scause`, `stval`, and their machine-level
/// counterparts.
const fn is_storage(csr: u16) -> bool {
    matches!(csr, 0x140..=0x143 | 0x340..=0x343)
}

/// CSRs whose access must see or set the exact number of retired instructions, which is known only at the
/// start of a block: counters, their inhibition and configuration, and what derives from them.
const fn counts(csr: u16) -> bool {
    matches!(csr, 0xc00..=0xc1f | 0xb00..=0xb1f | 0x320..=0x33f | 0xda0)
}

impl Lifter<'_> {
    fn csr_read(&mut self, csr: u16, rd: u8) -> Lifted {
        self.csr(Helper::CsrRead, csr, rd, &[])?;
        Ok(Flow::Next)
    }

    fn csr_write(&mut self, helper: Helper, csr: u16, rd: u8, operand: Val) -> Lifted {
        self.csr(helper, csr, rd, &[operand])?;
        // Flags are written often, around quiet comparisons; that makes FS dirty, which it is already then.
        let flags = csr == FFLAGS && self.guest.ctx.fp_dirty;
        if is_storage(csr) || flags { Ok(Flow::Next) } else { Ok(Flow::End(self.lookup())) }
    }

    fn csr(&mut self, helper: Helper, csr: u16, rd: u8, operand: &[Val]) -> Result<(), super::Refusal> {
        if counts(csr) {
            self.must_be_first()?;
        }
        let dst = if rd == 0 { Val::NONE } else { self.x_dst(rd) };
        let mut args = vec![self.builder.imm(csr.into()), self.bits()];
        args.extend(operand);
        self.builder.call_to(dst, helper as u16, &args);
        Ok(())
    }

    pub(super) fn csrrw(&mut self, a: Csr) -> Lifted {
        let operand = self.x(a.rs1);
        self.swap(a.csr, a.rd, operand)
    }

    pub(super) fn csrrs(&mut self, a: Csr) -> Lifted {
        let operand = self.x(a.rs1);
        self.modify(Helper::CsrSet, a.csr, a.rd, operand, a.rs1 != 0)
    }

    pub(super) fn csrrc(&mut self, a: Csr) -> Lifted {
        let operand = self.x(a.rs1);
        self.modify(Helper::CsrClear, a.csr, a.rd, operand, a.rs1 != 0)
    }

    pub(super) fn csrrwi(&mut self, a: CsrImm) -> Lifted {
        let operand = self.builder.imm(a.uimm.into());
        self.swap(a.csr, a.rd, operand)
    }

    pub(super) fn csrrsi(&mut self, a: CsrImm) -> Lifted {
        let operand = self.builder.imm(a.uimm.into());
        self.modify(Helper::CsrSet, a.csr, a.rd, operand, a.uimm != 0)
    }

    pub(super) fn csrrci(&mut self, a: CsrImm) -> Lifted {
        let operand = self.builder.imm(a.uimm.into());
        self.modify(Helper::CsrClear, a.csr, a.rd, operand, a.uimm != 0)
    }

    /// Without a destination the CSR is not read.
    fn swap(&mut self, csr: u16, rd: u8, operand: Val) -> Lifted {
        let helper = if rd == 0 { Helper::CsrWrite } else { Helper::CsrSwap };
        self.csr_write(helper, csr, rd, operand)
    }

    /// The operand `x0` or 0 means that the CSR is not written.
    fn modify(&mut self, helper: Helper, csr: u16, rd: u8, operand: Val, writes: bool) -> Lifted {
        if writes { self.csr_write(helper, csr, rd, operand) } else { self.csr_read(csr, rd) }
    }
}
