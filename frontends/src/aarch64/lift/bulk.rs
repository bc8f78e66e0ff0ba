//! Memory copy and memory set (DDI 0487, C3.2.14 "Memory Copy and Memory Set instructions", `FEAT_MOPS`), by Option A of the two
//! that the architecture leaves to choose between.
//!
//! Of the three instructions of a sequence, the prologue only brings the registers into the form of that option: the number of
//! bytes left is negative, and the addresses are those of the ends, if the copy goes upward. The main instruction does all the
//! work, in as many rounds as it takes, between which interrupts are taken. The epilogue finds nothing left to do.

use emu_core::ir::{BulkAttr, Cc, Op, Terminal, Ty, Val, View};

use super::super::decode::args;
use super::super::syndrome::{class, syndrome};
use super::flags::Flags;
use super::{Done, Lifter, Refusal};

/// PSTATE.C: the registers have the form of Option B.
const OPTION_B: u64 = 1 << 29;

/// A bit of the options: accesses are unprivileged.
const WRITE_UNPRIVILEGED: u8 = 1;
const READ_UNPRIVILEGED: u8 = 2;

/// Bits of the syndrome (D24.2.40 "ESR_EL1", "ISS encoding for an exception from the Memory Copy and Memory Set instructions").
const MEMORY_SET: u32 = 1 << 24;
const OPTIONS_SHIFT: u32 = 19;
const FROM_EPILOGUE: u32 = 1 << 18;
const WRONG_OPTION: u32 = 1 << 17;
const OPTION_A: u32 = 1 << 16;

fn view(options: u8, unprivileged: u8) -> View {
    if options & unprivileged != 0 { View::Unprivileged } else { View::Current }
}

/// What the syndrome of an exception says of an instruction.
fn named(options: u8, [rd, rs, rn]: [u8; 3]) -> u32 {
    OPTION_A | u32::from(options) << OPTIONS_SHIFT | u32::from(rd) << 10 | u32::from(rs) << 5 | u32::from(rn)
}

