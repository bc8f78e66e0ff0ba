//! Copies, permutations, table lookups and immediates.

use emu_core::ir::{Op, Shuffle, Ty, Val};

use super::super::super::decode::args;
use super::super::super::immediate;
use super::super::Lifter;
use super::{E16, E32, E64, GEU, HALF, Lanes, ONE};

/// The element width that the lowest bit set in `imm5` names, and the number above it.
fn element(imm5: u8) -> (u16, i32) {
    let size = imm5.trailing_zeros().min(3);
    (size as u16, i32::from(imm5 >> (size + 1)))
}

/// The part of a vector that an instruction with this bit works on.
fn part(q: u8) -> u16 {
    if q == 0 { HALF } else { 0 }
}

/// What a modified immediate is made to, and what becomes of it.
#[derive(Clone, Copy)]
pub(in super::super) enum Set {
    Words,
    NotWords,
    OrWords,
    ClearWords,
    Halves,
    NotHalves,
    OrHalves,
    ClearHalves,
    /// Ones are shifted in.
    Ones,
    NotOnes,
    Bytes,
    Half,
    Single,
    Double,
    /// Each bit stands for a byte of a scalar.
    Mask,
    /// The same in both halves.
    Masks,
}

/// The format of a modified immediate: destination, immediate, shift and part.
pub(in super::super) trait Modified {
    fn fields(self) -> (u8, u8, u8, u16);
}

macro_rules! modified {
    ($($format:ident $a:ident ($shift:expr, $part:expr),)*) => {$(
        impl Modified for args::$format {
            fn fields(self) -> (u8, u8, u8, u16) {
                let $a = self;
                ($a.rd, $a.imm8, $shift, $part)
            }
        }
    )*};
}

modified! {
    Imm a (0, part(a.q)),
    ImmShift a (a.sh2, part(a.q)),
    ImmShift1 a (a.sh1, part(a.q)),
    ImmMsl a (a.sh1, part(a.q)),
    Imm64 a (0, ONE),
    Imm64V a (0, 0),
    FImm a (0, part(a.q)),
    FImmD a (0, 0),
}

