//! Cryptographic instructions (C7, `AESD` to `XAR`).

use emu_core::ir::{AesStep, Op, ShaStep};

use super::super::super::decode::args;
use super::super::Lifter;
use super::{E64, UNSIGNED};

/// The registers of a step of a hash that has three.
pub(in super::super) trait Three {
    fn registers(self) -> [u8; 3];
}

macro_rules! three {
    ($($format:ident)*) => {$(
        impl Three for args::$format {
            fn registers(self) -> [u8; 3] {
                [self.rd, self.rn, self.rm]
            }
        }
    )*};
}

three! { ShaQS ShaQQ ShaQQD Sha3S Rax1 }

/// Those of one that has two.
pub(in super::super) trait Two {
    fn registers(self) -> [u8; 2];
}

macro_rules! two {
    ($($format:ident)*) => {$(
        impl Two for args::$format {
            fn registers(self) -> [u8; 2] {
                [self.rd, self.rn]
            }
        }
    )*};
}

two! { Sha2S Sha2D ShaH }

impl Lifter<'_> {
    pub(in super::super) fn aes_round(&mut self, a: args::Aes, step: AesStep) {
        let src = [self.v(a.rd), self.v(a.rn)];
        let state = self.vec(Op::Vxor, 0, &src);
        self.set_v(a.rd, Op::Vaes, step as u16, &[state]);
    }

    pub(in super::super) fn aes_mix(&mut self, a: args::Aes, step: AesStep) {
        let src = self.v(a.rn);
        self.set_v(a.rd, Op::Vaes, step as u16, &[src]);
    }

    pub(in super::super) fn sha3(&mut self, a: impl Three, step: ShaStep) {
        let [rd, rn, rm] = a.registers();
        let src = [rd, rn, rm].map(|n| self.v(n));
        self.set_v(rd, Op::Vsha, step as u16, &src);
    }

    pub(in super::super) fn sha2(&mut self, a: impl Two, step: ShaStep) {
        let [rd, rn] = a.registers();
        let src = [rd, rn, rn].map(|n| self.v(n));
        self.set_v(rd, Op::Vsha, step as u16, &src);
    }

    pub(in super::super) fn eor3(&mut self, a: args::Eor3) {
        let [n, m, third] = [a.rn, a.rm, a.ra].map(|n| self.v(n));
        let two = self.vec(Op::Vxor, 0, &[n, m]);
        self.set_v(a.rd, Op::Vxor, 0, &[two, third]);
    }

    pub(in super::super) fn bcax(&mut self, a: args::Eor3) {
        let [n, m, third] = [a.rn, a.rm, a.ra].map(|n| self.v(n));
        let cleared = self.vec(Op::Vandn, 0, &[m, third]);
        self.set_v(a.rd, Op::Vxor, 0, &[n, cleared]);
    }

    pub(in super::super) fn rax1(&mut self, a: args::Rax1) {
        let [n, m] = [a.rn, a.rm].map(|n| self.v(n));
        let up = self.vec_imm(Op::Vshl, E64, &[m], 1);
        let down = self.vec_imm(Op::Vshr, E64 | UNSIGNED, &[m], 63);
        let rotated = self.vec(Op::Vor, 0, &[up, down]);
        self.set_v(a.rd, Op::Vxor, 0, &[n, rotated]);
    }

    pub(in super::super) fn xar(&mut self, a: args::Xar) {
        let src = [a.rn, a.rm].map(|n| self.v(n));
        let by = i32::from(a.imms);
        if by == 0 {
            return self.set_v(a.rd, Op::Vxor, 0, &src);
        }
        let both = self.vec(Op::Vxor, 0, &src);
        let down = self.vec_imm(Op::Vshr, E64 | UNSIGNED, &[both], by);
        let up = self.vec_imm(Op::Vshl, E64, &[both], 64 - by);
        self.set_v(a.rd, Op::Vor, 0, &[up, down]);
    }
}
