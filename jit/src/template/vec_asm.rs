//! Encodings of packed instructions, for the families of which the templates pick by width and sign.
//!
//! An instruction is data here, so that a table says which one does an operation. There are two forms: of two operands, whose
//! first is overwritten, and (AVX) of three.

use dynasmrt::DynasmApi;

use super::asm::{Asm, Xmm};

/// A packed instruction: its prefix, opcode map and opcode (Intel SDM volume 2, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// 0 none, 1 66, 2 F3, 3 F2: as VEX has it.
    prefix: u8,
    /// 1 0F, 2 0F 38, 3 0F 3A: as VEX has it.
    map: u8,
    opcode: u8,
}

/// `66 0F op`
pub(crate) const fn p66(opcode: u8) -> Packed {
    Packed { prefix: 1, map: 1, opcode }
}

/// `66 0F 38 op`
pub(crate) const fn p38(opcode: u8) -> Packed {
    Packed { prefix: 1, map: 2, opcode }
}

/// `66 0F 3A op`
pub(crate) const fn p3a(opcode: u8) -> Packed {
    Packed { prefix: 1, map: 3, opcode }
}

/// `0F 38 op`
pub(crate) const fn np38(opcode: u8) -> Packed {
    Packed { prefix: 0, map: 2, opcode }
}

/// `0F op`
pub(crate) const fn np(opcode: u8) -> Packed {
    Packed { prefix: 0, map: 1, opcode }
}

/// `F3 0F op`
pub(crate) const fn f3(opcode: u8) -> Packed {
    Packed { prefix: 2, map: 1, opcode }
}

/// `F2 0F op`
pub(crate) const fn f2(opcode: u8) -> Packed {
    Packed { prefix: 3, map: 1, opcode }
}

// The same operation on lanes of 8, 16, 32 and 64 bits, as far as the host has it.
pub(crate) const PADD: [Packed; 4] = [p66(0xfc), p66(0xfd), p66(0xfe), p66(0xd4)];
pub(crate) const PSUB: [Packed; 4] = [p66(0xf8), p66(0xf9), p66(0xfa), p66(0xfb)];
pub(crate) const PMINS: [Packed; 3] = [p38(0x38), p66(0xea), p38(0x39)];
pub(crate) const PMAXS: [Packed; 3] = [p38(0x3c), p66(0xee), p38(0x3d)];
pub(crate) const PMINU: [Packed; 3] = [p66(0xda), p38(0x3a), p38(0x3b)];
pub(crate) const PMAXU: [Packed; 3] = [p66(0xde), p38(0x3e), p38(0x3f)];
pub(crate) const PCMPEQ: [Packed; 4] = [p66(0x74), p66(0x75), p66(0x76), p38(0x29)];
pub(crate) const PCMPGT: [Packed; 4] = [p66(0x64), p66(0x65), p66(0x66), p38(0x37)];
pub(crate) const PABS: [Packed; 3] = [p38(0x1c), p38(0x1d), p38(0x1e)];
pub(crate) const PADDS: [Packed; 2] = [p66(0xec), p66(0xed)];
pub(crate) const PADDUS: [Packed; 2] = [p66(0xdc), p66(0xdd)];
pub(crate) const PSUBS: [Packed; 2] = [p66(0xe8), p66(0xe9)];
pub(crate) const PSUBUS: [Packed; 2] = [p66(0xd8), p66(0xd9)];
pub(crate) const PAVG: [Packed; 2] = [p66(0xe0), p66(0xe3)];
pub(crate) const PUNPCKL: [Packed; 4] = [p66(0x60), p66(0x61), p66(0x62), p66(0x6c)];
pub(crate) const PUNPCKH: [Packed; 4] = [p66(0x68), p66(0x69), p66(0x6a), p66(0x6d)];
/// Lanes of twice the width, signed, to these, signed and unsigned, saturating.
pub(crate) const PACKSS: [Packed; 2] = [p66(0x63), p66(0x6b)];
pub(crate) const PACKUS: [Packed; 2] = [p66(0x67), p38(0x2b)];
pub(crate) const PMOVSX: [Packed; 3] = [p38(0x20), p38(0x23), p38(0x25)];
pub(crate) const PMOVZX: [Packed; 3] = [p38(0x30), p38(0x33), p38(0x35)];

