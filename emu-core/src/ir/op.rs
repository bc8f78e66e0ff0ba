//! The table of operations.
//!
//! Each line is one operation: its name in the text form, the types it comes in, its operands, its attribute, its effect
//! class, and a sentence. `a`, `b`, `c` name the operands in order; `imm` is a signed 32-bit immediate.

use super::types::{
    AesStep, AmoOp, Cc, Class, Estimate, FMinMax, Halving, NzcvCond, Part, Reduction, Sgnj, ShaStep, Shuffle,
    Signs, ToInt, Ty, VecCc, VecKind, VecUnary, View,
};

/// What an operation does beyond computing its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it may be dropped if its result is not used.
    Pure,
    /// Accrues floating-point exception flags or the saturation flag; it may not be dropped unless a later one is known to
    /// cover it.
    Fp,
    /// Reads memory; may raise an exception.
    Load,
    /// Writes memory; may raise an exception.
    Store,
    /// Reads and writes memory at once; may raise an exception.
    Atomic,
    /// Orders memory accesses.
    Fence,
    /// Runs code of the front end: may read and write all guest state, raise an exception, or ask for the host.
    Call,
    /// Reads and writes guest state other than slots.
    State,
    /// May leave the block.
    Exit,
    /// May raise an exception, and does nothing else.
    Raise,
}

/// Which types an operation comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// One form only; the type is [`Ty::None`].
    One,
    /// 32 and 64-bit integers.
    Int,
    /// Integers of all sizes.
    AnyInt,
    /// Floating-point formats.
    Float,
    /// Everything that can stand in memory.
    Memory,
}

impl Types {
    /// Whether `ty` is one of them.
    pub const fn contains(self, ty: Ty) -> bool {
        match self {
            Self::One => matches!(ty, Ty::None),
            Self::Int => matches!(ty, Ty::I32 | Ty::I64),
            Self::AnyInt => matches!(ty, Ty::I8 | Ty::I16 | Ty::I32 | Ty::I64),
            Self::Float => matches!(ty, Ty::F16 | Ty::F32 | Ty::F64),
            Self::Memory => !matches!(ty, Ty::None),
        }
    }
}

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is none.
    Absent,
    /// An integer; as a source also a constant.
    I,
    /// A floating-point value; as a source also a vector, which stands for its low 64 bits.
    F,
    /// A vector.
    V,
    /// Whatever class the operation's type has.
    T,
    /// An integer result that may be dropped by naming no destination.
    O,
}

impl Kind {
    /// The class of this operand in an operation of type `ty`.
    pub const fn class(self, ty: Ty) -> Option<Class> {
        match self {
            Self::Absent => None,
            Self::I | Self::O => Some(Class::Int),
            Self::F => Some(Class::Float),
            Self::V => Some(Class::Vec),
            Self::T => Some(ty.class()),
        }
    }
}

/// One field of an attribute: bit position, width in bits, names of its values (an empty name is not printed).
pub type Field = (u32, u32, &'static [&'static str]);

/// Everything the table says about an operation.
#[derive(Debug)]
pub struct OpInfo {
    /// Name in the text form.
    pub name: &'static str,
    /// Types it comes in.
    pub types: Types,
    /// The result.
    pub dst: Kind,
    /// The sources `a`, `b`, `c`.
    pub src: [Kind; 3],
    /// Whether it has an immediate.
    pub imm: bool,
    /// The fields of its attribute.
    pub attr: &'static [Field],
    /// Its effect class.
    pub effect: Effect,
}

const NONE: &[Field] = &[];
const CC: &[Field] = &[(0, 4, Cc::NAMES)];
const COND: &[Field] = &[(0, 4, NzcvCond::NAMES)];
const MEM: &[Field] =
    &[(0, 2, View::NAMES), (2, 1, &["", "sext"]), (3, 1, &["", "acq"]), (4, 1, &["", "rel"])];
