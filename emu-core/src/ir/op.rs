//! The table of operations.
//!
//! Each line is one operation: its name in the text form, the types it comes in, its operands, its attribute, its effect
//! class, and a sentence. `a`, `b`, `c` name the operands in order; `imm` is a signed 32-bit immediate.

use super::types::{AmoOp, Cc, Class, FMinMax, NzcvCond, Sgnj, ToInt, Ty, VecKind, View};

/// What an operation does beyond computing its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it may be dropped if its result is not used.
    Pure,
    /// Accrues floating-point exception flags; it may not be dropped unless a later one is known to cover it.
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
    /// A floating-point value.
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
const FCVT: &[Field] = &[(8, 2, &["f16", "f32", "f64"]), ROUND, NAN, TINY, FLUSH];
const TOINT: &[Field] = &[(8, 2, ToInt::NAMES), ROUND, (10, 1, &["", "nanzero"]), FLUSH];
const FROMINT: &[Field] = &[(8, 2, ToInt::NAMES), ROUND];
const FROUND: &[Field] = &[ROUND, NAN, FLUSH, (8, 1, &["", "exact"])];
const SGNJ: &[Field] = &[(8, 2, Sgnj::NAMES)];
const ELEM: Field = (0, 2, &["e8", "e16", "e32", "e64"]);
const LANES: &[Field] = &[ELEM];
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
        matches!(self.info().effect, Effect::Load | Effect::Store | Effect::Atomic | Effect::Call)
    }
}

ops! {
    /// `a`.
    Mov "mov" Int I (I) false NONE Pure;
    /// `a + b`.
    Add "add" Int I (I, I) false NONE Pure;
    /// `a − b`.
    Sub "sub" Int I (I, I) false NONE Pure;
    /// `a + b + c`, where `c` is 0 or 1.
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
    /// NZCV (bits 31 to 28) of `a + b + c`, where `c` is 0 or 1.
    NzcvAdd "nzcv.add" Int I (I, I, I) false NONE Pure;
    /// NZCV of `a + not b + c`, where `c` is 0 or 1: `c` = 1 is plain subtraction, and C means no borrow.
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
    /// 1 if the comparison holds, else 0; `lt` and `le` signal on quiet NaNs unless `quiet`, `eq` and `uno` never do.
    Fcmp "fcmp" Float I (F, F) false FCMP Fp;
    /// The class of `a` as a one-hot mask of 10 bits (RISC-V ISA manual, FCLASS).
    Fclass "fclass" Float I (F) false NONE Pure;
    /// `a`, of the attribute's format, converted to the type.
    Fcvt "fcvt" Float F (F) false FCVT Fp;
    /// `a` converted to an integer, saturating; 32-bit results are zero-extended. NaN gives the largest value, or zero.
    Ftoint "ftoint" Float I (F) false TOINT Fp;
    /// The integer `a`, read as the attribute says, converted.
    Ffromint "ffromint" Float F (I) false FROMINT Fp;
    /// `a` rounded to an integral value; `exact` raises inexact where that changes it.
    Fround "fround" Float F (F) false FROUND Fp;
    /// `a` (binary64) truncated and reduced modulo 2³², sign-extended (RISC-V FCVTMOD.W.D).
    Fcvtmod "fcvtmod" One I (F) false NONE Fp;

    /// The vector `a`.
    Vmov "vmov" One V (V) false NONE Pure;
    /// `a and b`, all 128 bits.
    Vand "vand" One V (V, V) false NONE Pure;
    /// `a or b`, all 128 bits.
    Vor "vor" One V (V, V) false NONE Pure;
    /// `a exclusive-or b`, all 128 bits.
    Vxor "vxor" One V (V, V) false NONE Pure;
    /// `a + b`, lane by lane.
    Vadd "vadd" One V (V, V) false LANES Pure;
    /// `a − b`, lane by lane.
    Vsub "vsub" One V (V, V) false LANES Pure;
    /// The low bits of `a` in every lane.
    Vdup "vdup" One V (I) false LANES Pure;
    /// Lane `imm` of `a`, zero-extended.
    Vget "vget" One I (V) true LANES Pure;
    /// `a` with lane `imm` replaced by the low bits of `b`.
    Vset "vset" One V (V, I) true LANES Pure;
    /// The vector with low half `a` and high half `b`.
    Vpair "vpair" One V (I, I) false NONE Pure;
    /// The floating-point value in the low 64 bits of `a`.
    Vlow "vlow" One F (V) false NONE Pure;
    /// The vector with low half `a`, the rest zero.
    Vfromlow "vfromlow" One V (F) false NONE Pure;
    /// A vector operation of run-time length on the vector file: for each element below the length `b`, destination =
    /// kind(first, second). The constant `a` holds the byte offsets in the vector file of destination (bits 15:0), first
    /// (31:16), second (47:32) and mask (63:48).
    Vlen "vlen" One Absent (I, I) false VLEN State;

    /// Runs helper `imm` of the front end on `a`, `b`, `c`; what it returns.
    Call "call" One O (I, I, I) true NONE Call;
    /// If the comparison of `a` with `b` holds, the block ends here, going on `imm` bytes from the start of its page.
    ExitIf "exitif" Int Absent (I, I) true CC Exit;
}
