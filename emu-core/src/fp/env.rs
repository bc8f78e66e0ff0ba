//! What an instruction set leaves open about an operation, and the exceptions that the operation raises.

use std::ops::{BitOr, BitOrAssign};

/// The direction in which an inexact result is rounded (IEEE 754-2019 §4.3).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Round {
    /// To nearest, ties to the even significand (RISC-V RNE, Arm RN).
    NearestEven,
    /// Toward zero (RTZ, RZ).
    TowardZero,
    /// Toward negative infinity (RDN, RM).
    Down,
    /// Toward positive infinity (RUP, RP).
    Up,
    /// To nearest, ties away from zero (RISC-V RMM, the Arm `FCVTA*` and `FRINTA`).
    NearestMaxMagnitude,
    /// Truncated, with the last bit set if anything was cut off, so that rounding again to a narrower format
    /// is as good as rounding once (RISC-V vector `vfncvt.rod`, Arm `FCVTXN`). Overflow gives the largest
    /// finite number.
    ToOdd,
}

impl Round {
    /// Whether a magnitude is to be incremented in its last kept place. `odd` is that place's bit, `fraction`
    /// what was cut off, as a 64-bit binary fraction of it whose last bit may be sticky.
    #[inline]
    pub(super) fn increments(self, negative: bool, odd: bool, fraction: u64) -> bool {
        const HALF: u64 = 1 << 63;
        match self {
            Round::NearestEven => fraction > HALF || (fraction == HALF && odd),
            Round::TowardZero => false,
            Round::Down => negative && fraction != 0,
            Round::Up => !negative && fraction != 0,
            Round::NearestMaxMagnitude => fraction >= HALF,
            Round::ToOdd => !odd && fraction != 0,
        }
    }

    /// Whether a finite result too large for its format becomes an infinity, else the largest finite number.
    pub(super) fn overflows_to_infinity(self, negative: bool) -> bool {
        match self {
            Round::NearestEven | Round::NearestMaxMagnitude => true,
            Round::TowardZero | Round::ToOdd => false,
            Round::Down => negative,
            Round::Up => !negative,
        }
    }
}

/// Which NaN an operation returns.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum NanMode {
    /// Always the positive quiet NaN with an otherwise zero payload (RISC-V F "NaN Generation and
    /// Propagation"; Arm with FPCR.DN=1).
    Canonical,
    /// The first signaling NaN among the operands, else the first quiet one, made quiet; the canonical NaN if
    /// no operand is a NaN. The addend of a fused multiply-add comes first (Arm `FPProcessNaNs3`, FPCR.DN=0).
    Propagate,
}

/// The integer that a NaN converts to; the invalid flag is raised in either case.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum NanToInt {
    /// The largest value of the integer type (RISC-V).
    Max,
    /// Zero (Arm).
    Zero,
}

/// When a non-zero result is tiny, and so raises underflow if it is inexact too (IEEE 754-2019 §7.5).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tininess {
    /// When the exact result lies below the smallest normal number (Arm with FPCR.AH=0).
    BeforeRounding,
    /// When the result, rounded as if the exponent had no lower bound, lies below it (RISC-V, x86).
    AfterRounding,
}

/// The environment of an operation: a copy of the guest's control register, decoded. All operations are its
/// methods.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Env {
    /// Rounding direction.
    pub round: Round,
    /// Which NaN comes out.
    pub nan: NanMode,
    /// What a NaN becomes as an integer.
    pub nan_to_int: NanToInt,
    /// When a result is tiny.
    pub tininess: Tininess,
    /// Read subnormal operands as zeros of the same sign, raising [`Flags::INPUT_DENORMAL`] unless the
    /// operand is [`F16`](super::F16) (Arm FPCR.FZ; for F16 arithmetic FZ16. A conversion between formats
    /// ignores FZ16, so clear this to convert from F16, and `flush_outputs` to convert to it).
    pub flush_inputs: bool,
    /// Replace results that are tiny before rounding by zeros of the same sign, raising [`Flags::UNDERFLOW`]
    /// and not [`Flags::INEXACT`] (Arm FPCR.FZ or FZ16, with AH=0).
    pub flush_outputs: bool,
}

impl Env {
    /// The plain environment: canonical NaNs that convert to the largest integer, tininess after rounding,
    /// nothing flushed. That is the whole of RISC-V; for another, change fields.
    pub const fn new(round: Round) -> Env {
        Env {
            round,
            nan: NanMode::Canonical,
            nan_to_int: NanToInt::Max,
            tininess: Tininess::AfterRounding,
            flush_inputs: false,
            flush_outputs: false,
        }
    }

    /// The same environment with another rounding direction, for instructions that name their own.
    pub const fn with_round(self, round: Round) -> Env {
        Env { round, ..self }
    }
}

/// A set of floating-point exceptions. The five of IEEE 754-2019 §7 have the bits of the RISC-V `fflags`
/// register.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No exception.
    pub const NONE: Flags = Flags(0);
    /// The result was rounded (NX, bit 0).
    pub const INEXACT: Flags = Flags(1);
    /// The result was tiny and rounded, or flushed (UF, bit 1).
    pub const UNDERFLOW: Flags = Flags(2);
    /// The result was too large for the format (OF, bit 2).
    pub const OVERFLOW: Flags = Flags(4);
    /// A finite number was divided by zero (DZ, bit 3).
    pub const DIV_BY_ZERO: Flags = Flags(8);
    /// The operation is not defined for its operands, or one was a signaling NaN (NV, bit 4).
    pub const INVALID: Flags = Flags(16);
    /// A subnormal operand was read as zero (Arm FPSR.IDC; bit 5, which `fflags` does not have).
    pub const INPUT_DENORMAL: Flags = Flags(32);
    /// An integer result did not fit and was replaced by the nearest that does (Arm FPSR.QC, RISC-V `vxsat`; bit 6). Not an
    /// exception of floating point, but it accrues with these.
    pub const SATURATED: Flags = Flags(64);

    /// The bits of `fflags` (0–4), bit 5 for [`Flags::INPUT_DENORMAL`] and bit 6 for [`Flags::SATURATED`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits; bit 7 is ignored.
    pub const fn from_bits(bits: u8) -> Flags {
        Flags(bits & 0x7f)
    }

    /// Whether every exception of `other` is in this set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}