const LOAD: &[Field] = &[
    (0, 2, View::NAMES),
    (2, 1, &["", "sext"]),
    (3, 1, &["", "acq"]),
    (4, 1, &["", "rel"]),
    (5, 1, &["", "excl"]),
];
const AMO: &[Field] = &[
    (8, 4, AmoOp::NAMES),
    (0, 2, View::NAMES),
    (2, 1, &["", "sext"]),
    (3, 1, &["", "acq"]),
    (4, 1, &["", "rel"]),
];
const FILL: &[Field] = &[(0, 2, View::NAMES)];
/// The views of what is written and of what is read.
const COPY: &[Field] = &[(0, 2, View::NAMES), (2, 2, &["", "fromunpriv", "fromguest", "fromguestx"])];
/// Which earlier and which later accesses are ordered; device accesses are never reordered.
const FENCE: &[Field] = &[(0, 1, &["", "pr"]), (1, 1, &["", "pw"]), (2, 1, &["", "sr"]), (3, 1, &["", "sw"])];
const ROUND: Field = (0, 3, &["rne", "rtz", "rdn", "rup", "rmm", "odd"]);
const NAN: Field = (3, 1, &["", "nanprop"]);
const TINY: Field = (4, 1, &["", "tinybefore"]);
const FLUSH: Field = (5, 1, &["", "flush"]);
const FP: &[Field] = &[ROUND, NAN, TINY, FLUSH];
const FMA: &[Field] = &[ROUND, NAN, TINY, FLUSH, (8, 1, &["", "negp"]), (9, 1, &["", "negc"])];
const FMINMAX: &[Field] = &[(8, 2, FMinMax::NAMES), NAN, FLUSH];
const FCMP: &[Field] = &[(8, 2, &["eq", "lt", "le", "uno"]), (10, 1, &["", "quiet"]), FLUSH];
/// `alt`: binary16 means Arm's alternative format, which has no infinities and NaNs.
const ALT: Field = (11, 1, &["", "alt"]);
const FORMAT: Field = (8, 2, &["f16", "f32", "f64"]);
const FCVT: &[Field] = &[FORMAT, ROUND, NAN, TINY, FLUSH, ALT];
const NAN_ZERO: Field = (10, 1, &["", "nanzero"]);
const TOINT: &[Field] = &[(8, 2, ToInt::NAMES), ROUND, NAN_ZERO, FLUSH];
const FROMINT: &[Field] = &[(8, 2, ToInt::NAMES), ROUND, TINY, FLUSH];
const EXACT: Field = (8, 1, &["", "exact"]);
const FROUND: &[Field] = &[ROUND, NAN, FLUSH, EXACT];
const FLUSHING: &[Field] = &[FLUSH];
const SGNJ: &[Field] = &[(8, 2, Sgnj::NAMES)];
const FNZCV: &[Field] = &[(10, 1, &["", "quiet"]), FLUSH];