pub(crate) const PMULLW: Packed = p66(0xd5);
pub(crate) const PMULLD: Packed = p38(0x40);
pub(crate) const PAND: Packed = p66(0xdb);
/// The second operand and not the first.
pub(crate) const PANDN: Packed = p66(0xdf);
pub(crate) const POR: Packed = p66(0xeb);
pub(crate) const PXOR: Packed = p66(0xef);
pub(crate) const PSHUFB: Packed = p38(0x00);
pub(crate) const PSHUFD: Packed = p66(0x70);
pub(crate) const PSHUFHW: Packed = f3(0x70);
pub(crate) const PSHUFLW: Packed = f2(0x70);
pub(crate) const SHUFPS: Packed = np(0xc6);
pub(crate) const SHUFPD: Packed = p66(0xc6);
pub(crate) const PALIGNR: Packed = p3a(0x0f);
pub(crate) const PBLENDW: Packed = p3a(0x0e);
pub(crate) const INSERTPS: Packed = p3a(0x21);
pub(crate) const PCLMULQDQ: Packed = p3a(0x44);
pub(crate) const PMULHUW: Packed = p66(0xe4);
pub(crate) const PMULHW: Packed = p66(0xe5);
pub(crate) const PMULHRSW: Packed = p38(0x0b);
pub(crate) const PMULUDQ: Packed = p66(0xf4);
pub(crate) const PMULDQ: Packed = p38(0x28);
pub(crate) const PMADDWD: Packed = p66(0xf5);
pub(crate) const PHADDD: Packed = p38(0x02);
pub(crate) const PSADBW: Packed = p66(0xf6);
pub(crate) const PTEST: Packed = p38(0x17);
/// The low 64 bits, zeros above.
pub(crate) const MOVQ: Packed = f3(0x7e);
/// The low 64 bits twice.
pub(crate) const MOVDDUP: Packed = f2(0x12);
/// The low 64 bits of the second operand, the high ones of the first.
pub(crate) const MOVSD: Packed = f2(0x10);
pub(crate) const AESIMC: Packed = p38(0xdb);
pub(crate) const AESENC: Packed = p38(0xdc);
pub(crate) const AESENCLAST: Packed = p38(0xdd);
pub(crate) const AESDECLAST: Packed = p38(0xdf);
/// Two rounds of SHA-256, with the lower half of `xmm0`.
pub(crate) const SHA256RNDS2: Packed = np38(0xcb);
pub(crate) const SHA256MSG1: Packed = np38(0xcc);
pub(crate) const SHA256MSG2: Packed = np38(0xcd);
/// Shifts of lanes by lanes (AVX2), of 32 and 64 bits.
pub(crate) const PSLLV: Packed = p38(0x47);
pub(crate) const PSRLV: Packed = p38(0x45);
pub(crate) const PSRAV: Packed = p38(0x46);

/// Shifts by an immediate: the opcode by width, and which of its group.
pub(crate) const SHIFT_GROUP: [u8; 4] = [0, 0x71, 0x72, 0x73];
pub(crate) const SHIFT_RIGHT: u8 = 2;
pub(crate) const SHIFT_RIGHT_SIGNED: u8 = 4;
pub(crate) const SHIFT_LEFT: u8 = 6;
/// Of whole vectors, by bytes; of the group of 64 bits.
pub(crate) const SHIFT_RIGHT_BYTES: u8 = 3;
pub(crate) const SHIFT_LEFT_BYTES: u8 = 7;

impl Asm {
    /// The form of two operands.
    pub(crate) fn packed2(&mut self, insn: Packed, reg: Xmm, rm: Xmm) {
        self.packed_prefix(insn, reg.0, rm.0);
        self.ops.push(0xc0 | (reg.0 & 7) << 3 | rm.0 & 7);
    }

    fn packed_prefix(&mut self, insn: Packed, reg: u8, rm: u8) {
        match insn.prefix {
            0 => {}
            n => self.ops.push([0, 0x66, 0xf3, 0xf2][usize::from(n & 3)]),
        }
        if reg >= 8 || rm >= 8 {
            self.ops.push(0x40 | (reg >> 3) << 2 | rm >> 3);
        }
        self.ops.push(0x0f);
        match insn.map {
            2 => self.ops.push(0x38),
            3 => self.ops.push(0x3a),
            _ => {}
        }
        self.ops.push(insn.opcode);
    }

    /// The form of two operands with an immediate.
    pub(crate) fn packed2_imm(&mut self, insn: Packed, reg: Xmm, rm: Xmm, imm: u8) {
        self.packed2(insn, reg, rm);
        self.ops.push(imm);
    }

    /// The form of two operands, the second at a fixed address near the code.
    pub(crate) fn packed2_at(&mut self, insn: Packed, reg: Xmm, target: usize) {
        self.packed_prefix(insn, reg.0, 0);
        self.ops.push(0x05 | (reg.0 & 7) << 3);
        self.rel32(target);
    }

    /// The form of three operands: `reg = insn(a, b)`; of 64-bit lanes if `wide`, where that is told apart.
    pub(crate) fn packed3(&mut self, insn: Packed, wide: bool, reg: Xmm, a: Xmm, b: Xmm) {
        let inverted = |n: u8| n >> 3 ^ 1;
        let last = u8::from(wide) << 7 | (!a.0 & 15) << 3 | insn.prefix;
        if insn.map == 1 && b.0 < 8 && !wide {
            self.ops.extend([0xc5, inverted(reg.0) << 7 | last]);
        } else {
            self.ops.extend([0xc4, inverted(reg.0) << 7 | 1 << 6 | inverted(b.0) << 5 | insn.map, last]);
        }
        self.ops.extend([insn.opcode, 0xc0 | (reg.0 & 7) << 3 | b.0 & 7]);
    }

    /// A shift by an immediate, in place.
    pub(crate) fn packed_shift(&mut self, width: usize, kind: u8, reg: Xmm, by: u8) {
        self.packed_prefix(p66(SHIFT_GROUP[width & 3]), 0, reg.0);
        self.ops.extend([0xc0 | kind << 3 | reg.0 & 7, by]);
    }

    /// `reg` = the 32-bit lanes of `b` where those of `mask` are negative, else those of `a` (AVX).
    pub(crate) fn blendv(&mut self, reg: Xmm, a: Xmm, b: Xmm, mask: Xmm) {
        const BLENDVPS: Packed = p3a(0x4a);
        self.packed3(BLENDVPS, false, reg, a, b);
        self.ops.push(mask.0 << 4);
    }
}
