//! Zicsr (Unpriv., "Zicsr Extension for Control and Status Register (CSR) Instructions").
//!
//! Which CSRs exist, which privilege they need and which are read-only is known to the helpers. Here it is
//! decided only whether an instruction reads and whether it writes, and what that means for the block.

use emu_core::ir::{Op, Ty, Val};

use super::super::decode::insn32::args::{Csr, CsrImm};
use super::super::helper::Helper;
use super::{Flow, Lifted, Lifter};

/// The accrued exceptions, and their bits.
const FFLAGS: u16 = 0x001;
const FLAGS: i32 = 0x1f;
/// The rounding mode, which is known here, and both in one.
const FRM: u16 = 0x002;
const FCSR: u16 = 0x003;

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
        if !self.guest.ctx.fp_on || !matches!(csr, FFLAGS | FRM | FCSR) {
            self.csr(Helper::CsrRead, csr, rd, &[])?;
        } else if rd != 0 {
            let frm = i32::from(self.guest.ctx.frm);
            let dst = self.x_dst(rd);
            match csr {
                FFLAGS => self.accrued_to(dst),
                FRM => {
                    let frm = self.builder.imm(frm as u64);
                    self.builder.un_to(dst, Op::Mov, Ty::I64, frm);
                }
                _ => {
                    let flags = self.builder.temp();
                    self.accrued_to(flags);
                    let frm = self.builder.imm((frm << 5) as u64);
                    self.builder.bin_to(dst, Op::Or, Ty::I64, flags, frm);
                }
            }
        }
        Ok(Flow::Next)
    }

    fn accrued_to(&mut self, dst: Val) {
        self.builder.op(Op::Fpflags, Ty::None, 0, dst, [Val::NONE; 3], 0);
    }

    /// Writes the accrued exceptions. That makes FS dirty, which it is already here.
    fn write_accrued(&mut self, helper: Helper, rd: u8, operand: Val) {
        let old = self.builder.temp();
        if rd != 0 || helper != Helper::CsrWrite {
            self.accrued_to(old);
        }
        let all = self.builder.imm(FLAGS as u64);
        let operand = match self.builder.as_imm(operand) {
            Some(_) => operand, // an immediate of 5 bits
            None => self.builder.bin(Op::And, Ty::I64, operand, all),
        };
        let new = match helper {
            Helper::CsrSet => self.builder.bin(Op::Or, Ty::I64, old, operand),
            Helper::CsrClear => self.builder.bin(Op::Andn, Ty::I64, old, operand),
            _ => operand,
        };
        self.builder.op(Op::FpflagsSet, Ty::None, 0, Val::NONE, [new, Val::NONE, Val::NONE], 0);
        if rd != 0 {
            let dst = self.x_dst(rd);
            self.builder.un_to(dst, Op::Mov, Ty::I64, old);
        }
    }

    fn csr_write(&mut self, helper: Helper, csr: u16, rd: u8, operand: Val) -> Lifted {
        if csr == FFLAGS && self.guest.ctx.fp_dirty {
            self.write_accrued(helper, rd, operand);
            return Ok(Flow::Next);
        }
        self.csr(helper, csr, rd, &[operand])?;
        if is_storage(csr) { Ok(Flow::Next) } else { Ok(Flow::End(self.lookup())) }
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