// Vectors. An element width is that of the operands, unless it is said to be the result's.
const ELEM: Field = (0, 2, &["e8", "e16", "e32", "e64"]);
/// Of what has another of twice the width.
const NARROW: Field = (0, 2, &["e8", "e16", "e32"]);
const PART: Field = (2, 2, Part::NAMES);
const HALF: Field = (2, 1, &["", "half"]);
const SIGN: Field = (4, 1, &["s", "u"]);
const HIGH: Field = (5, 1, &["", "high"]);
const SIGNS: Field = (4, 2, Signs::NAMES);
const SUBTRACT: Field = (4, 1, &["", "sub"]);
const BITWISE: &[Field] = &[HALF];
const ELEMENT: &[Field] = &[ELEM];
const LANES: &[Field] = &[ELEM, PART];
const SIGNED_LANES: &[Field] = &[ELEM, PART, SIGN];
const SATURATING: &[Field] = &[ELEM, PART, SIGNS];
const VCMP: &[Field] = &[ELEM, PART, (4, 3, VecCc::NAMES)];
const VUNARY: &[Field] = &[ELEM, PART, (4, 3, VecUnary::NAMES)];
const VHALVE: &[Field] = &[ELEM, PART, SIGN, (5, 2, Halving::NAMES)];
const VSHIFT: &[Field] = &[ELEM, PART, SIGN, (5, 1, &["", "round"])];
const VQSHIFT: &[Field] = &[ELEM, PART, SIGNS, (6, 1, &["", "round"])];
const VWIDEN: &[Field] = &[NARROW, SIGN, HIGH];
const VNARROW: &[Field] = &[NARROW];
const VQNARROW: &[Field] = &[NARROW, PART, SIGNS];
const VPMULL: &[Field] = &[ELEM, HIGH];
const VQDMULH: &[Field] = &[ELEM, PART, (5, 1, &["", "round"])];
const VQRDMLA: &[Field] = &[ELEM, PART, SUBTRACT];
const VDOT: &[Field] = &[HALF, SIGN];
const VSHUFFLE: &[Field] = &[ELEM, HALF, (4, 3, Shuffle::NAMES)];
const VREV: &[Field] = &[ELEM, HALF, (4, 2, &["by16", "by32", "by64"])];
const VREDUCE: &[Field] = &[ELEM, HALF, (4, 3, Reduction::NAMES)];
const VAES: &[Field] = &[(0, 2, AesStep::NAMES)];
const VSHA: &[Field] = &[(0, 4, ShaStep::NAMES)];
const ESTIMATE: Field = (8, 2, Estimate::NAMES);
const VESTIMATE: &[Field] = &[HALF, (8, 1, &["recp", "rsqrt"])];
/// As [`PART`], where the low bits are those of the rules of floating point.
const FPART: Field = (6, 2, Part::NAMES);
const VFP: &[Field] = &[ROUND, NAN, TINY, FLUSH, FPART];
const VFMUL: &[Field] = &[ROUND, NAN, TINY, FLUSH, FPART, (8, 1, &["", "extended"])];
const VFMA: &[Field] = &[ROUND, NAN, TINY, FLUSH, FPART, (8, 1, &["", "negp"]), (9, 1, &["", "negc"])];
const VFMINMAX: &[Field] = &[(8, 2, FMinMax::NAMES), NAN, FLUSH, FPART];
const VFCMP: &[Field] = &[(8, 2, &["eq", "lt", "le"]), FLUSH, FPART];
const VFROUND: &[Field] = &[ROUND, NAN, FLUSH, FPART, EXACT, (9, 2, &["", "i32", "i64"])];
const VTOINT: &[Field] = &[(8, 1, &["s", "u"]), ROUND, NAN_ZERO, FLUSH, FPART];
const VFROMINT: &[Field] = &[(8, 1, &["s", "u"]), ROUND, TINY, FLUSH, FPART];
/// `raw`: operands are only rewritten in the wider format, signaling NaNs stay what they are.
const VFCVT: &[Field] =
    &[FORMAT, ROUND, NAN, TINY, FLUSH, FPART, (10, 1, &["", "high"]), ALT, (12, 1, &["", "raw"])];
const VFSTEP: &[Field] = &[(8, 1, &["recp", "rsqrt"]), ROUND, NAN, TINY, FLUSH, FPART];
const VFESTIMATE: &[Field] = &[ESTIMATE, ROUND, NAN, FLUSH, FPART];
/// Kind, element width; `masked`: elements whose bit in the mask is clear are left as they are; `agnostic`: these and the
/// elements beyond the run-time length may be overwritten with ones (else they must be left).
const VLEN: &[Field] = &[(8, 4, VecKind::NAMES), ELEM, (2, 1, &["", "masked"]), (3, 1, &["", "agnostic"])];

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $op:ident $name:literal $types:ident $dst:ident ($($src:ident),*) $imm:literal
       $attr:ident $effect:ident;)*) => {
        /// An operation of the IR.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op { $($(#[doc = $doc])+ $op,)* }

        impl Op {
            /// All operations, in table order.
            pub const ALL: &'static [Self] = &[$(Self::$op,)*];
        }

        static INFO: &[OpInfo] = &[$(OpInfo {
            name: $name,
            types: Types::$types,
            dst: Kind::$dst,
            src: kinds(&[$(Kind::$src),*]),
            imm: $imm,
            attr: $attr,
            effect: Effect::$effect,
        },)*];
    };
}

const fn kinds(given: &[Kind]) -> [Kind; 3] {
    let mut all = [Kind::Absent; 3];
    let mut i = 0;
    while i < given.len() {
        all[i] = given[i];
        i += 1;
    }
    all
}