impl Lifter<'_> {
    pub(in super::super) fn dup_element(&mut self, a: args::DupElement) {
        let ((size, lane), src) = (element(a.imm5), self.v(a.rn));
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vsplat, size | part(a.q), &[src], lane);
    }

    pub(in super::super) fn dup_scalar(&mut self, a: args::DupScalar) {
        let ((size, lane), src) = (element(a.imm5), self.v(a.rn));
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vsplat, size | ONE, &[src], lane);
    }

    pub(in super::super) fn dup_general(&mut self, a: args::DupGeneral) {
        let ((size, _), src) = (element(a.imm5), self.x(a.rn));
        self.set_v(a.rd, Op::Vdup, size | part(a.q), &[src]);
    }

    pub(in super::super) fn ins_general(&mut self, a: args::InsGeneral) {
        let ((size, lane), src) = (element(a.imm5), self.x(a.rn));
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vset, size, &[dst, src], lane);
    }

    pub(in super::super) fn ins_element(&mut self, a: args::InsElement) {
        let ((size, lane), src) = (element(a.imm5), self.v(a.rn));
        let (dst, from) = (self.v(a.rd), i32::from(a.imm4) >> size);
        self.vec_to(dst, Op::Vinsert, size, &[dst, src], lane | from << 8);
    }

    pub(in super::super) fn umov(&mut self, a: args::Mov) {
        let ((size, lane), src) = (element(a.imm5), self.v(a.rn));
        if let Some(dst) = self.x_to(a.rd) {
            self.vec_to(dst, Op::Vget, size, &[src], lane);
        }
    }

    pub(in super::super) fn smov(&mut self, a: args::Mov) {
        let ((size, lane), src) = (element(a.imm5), self.v(a.rn));
        let value = self.vec_imm(Op::Vget, size, &[src], lane);
        let (op, ty) = match (size, a.q) {
            (E32, _) => (Op::Sext32, Ty::None),
            (E16, 0) => (Op::Sext16, Ty::I32),
            (E16, _) => (Op::Sext16, Ty::I64),
            (_, 0) => (Op::Sext8, Ty::I32),
            _ => (Op::Sext8, Ty::I64),
        };
        self.un(op, ty, a.rd, value);
    }

    pub(in super::super) fn ext(&mut self, a: args::Ext) {
        let src = [self.v(a.rn), self.v(a.rm)];
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vext, part(a.q), &src, a.imm4.into());
    }

    pub(in super::super) fn permute(&mut self, a: args::V3, kind: Shuffle) {
        self.three(a, Op::Vshuffle, (kind as u16) << 4);
    }

    pub(in super::super) fn reverse(&mut self, a: args::V2, unit: u16) {
        self.two(a, Op::Vrev, unit);
    }

    pub(in super::super) fn reverse_bytes(&mut self, a: args::B2, unit: u16) {
        self.two(a, Op::Vrev, unit);
    }

    /// `dst` = the bytes that the instruction's table has; zero beyond its end.
    fn table(&mut self, dst: Val, a: args::Table) {
        let indices = self.v(a.rm);
        let register = |n: u8| (self.v((a.rn + n) % 32), indices, 16 * i32::from(n));
        let tables: Vec<_> = (0..=a.tables).map(register).collect();
        self.look_up(dst, part(a.q), &tables);
    }

    pub(in super::super) fn tbl(&mut self, a: args::Table) {
        let dst = self.v(a.rd);
        self.table(dst, a);
    }

    pub(in super::super) fn tbx(&mut self, a: args::Table) {
        let found = self.builder.temp();
        self.table(found, a);
        let (old, indices) = (self.v(a.rd), self.v(a.rm));
        let end = self.dup(0, 16 * (u64::from(a.tables) + 1));
        let outside = self.vec(Op::Vcmp, GEU, &[indices, end]);
        self.set_v(a.rd, Op::Vselect, part(a.q), &[outside, old, found]);
    }

    /// `MOVI`, `MVNI`, `ORR`, `BIC` and `FMOV` with an immediate (J1 `AdvSIMDExpandImm`).
    pub(in super::super) fn immediate(&mut self, a: impl Modified, set: Set) {
        let (rd, imm8, shift, part) = a.fields();
        let (imm, by) = (u64::from(imm8), 8 * u32::from(shift));
        let ones = imm << (by + 8) | ((1 << (by + 8)) - 1);
        let (size, value) = match set {
            Set::Words | Set::OrWords => (E32, imm << by),
            Set::NotWords | Set::ClearWords => (E32, !(imm << by)),
            Set::Halves | Set::OrHalves => (E16, imm << by),
            Set::NotHalves | Set::ClearHalves => (E16, !(imm << by)),
            Set::Ones => (E32, ones),
            Set::NotOnes => (E32, !ones),
            Set::Bytes => (0, imm),
            Set::Half => (E16, immediate::float(imm8, Ty::F16)),
            Set::Single => (E32, immediate::float(imm8, Ty::F32)),
            Set::Double => (E64, immediate::float(imm8, Ty::F64)),
            Set::Mask | Set::Masks => (E64, immediate::byte_mask(imm8)),
        };
        // The whole constant, so that equal ones look alike.
        let value = match size {
            0 => value * 0x0101_0101_0101_0101,
            E16 => (value & 0xffff) * 0x0001_0001_0001_0001,
            E32 => (value & 0xffff_ffff) * 0x0000_0001_0000_0001,
            _ => value,
        };
        let op = match set {
            Set::OrWords | Set::OrHalves => Op::Vor,
            Set::ClearWords | Set::ClearHalves => Op::Vand,
            _ => {
                let value = self.builder.imm(value);
                return self.set_v(rd, Op::Vdup, E64 | part, &[value]);
            }
        };
        let value = self.dup(E64, value);
        let old = self.v(rd);
        self.set_v(rd, op, part & HALF, &[old, value]);
    }

    pub(in super::super) fn shll(&mut self, a: args::V2Shll) {
        let a = Lanes::from(a);
        let wide = self.widened(a, a.rn, super::UNSIGNED);
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vshl, a.size() + 1, &[wide], a.bits());
    }
}
