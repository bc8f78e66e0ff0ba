//! Steps of AES and of SHA-256, by the host's instructions for them. They are cut otherwise than the guest's.

use emu_core::ir::{AesStep, Inst, ShaStep};

use super::Compiler;
use super::asm::{XMM0, XMM1};
use super::vec::Handled;
use super::vec_asm::{
    AESDECLAST, AESENC, AESENCLAST, AESIMC, PADD, PALIGNR, PSHUFD, SHA256MSG1, SHA256MSG2, SHA256RNDS2,
    SHUFPS,
};

impl Compiler {
    pub(super) fn aes(&mut self, inst: &Inst) -> Handled {
        let a = self.read_xmm(inst.a)?;
        let dst = self.over(inst, a)?;
        let step = AesStep::from_bits(inst.attr & 3);
        if step != AesStep::Unmix {
            self.zero_xmm(XMM0);
        }
        match step {
            // The last rounds with a key of zero.
            AesStep::Encrypt => self.packed(AESENCLAST, dst, a, XMM0),
            AesStep::Decrypt => self.packed(AESDECLAST, dst, a, XMM0),
            // A round whose other steps have been undone before.
            AesStep::Mix => {
                self.packed(AESDECLAST, dst, a, XMM0);
                self.packed(AESENC, dst, dst, XMM0);
            }
            AesStep::Unmix => self.asm.packed2(AESIMC, dst, a),
        }
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// The guest's instructions make four rounds with (a, b, c, d) and (e, f, g, h), lowest lanes first, and give one of the two;
    /// the host's makes two, with (f, e, b, a) and (h, g, d, c), and gives what takes the place of the first: the second is then what
    /// the first was.
    pub(super) fn sha(&mut self, inst: &Inst) -> Handled {
        /// The lower, and the upper two lanes of two vectors, each pair turned.
        const LOWER: u8 = 0x11;
        const UPPER: u8 = 0xbb;
        let step = ShaStep::from_bits(inst.attr & 15);
        let [d, n, m] = match step {
            ShaStep::Sha256H | ShaStep::Sha256H2 | ShaStep::Sha256Su0 | ShaStep::Sha256Su1 => {
                let (d, n) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
                [d, n, if step == ShaStep::Sha256Su0 { n } else { self.read_xmm(inst.c)? }]
            }
            _ => return Ok(false),
        };
        let dst = self.target_xmm()?;
        match step {
            ShaStep::Sha256Su0 => {
                self.asm.mov_xmm(dst, d);
                self.asm.packed2(SHA256MSG1, dst, n);
            }
            ShaStep::Sha256Su1 => {
                self.packed_imm(PALIGNR, dst, [m, n], 4);
                self.asm.packed2(PADD[2], dst, d);
                self.asm.packed2(SHA256MSG2, dst, m);
            }
            _ => {
                let gives_first = step == ShaStep::Sha256H;
                let (first, second) = if gives_first { (d, n) } else { (n, d) };
                self.packed_imm(SHUFPS, dst, [second, first], LOWER);
                self.packed_imm(SHUFPS, XMM1, [second, first], UPPER);
                self.asm.mov_xmm(XMM0, m);
                self.asm.packed2(SHA256RNDS2, XMM1, dst);
                self.asm.packed2_imm(PSHUFD, XMM0, XMM0, 0x0e);
                self.asm.packed2(SHA256RNDS2, dst, XMM1);
                self.packed_imm(SHUFPS, dst, [dst, XMM1], if gives_first { UPPER } else { LOWER });
            }
        }
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }
}