impl Op {
    /// The table's line for this operation.
    #[inline]
    pub fn info(self) -> &'static OpInfo {
        &INFO[self as usize]
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.info().name == name)
    }

    /// Whether it can raise a guest exception.
    pub fn may_raise(self) -> bool {
        matches!(
            self.info().effect,
            Effect::Load | Effect::Store | Effect::Atomic | Effect::Call | Effect::Raise
        )
    }
}

ops! {
    /// `a`.
    Mov "mov" Int I (I) false NONE Pure;
    /// `a + b`.
    Add "add" Int I (I, I) false NONE Pure;
    /// `a − b`.
    Sub "sub" Int I (I, I) false NONE Pure;
    /// `a + b + c`; only bit 0 of `c` counts.
    Adc "adc" Int I (I, I, I) false NONE Pure;
    /// `a and b`.
    And "and" Int I (I, I) false NONE Pure;
    /// `a or b`.
    Or "or" Int I (I, I) false NONE Pure;
    /// `a exclusive-or b`.
    Xor "xor" Int I (I, I) false NONE Pure;
    /// `a and not b`.
    Andn "andn" Int I (I, I) false NONE Pure;
    /// `a or not b`.
    Orn "orn" Int I (I, I) false NONE Pure;
    /// `not (a exclusive-or b)`.
    Xnor "xnor" Int I (I, I) false NONE Pure;
    /// `a` shifted left by `b` modulo the width.
    Shl "shl" Int I (I, I) false NONE Pure;
    /// `a` shifted right by `b` modulo the width, zeros entering.
    Shr "shr" Int I (I, I) false NONE Pure;
    /// `a` shifted right by `b` modulo the width, sign bits entering.
    Sar "sar" Int I (I, I) false NONE Pure;
    /// `a` rotated left by `b` modulo the width.
    Rotl "rotl" Int I (I, I) false NONE Pure;
    /// `a` rotated right by `b` modulo the width.
    Rotr "rotr" Int I (I, I) false NONE Pure;
    /// Low half of `a · b`.
    Mul "mul" Int I (I, I) false NONE Pure;
    /// High half of `a · b`, both signed.
    Mulhs "mulhs" Int I (I, I) false NONE Pure;
    /// High half of `a · b`, both unsigned.
    Mulhu "mulhu" Int I (I, I) false NONE Pure;
    /// High half of `a · b`, `a` signed and `b` unsigned.
    Mulhsu "mulhsu" Int I (I, I) false NONE Pure;
    /// `a / b` signed, toward zero; all ones if `b` is zero, `a` if the quotient overflows.
    Divs "divs" Int I (I, I) false NONE Pure;
    /// `a / b` unsigned; all ones if `b` is zero.
    Divu "divu" Int I (I, I) false NONE Pure;
    /// Remainder of [`Op::Divs`]; `a` if `b` is zero, zero if the quotient overflows.
    Rems "rems" Int I (I, I) false NONE Pure;
    /// Remainder of [`Op::Divu`]; `a` if `b` is zero.
    Remu "remu" Int I (I, I) false NONE Pure;
    /// The smaller, signed.
    Mins "mins" Int I (I, I) false NONE Pure;
    /// The larger, signed.
    Maxs "maxs" Int I (I, I) false NONE Pure;
    /// The smaller, unsigned.
    Minu "minu" Int I (I, I) false NONE Pure;
    /// The larger, unsigned.
    Maxu "maxu" Int I (I, I) false NONE Pure;
    /// How many zero bits lead; the width if `a` is zero.
    Clz "clz" Int I (I) false NONE Pure;
    /// How many zero bits trail; the width if `a` is zero.
    Ctz "ctz" Int I (I) false NONE Pure;
    /// How many bits are set.
    Popcnt "popcnt" Int I (I) false NONE Pure;
    /// The bytes in opposite order.
    Bswap "bswap" Int I (I) false NONE Pure;
    /// The bits in opposite order.
    Bitrev "bitrev" Int I (I) false NONE Pure;
    /// Each byte that is not zero becomes 0xff.
    Orcb "orcb" Int I (I) false NONE Pure;
    /// Low half of the carry-less product.
    Clmul "clmul" Int I (I, I) false NONE Pure;
    /// High half of the carry-less product.
    Clmulh "clmulh" Int I (I, I) false NONE Pure;
    /// Bits 2·width−2 to width−1 of the carry-less product.
    Clmulr "clmulr" Int I (I, I) false NONE Pure;
    /// Low 8 bits, sign-extended to the type.
    Sext8 "sext8" Int I (I) false NONE Pure;
    /// Low 16 bits, sign-extended to the type.
    Sext16 "sext16" Int I (I) false NONE Pure;
    /// Low 32 bits, sign-extended to 64.
    Sext32 "sext32" One I (I) false NONE Pure;
    /// Low 8 bits.
    Zext8 "zext8" One I (I) false NONE Pure;
    /// Low 16 bits.
    Zext16 "zext16" One I (I) false NONE Pure;
    /// Low 32 bits.
    Zext32 "zext32" One I (I) false NONE Pure;
    /// The field of `imm >> 8` bits (1 to 64) from bit `imm & 0xff` of `a`, zero-extended.
    Extract "extract" Int I (I) true NONE Pure;
    /// The same field, sign-extended to the type.
    Extracts "extracts" Int I (I) true NONE Pure;
    /// `a` with the field of `imm >> 8` bits from bit `imm & 0xff` replaced by the low bits of `b`.
    Insert "insert" Int I (I, I) true NONE Pure;
    /// 1 if the comparison of `a` with `b` holds, else 0.
    Set "set" Int I (I, I) false CC Pure;
    /// `b` if `a` is not zero, else `c`.
    Select "select" Int I (I, I, I) false NONE Pure;
    /// NZCV (bits 31 to 28) of `a + b + c`; only bit 0 of `c` counts.
    NzcvAdd "nzcv.add" Int I (I, I, I) false NONE Pure;
    /// NZCV of `a + not b + c`; only bit 0 of `c` counts: `c` = 1 is plain subtraction, and C means no borrow.
    NzcvSub "nzcv.sub" Int I (I, I, I) false NONE Pure;
    /// NZCV of the logical result `a`: N and Z as it is, C and V clear.
    NzcvLogic "nzcv.logic" Int I (I) false NONE Pure;
    /// 1 if the condition holds for the NZCV value `a`, else 0.
    NzcvTest "nzcv.test" One I (I) false COND Pure;
    /// The virtual address `imm` bytes from the start of the page in which the block starts.
    Pc "pc" One I () true NONE Pure;

    /// The unit at virtual address `a + imm`.
    Load "load" Memory T (I) true LOAD Load;
    /// Stores `b` at virtual address `a + imm`.
    Store "store" Memory Absent (I, T) true MEM Store;
    /// Replaces the unit at `a` by a function of it and `b`; the old value. Misaligned addresses fault.
    Amo "amo" AnyInt O (I, I) false AMO Atomic;
    /// Replaces the unit at `a` by `c` if it equals `b`; the old value. Misaligned addresses fault.
    Cas "cas" AnyInt I (I, I, I) false MEM Atomic;
    /// The same for 16 bytes.
    Cas128 "cas128" One V (I, V, V) false MEM Atomic;
    /// Fills the naturally aligned `imm` bytes (a power of two, 16 to 4096) around virtual address `a` with zeros.
    Zero "zero" One Absent (I) true MEM Store;
    /// Copies bytes: if `c` is negative, the `−c` bytes up to `b` to those up to `a`, upward; if it is positive, the `c` bytes from
    /// `b` on to those from `a` on, downward. It may stop early, but faults only if it has copied nothing: the `c` to go on with.
    Copy "copy" One I (I, I, I) false COPY Atomic;
    /// Fills the `−c` bytes up to `a` with the low byte of `b`, upward, if `c` is negative. It may stop early, but faults only if
    /// it has filled nothing: the `c` to go on with.
    Fill "fill" One I (I, I, I) false FILL Atomic;
    /// Orders accesses before (`p`) with accesses after (`s`), reads and writes told apart.
    Fence "fence" One Absent () false FENCE Fence;

    /// The floating-point value `a`, all 64 bits of it.
    Fmov "fmov" One F (F) false NONE Pure;
    /// The bits of the floating-point value `a`.
    Fbits "fbits" One I (F) false NONE Pure;
    /// The floating-point value with the bits `a`.
    Ffrom "ffrom" One F (I) false NONE Pure;
    /// `a` of this type in a 64-bit container whose upper bits are ones (RISC-V ISA manual, NaN boxing).
    Fbox "fbox" Float F (F) false NONE Pure;
    /// The value of this type in the container `a`; the canonical NaN if it is not boxed.
    Funbox "funbox" Float F (F) false NONE Pure;
    /// `a` with another sign.
    Fsgnj "fsgnj" Float F (F, F) false SGNJ Pure;
    /// `a + b`.
    Fadd "fadd" Float F (F, F) false FP Fp;
    /// `a − b`.
    Fsub "fsub" Float F (F, F) false FP Fp;
    /// `a · b`.
    Fmul "fmul" Float F (F, F) false FP Fp;
    /// `a / b`.
    Fdiv "fdiv" Float F (F, F) false FP Fp;
    /// The square root of `a`.
    Fsqrt "fsqrt" Float F (F) false FP Fp;
    /// `a · b + c` rounded once; `negp` negates the product, `negc` the addend.
    Fma "fma" Float F (F, F, F) false FMA Fp;
    /// The smaller of `a` and `b`; −0 is smaller than +0.
    Fmin "fmin" Float F (F, F) false FMINMAX Fp;
    /// The larger of `a` and `b`.
    Fmax "fmax" Float F (F, F) false FMINMAX Fp;
    /// NZCV of the comparison of `a` with `b`: N less, Z equal, C not less, C and V unordered. Signals on quiet NaNs unless
    /// `quiet`.
    Fnzcv "fnzcv" Float I (F, F) false FNZCV Fp;
    /// 1 if the comparison holds, else 0; `lt` and `le` signal on quiet NaNs unless `quiet`, `eq` and `uno` never do.
    Fcmp "fcmp" Float I (F, F) false FCMP Fp;
    /// `a`, of the attribute's format, converted to the type.
    Fcvt "fcvt" Float F (F) false FCVT Fp;
    /// `a` · 2^`imm` converted to an integer, saturating; 32-bit results are zero-extended. NaN gives the largest value, or
    /// zero.
    Ftoint "ftoint" Float I (F) true TOINT Fp;
    /// The integer `a`, read as the attribute says, times 2^−`imm`, converted.
    Ffromint "ffromint" Float F (I) true FROMINT Fp;
    /// `a` rounded to an integral value; `exact` raises inexact where that changes it.
    Fround "fround" Float F (F) false FROUND Fp;
    /// `a` (binary64) truncated and reduced modulo 2³², sign-extended (RISC-V FCVTMOD.W.D).
    Fcvtmod "fcvtmod" One I (F) false FLUSHING Fp;

    /// The vector `a`.
    Vmov "vmov" One V (V) false NONE Pure;
    /// `a and b`.
    Vand "vand" One V (V, V) false BITWISE Pure;
    /// `a and not b`.
    Vandn "vandn" One V (V, V) false BITWISE Pure;
    /// `a or b`.
    Vor "vor" One V (V, V) false BITWISE Pure;
    /// `a exclusive-or b`.
    Vxor "vxor" One V (V, V) false BITWISE Pure;
    /// The bits of `b` where those of `a` are set, elsewhere those of `c`.
    Vselect "vselect" One V (V, V, V) false BITWISE Pure;
    /// `a + b`, lane by lane.
    Vadd "vadd" One V (V, V) false LANES Pure;
    /// `a − b`, lane by lane.
    Vsub "vsub" One V (V, V) false LANES Pure;
    /// Low half of `a · b`, lane by lane.
    Vmul "vmul" One V (V, V) false LANES Pure;
    /// The low half of the carry-less product, lane by lane.
    Vpmul "vpmul" One V (V, V) false LANES Pure;
    /// The smaller of `a` and `b`, lane by lane.
    Vmin "vmin" One V (V, V) false SIGNED_LANES Pure;
    /// The larger of `a` and `b`, lane by lane.
    Vmax "vmax" One V (V, V) false SIGNED_LANES Pure;
    /// All ones where the comparison of `a` with `b` holds, else zero, lane by lane.
    Vcmp "vcmp" One V (V, V) false VCMP Pure;
    /// A function of each lane of `a`.
    Vunary "vunary" One V (V) false VUNARY Pure;
    /// Half of the sum or difference of `a` and `b`, lane by lane, as if with one more bit.
    Vhalve "vhalve" One V (V, V) false VHALVE Pure;
    /// `a` shifted left by `imm`, lane by lane.
    Vshl "vshl" One V (V) true LANES Pure;
    /// `a` shifted right by `imm` (to the width), lane by lane; `round` adds half of the last place first.
    Vshr "vshr" One V (V) true VSHIFT Pure;
    /// `a` shifted left by the signed low byte of `b`, right if that is negative, lane by lane; `round` as with [`Op::Vshr`].
    Vshift "vshift" One V (V, V) false VSHIFT Pure;
    /// `a + b`, saturating, lane by lane: the result is like `a`, signed or unsigned, and `b` as the other sign says.
    Vqadd "vqadd" One V (V, V) false SATURATING Fp;
    /// `a − b`, saturating, lane by lane; signs as with [`Op::Vqadd`].
    Vqsub "vqsub" One V (V, V) false SATURATING Fp;
    /// As [`Op::Vshift`], saturating; the signs are those of `a` and of the result.
    Vqshift "vqshift" One V (V, V) false VQSHIFT Fp;
    /// High half of `2 · a · b`, all signed, saturating, lane by lane.
    Vqdmulh "vqdmulh" One V (V, V) false VQDMULH Fp;
    /// High half of `a · 2^width ± 2 · b · c`, all signed, rounded and saturating, lane by lane.
    Vqrdmla "vqrdmla" One V (V, V, V) false VQRDMLA Fp;
    /// The lanes of `a`, each saturated to the (resulting) element width of half its own, in the low half; the rest is zero.
    /// The signs are those of `a` and of the result.
    Vqnarrow "vqnarrow" One V (V) false VQNARROW Fp;
    /// The low half of each lane of `a`, in the low half; the rest is zero. The element width is the result's.
    Vnarrow "vnarrow" One V (V) false VNARROW Pure;
    /// The lanes in the low half of `a`, or in its high half, extended to twice the width.
    Vwiden "vwiden" One V (V) false VWIDEN Pure;
    /// The full products of the lanes in the low halves of `a` and `b`, or in their high halves.
    Vmull "vmull" One V (V, V) false VWIDEN Pure;
    /// The same, carry-less.
    Vpmull "vpmull" One V (V, V) false VPMULL Pure;
    /// `a` + the sum of the products of each four bytes of `b` and `c`, in lanes of 32 bits.
    Vdot "vdot" One V (V, V, V) false VDOT Pure;
    /// Some of the lanes of `a` and `b`.
    Vshuffle "vshuffle" One V (V, V) false VSHUFFLE Pure;
    /// The bytes of `b`:`a` (or of their low halves) from number `imm` of `a` on.
    Vext "vext" One V (V, V) true BITWISE Pure;
    /// The lanes of `a` in opposite order in each unit of the second width.
    Vrev "vrev" One V (V) false VREV Pure;
    /// For each byte of `b` less `imm`, that byte of `a`, or zero if there is none.
    Vtbl "vtbl" One V (V, V) true BITWISE Pure;
    /// Lane `imm` of `a` in every lane.
    Vsplat "vsplat" One V (V) true LANES Pure;
    /// `a` with lane `imm & 0xff` replaced by lane `imm >> 8` of `b`.
    Vinsert "vinsert" One V (V, V) true ELEMENT Pure;
    /// All lanes of `a` combined to one, the rest zero.
    Vreduce "vreduce" One V (V) false VREDUCE Pure;
    /// The low bits of `a` in every lane.
    Vdup "vdup" One V (I) false LANES Pure;
    /// Lane `imm` of `a`, zero-extended.
    Vget "vget" One I (V) true ELEMENT Pure;
    /// `a` with lane `imm` replaced by the low bits of `b`.
    Vset "vset" One V (V, I) true ELEMENT Pure;
    /// The vector with low half `a` and high half `b`.
    Vpair "vpair" One V (I, I) false NONE Pure;
    /// The floating-point value in the low 64 bits of `a`.
    Vlow "vlow" One F (V) false NONE Pure;
    /// The vector with the value `a` of this type in its low bits, the rest zero.
    Vfromlow "vfromlow" Float V (F) false NONE Pure;
    /// A step of the Advanced Encryption Standard (FIPS 197) on the state `a`, without the round key.
    Vaes "vaes" One V (V) false VAES Pure;
    /// A step of a secure hash (FIPS 180-4) as the Arm instruction of that name has it, with `a` its destination and `b`, `c`
    /// its sources, in order; those that it does not have do not matter.
    Vsha "vsha" One V (V, V, V) false VSHA Pure;
    /// An estimate of the unsigned fixed-point numbers in the lanes of 32 bits of `a`, as the Arm instructions URECPE and URSQRTE have it.
    Vestimate "vestimate" One V (V) false VESTIMATE Pure;

    /// [`Op::Fadd`], lane by lane.
    Vfadd "vfadd" Float V (V, V) false VFP Fp;
    /// [`Op::Fsub`], lane by lane.
    Vfsub "vfsub" Float V (V, V) false VFP Fp;
    /// [`Op::Fmul`], lane by lane; `extended` makes ∞ · 0 a 2 with the product's sign (Arm FMULX).
    Vfmul "vfmul" Float V (V, V) false VFMUL Fp;
    /// [`Op::Fdiv`], lane by lane.
    Vfdiv "vfdiv" Float V (V, V) false VFP Fp;
    /// [`Op::Fsqrt`], lane by lane.
    Vfsqrt "vfsqrt" Float V (V) false VFP Fp;
    /// [`Op::Fma`], lane by lane.
    Vfma "vfma" Float V (V, V, V) false VFMA Fp;
    /// [`Op::Fmin`], lane by lane.
    Vfmin "vfmin" Float V (V, V) false VFMINMAX Fp;
    /// [`Op::Fmax`], lane by lane.
    Vfmax "vfmax" Float V (V, V) false VFMINMAX Fp;
    /// All ones where [`Op::Fcmp`] holds, else zero, lane by lane.
    Vfcmp "vfcmp" Float V (V, V) false VFCMP Fp;
    /// [`Op::Fround`], lane by lane; `i32` and `i64`: what does not fit such an integer is invalid and becomes the least.
    Vfround "vfround" Float V (V) false VFROUND Fp;
    /// [`Op::Ftoint`], lane by lane, to integers of the same width.
    Vftoint "vftoint" Float V (V) true VTOINT Fp;
    /// [`Op::Ffromint`], lane by lane, from integers of the same width.
    Vffromint "vffromint" Float V (V) true VFROMINT Fp;
    /// [`Op::Fcvt`], lane by lane. Lanes that get wider are those in the low half of `a`, or in its high half; narrower
    /// results are in the low half, the rest zero.
    Vfcvt "vfcvt" Float V (V) false VFCVT Fp;
    /// An estimate, lane by lane, as the Arm instructions FRECPE, FRSQRTE and FRECPX have it.
    Vfestimate "vfestimate" Float V (V) false VFESTIMATE Fp;
    /// A step that improves an estimate: `2 − a · b`, or `(3 − a · b) / 2`, rounded once, lane by lane, as the Arm instructions
    /// FRECPS and FRSQRTS have it.
    Vfstep "vfstep" Float V (V, V) false VFSTEP Fp;

    /// A vector operation of run-time length on the vector file: for each element below the length `b`, destination =
    /// kind(first, second). The constant `a` holds the byte offsets in the vector file of destination (bits 15:0), first
    /// (31:16), second (47:32) and mask (63:48).
    Vlen "vlen" One Absent (I, I) false VLEN State;
    /// The accrued floating-point exception flags ([`crate::exec::CpuState::fp_flags`]).
    Fpflags "fpflags" One I () false NONE State;
    /// Makes `a` the accrued floating-point exception flags.
    FpflagsSet "fpflags.set" One Absent (I) false NONE State;

    /// Runs helper `imm` of the front end on `a`, `b`, `c`; what it returns.
    Call "call" One O (I, I, I) true NONE Call;
    /// If the comparison of `a` with `b` holds, the block ends here, going on `imm` bytes from the start of its page.
    ExitIf "exitif" Int Absent (I, I) true CC Exit;
    /// If the comparison of `a` with `b` holds, raises the front end's exception with cause `imm` (32 bits) and value `c`.
    RaiseIf "raiseif" Int Absent (I, I, I) true CC Raise;
}