impl Lifter<'_> {
    fn bulk_on(&self) -> Done {
        if self.guest.ctx.mops { Ok(()) } else { Err(Refusal::Illegal) }
    }

    /// `count`, but at most `most`.
    fn saturated(&mut self, count: u8, most: u64) -> Val {
        let (count, most) = (self.x(count), self.builder.imm(most));
        self.builder.bin(Op::Minu, Ty::I64, count, most)
    }

    fn negated(&mut self, val: Val) -> Val {
        let zero = self.builder.imm(0);
        self.builder.bin(Op::Sub, Ty::I64, zero, val)
    }

    /// Ends a prologue: the `addresses` move by so many bytes, so many are left in register `count`, and the flags are clear.
    fn begin_bulk(&mut self, addresses: &[u8], moved: Val, count: u8, left: Val) {
        for &n in addresses {
            let address = self.x(n);
            let sum = self.builder.bin(Op::Add, Ty::I64, address, moved);
            self.set_x(n, Ty::I64, sum);
        }
        self.set_x(count, Ty::I64, left);
        let (zero, nzcv) = (self.builder.imm(0), self.nzcv());
        self.copy_to(nzcv, Ty::I64, zero);
        self.guest.flags = Flags::Unknown;
    }

    /// Raises the exception that begins the sequence anew, unless the registers have the form of Option A.
    fn check_option(&mut self, named: u32) {
        let (mask, zero, nzcv) = (self.builder.imm(OPTION_B), self.builder.imm(0), self.nzcv());
        let bit = self.builder.bin(Op::And, Ty::I64, nzcv, mask);
        let cause = syndrome(class::MEMORY_OPERATION, named | WRONG_OPTION);
        self.builder.raise_if(Cc::Ne, Ty::I64, [bit, zero], cause, zero);
    }

    /// Ends the block, with this instruction once more if register `count` says that something is left.
    fn repeat(&mut self, count: u8) -> Terminal {
        let (a, b) = (self.x(count), self.builder.imm(0));
        Terminal::Branch { cc: Cc::Ne, ty: Ty::I64, a, b, taken: self.at as i32, fall: self.next() }
    }

    fn end_bulk(&mut self, count: u8, named: u32) -> Done {
        self.bulk_on()?;
        self.check_option(named | FROM_EPILOGUE);
        let (left, zero) = (self.x(count), self.builder.imm(0));
        let cause = syndrome(class::MEMORY_OPERATION, named | FROM_EPILOGUE);
        self.builder.raise_if(Cc::Ne, Ty::I64, [left, zero], cause, zero);
        Ok(())
    }

    /// `CPYFP*`
    pub(super) fn copy_begin_upward(&mut self, a: args::Copy) -> Done {
        self.bulk_on()?;
        let len = self.saturated(a.rn, i64::MAX as u64);
        let left = self.negated(len);
        self.begin_bulk(&[a.rd, a.rs], len, a.rn, left);
        Ok(())
    }

    /// `CPYP*`: downward if going upward would overwrite what is not copied yet. Tags of addresses do not count.
    pub(super) fn copy_begin(&mut self, a: args::Copy) -> Done {
        const ADDRESS: i32 = 56 << 8;
        const MOST: u64 = (1 << 55) - 1;
        self.bulk_on()?;
        let len = self.saturated(a.rn, MOST);
        let (to, from) = (self.x(a.rd), self.x(a.rs));
        let (zero, one) = (self.builder.imm(0), self.builder.imm(1));
        // The destination is less than the length behind the source, and not the same.
        let distance = self.builder.bin(Op::Sub, Ty::I64, to, from);
        let distance = {
            let dst = self.builder.temp();
            self.builder.op(Op::Extract, Ty::I64, 0, dst, [distance, Val::NONE, Val::NONE], ADDRESS);
            dst
        };
        let [distance, most] = [distance, len].map(|val| self.builder.bin(Op::Sub, Ty::I64, val, one));
        let down = self.builder.temp();
        self.builder.set_to(down, Cc::Ltu, Ty::I64, distance, most);
        let negative = self.negated(len);
        let [moved, left] = [(zero, len), (len, negative)].map(|(down_value, up)| {
            let dst = self.builder.temp();
            self.builder.select_to(dst, Ty::I64, down, down_value, up);
            dst
        });
        self.begin_bulk(&[a.rd, a.rs], moved, a.rn, left);
        Ok(())
    }

    /// `CPYM*` and `CPYFM*`
    pub(super) fn copy_main(&mut self, a: args::Copy) -> Result<Terminal, Refusal> {
        self.bulk_on()?;
        self.check_option(named(a.options, [a.rd, a.rs, a.rn]));
        let attr =
            BulkAttr { to: view(a.options, WRITE_UNPRIVILEGED), from: view(a.options, READ_UNPRIVILEGED) };
        let src = [a.rd, a.rs, a.rn].map(|n| self.x(n));
        let dst = self.x_dst(a.rn);
        self.builder.op(Op::Copy, Ty::None, attr.bits(), dst, src, 0);
        Ok(self.repeat(a.rn))
    }

    /// `CPYE*` and `CPYFE*`
    pub(super) fn copy_end(&mut self, a: args::Copy) -> Done {
        self.end_bulk(a.rn, named(a.options, [a.rd, a.rs, a.rn]))
    }

    /// `SETP*`
    pub(super) fn set_begin(&mut self, a: args::Set) -> Done {
        self.bulk_on()?;
        let len = self.saturated(a.rn, i64::MAX as u64);
        let left = self.negated(len);
        self.begin_bulk(&[a.rd], len, a.rn, left);
        Ok(())
    }

    /// `SETM*`
    pub(super) fn set_main(&mut self, a: args::Set) -> Result<Terminal, Refusal> {
        self.bulk_on()?;
        self.check_option(MEMORY_SET | named(a.options, [a.rd, a.rs, a.rn]));
        let attr = BulkAttr { to: view(a.options, WRITE_UNPRIVILEGED), from: View::Current };
        let src = [a.rd, a.rs, a.rn].map(|n| self.x(n));
        let dst = self.x_dst(a.rn);
        self.builder.op(Op::Fill, Ty::None, attr.bits(), dst, src, 0);
        Ok(self.repeat(a.rn))
    }

    /// `SETE*`
    pub(super) fn set_end(&mut self, a: args::Set) -> Done {
        self.end_bulk(a.rn, MEMORY_SET | named(a.options, [a.rd, a.rs, a.rn]))
    }
}
