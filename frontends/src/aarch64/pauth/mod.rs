//! Pointer authentication (DDI 0487, D8.10 "Pointer authentication", and `AddPAC`, `Auth`, `Strip` of J1): FEAT_PAuth without
//! the later enhancements.

mod qarma;

use super::KEYS;
use super::state::Cpu;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// Instruction addresses, A.
    IA,
    /// Instruction addresses, B.
    IB,
    /// Data addresses, A.
    DA,
    /// Data addresses, B.
    DB,
    /// The generic key.
    GA,
}

impl Key {
    /// The key with this number.
    pub(super) fn from_bits(bits: u64) -> Self {
        [Self::IA, Self::IB, Self::DA, Self::DB].get(bits as usize).copied().unwrap_or(Self::GA)
    }

    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::DA | Self::DB)
    }

    /// The two bits that take the place of the code where it is wrong.
    pub(super) fn error_code(self) -> u64 {
        if matches!(self, Self::IA | Self::DA) { 0b01 } else { 0b10 }
    }
}

/// How codes are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// An implementation-defined one that is fast and no cipher: it withstands accidents, not attacks.
    #[default]
    Fast,
    /// QARMA5, the architecture's own.
    Qarma5,
}

impl Algorithm {
    /// The code of `data` with this modifier and key (high and low half): 64 bits, of which a pointer takes some of the
    /// upper ones.
    pub fn code(self, data: u64, modifier: u64, high: u64, low: u64) -> u64 {
        match self {
            Self::Fast => fast(data, modifier, high, low),
            Self::Qarma5 => qarma::encrypt(data, modifier, high, low),
        }
    }
}

/// The factors of the fast algorithm, and the shifts after the first two.
pub(super) const FACTORS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f];
pub(super) const SHIFTS: [u8; 2] = [32, 29];

/// Three rounds of multiplication, whose upper bits depend on all bits below them. The lifter emits the same.
fn fast(data: u64, modifier: u64, high: u64, low: u64) -> u64 {
    let first = (data ^ low).wrapping_mul(FACTORS[0]);
    let second = (first ^ first >> SHIFTS[0] ^ modifier).wrapping_add(high).wrapping_mul(FACTORS[1]);
    (second ^ second >> SHIFTS[1]).wrapping_mul(FACTORS[2])
}

/// Where the code is in addresses of one half of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The lowest bit of it: as many bits as addresses have.
    pub bottom: u8,
    /// The top byte is not part of the address, and so not of the code.
    pub tbi: bool,
}

impl Layout {
    /// The bits that the code takes.
    pub(super) fn mask(self) -> u64 {
        let below_55 = (1u64 << 55) - (1 << self.bottom.clamp(1, 54));
        if self.tbi { below_55 } else { below_55 | 0xff << 56 }
    }

    /// The pointer with the bits of the code, and bit 55, replaced by `sign`.
    fn extended(self, pointer: u64, sign: bool) -> u64 {
        let field = self.mask() | 1 << 55;
        if sign { pointer | field } else { pointer & !field }
    }
}

/// The layouts that [`super::Context::pointers`] means, of the lower and the upper half of the address space: addresses of 48
/// bits, with or without their top byte ignored in either half, which may be otherwise for those of code.
pub fn usual_layouts(pointers: u8, data: bool) -> Option<[Layout; 2]> {
    let which = pointers.checked_sub(1)?;
    let ignored = if data { which } else { which & !(which >> 2) };
    Some([0, 1].map(|half| Layout { bottom: 48, tbi: ignored >> half & 1 != 0 }))
}

/// The inverse for a value of `TCR_EL1` (D24.2 "TCR_EL1"): zero if its layout is another one.
pub(super) fn usual_layouts_of(control: u64) -> u8 {
    const SIZES: u64 = 0x3f << 16 | 0x3f;
    const BITS_48: u64 = 16 << 16 | 16;
    let (ignored, not_of_code) = (control >> 37 & 3, control >> 51 & 3);
    if control & SIZES == BITS_48 { 1 + (ignored | not_of_code << 2) as u8 } else { 0 }
}

fn bit_55(pointer: u64) -> bool {
    pointer >> 55 & 1 != 0
}

/// The key's halves, high and low.
fn halves(cpu: &Cpu, key: Key) -> (u64, u64) {
    let slot = usize::from(KEYS) + 2 * key as usize;
    (cpu.state.slots[slot + 1], cpu.state.slots[slot])
}

fn code(cpu: &Cpu, key: Key, data: u64, modifier: u64) -> u64 {
    let (high, low) = halves(cpu, key);
    cpu.isa.config().pauth.code(data, modifier, high, low)
}

/// `AddPAC`: the pointer with its code.
pub(super) fn add(cpu: &Cpu, pointer: u64, modifier: u64, key: Key) -> u64 {
    let layouts = cpu.isa.pointer_layouts(key.is_data());
    // Without top-byte-ignore the sign is that of the whole.
    let sign = if layouts.iter().any(|layout| layout.tbi) { bit_55(pointer) } else { pointer >> 63 != 0 };
    let layout = layouts[usize::from(sign)];
    let mask = layout.mask();
    let mut code = code(cpu, key, layout.extended(pointer, sign), modifier);
    let unused = pointer & (mask | 1 << 55);
    if unused != 0 && unused != mask | 1 << 55 {
        // No address to begin with: a code that will be found wrong.
        code ^= 1 << if layout.tbi { 54 } else { 62 };
    }
    layout.extended(pointer, sign) & !mask | code & mask
}

/// `Auth`: the pointer without its code, or one that will fault.
pub(super) fn authenticate(cpu: &Cpu, pointer: u64, modifier: u64, key: Key) -> u64 {
    let sign = bit_55(pointer);
    let layout = cpu.isa.pointer_layouts(key.is_data())[usize::from(sign)];
    let original = layout.extended(pointer, sign);
    let mask = layout.mask();
    if (code(cpu, key, original, modifier) ^ pointer) & mask == 0 {
        return original;
    }
    let at = if layout.tbi { 53 } else { 61 };
    original & !(0b11 << at) | key.error_code() << at
}

/// `Strip`: the pointer without its code.
pub(super) fn strip(cpu: &Cpu, pointer: u64, data: bool) -> u64 {
    let sign = bit_55(pointer);
    cpu.isa.pointer_layouts(data)[usize::from(sign)].extended(pointer, sign)
}

/// `PACGA`: the generic code, in the upper half.
pub(super) fn generic(cpu: &Cpu, data: u64, modifier: u64) -> u64 {
    code(cpu, Key::GA, data, modifier) & 0xffff_ffff_0000_0000
}
