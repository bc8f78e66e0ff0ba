//! The types and attributes of operations.

/// What kind of container a value needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An integer of up to 64 bits.
    Int,
    /// A floating-point bit pattern of up to 64 bits.
    Float,
    /// A 128-bit vector.
    Vec,
}

/// One guest register slot: 64 bits of the vCPU's register file, or two of them for a vector.
#[derive(Clone, Copy, Debug)]
pub struct SlotInfo {
    /// Name in text forms and traces.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Index of its first 64 bits.
    pub index: u16,
}

/// The type that an operation works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Ty {
    /// No type: the operation has only one form.
    None,
    /// 8-bit integer, in memory accesses only.
    I8,
    /// 16-bit integer, in memory accesses only.
    I16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// 128-bit vector.
    V128,
}

impl Ty {
    /// All types, in order of their encoding.
    pub const ALL: [Self; 9] =
        [Self::None, Self::I8, Self::I16, Self::I32, Self::I64, Self::F16, Self::F32, Self::F64, Self::V128];

    /// The type's name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
        }
    }

    /// Size in bytes; zero for [`Ty::None`].
    pub const fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::I8 => 1,
            Self::I16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
            Self::V128 => 16,
        }
    }

    /// The container of a value of this type.
    pub const fn class(self) -> Class {
        match self {
            Self::F16 | Self::F32 | Self::F64 => Class::Float,
            Self::V128 => Class::Vec,
            _ => Class::Int,
        }
    }

    /// All bits of a value of this type, up to 64.
    pub const fn mask(self) -> u64 {
        match self.bytes() {
            bytes @ 1..=8 => u64::MAX >> (64 - 8 * bytes),
            _ => u64::MAX,
        }
    }
}

/// An operand: a guest register slot, a temporary, a constant of the block's pool, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Val(u16);

/// What a [`Val`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValKind {
    /// Guest register slot.
    Slot(u16),
    /// Block-local temporary.
    Temp(u16),
    /// Index into the block's constants.
    Const(u16),
    /// No operand.
    None,
}

impl Val {
    const TEMP: u16 = 0x4000;
    const CONST: u16 = 0x8000;
    /// How many slots, or temporaries, or constants there can be.
    pub const LIMIT: u16 = 0x4000;
    /// No operand.
    pub const NONE: Self = Self(u16::MAX);

    /// Guest register slot `n`.
    pub const fn slot(n: u16) -> Self {
        assert!(n < Self::LIMIT);
        Self(n)
    }

    /// Temporary `n`.
    pub const fn temp(n: u16) -> Self {
        assert!(n < Self::LIMIT);
        Self(Self::TEMP | n)
    }

    /// Constant `n` of the block's pool.
    pub const fn constant(n: u16) -> Self {
        assert!(n < Self::LIMIT);
        Self(Self::CONST | n)
    }

    /// What it stands for.
    #[inline]
    pub const fn kind(self) -> ValKind {
        match self.0 >> 14 {
            0 => ValKind::Slot(self.0),
            1 => ValKind::Temp(self.0 & 0x3fff),
            2 => ValKind::Const(self.0 & 0x3fff),
            _ => ValKind::None,
        }
    }

    /// Whether this is [`Val::NONE`].
    pub const fn is_none(self) -> bool {
        matches!(self.kind(), ValKind::None)
    }
}

impl std::fmt::Debug for Val {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind().fmt(f)
    }
}

/// Declares an enum that is packed into a field of an operation's attribute, with its names in the text form.
macro_rules! attr_enum {
    ($(#[$doc:meta])* $name:ident: $($(#[$vdoc:meta])* $variant:ident $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All values, in order of their encoding.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Their names in the text form.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// The value that the low bits of `bits` encode; the first one if they encode none.
            pub fn from_bits(bits: u16) -> Self {
                Self::ALL.get(usize::from(bits)).copied().unwrap_or(Self::ALL[0])
            }
        }
    };
}

attr_enum! {
    /// An integer comparison.
    Cc:
    /// a = b
    Eq "eq",
    /// a ≠ b
    Ne "ne",
    /// a < b, signed
    Lt "lt",
    /// a ≥ b, signed
    Ge "ge",
    /// a < b, unsigned
    Ltu "ltu",
    /// a ≥ b, unsigned
    Geu "geu",
}

impl Cc {
    /// The comparison that holds exactly when this one does not.
    pub const fn inverted(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Lt => Self::Ge,
            Self::Ge => Self::Lt,
            Self::Ltu => Self::Geu,
            Self::Geu => Self::Ltu,
        }
    }
}

attr_enum! {
    /// A condition on NZCV flags: N is bit 31, Z 30, C 29, V 28 (Arm ARM DDI 0487, PSTATE).
    NzcvCond:
    /// Z
    Eq "eq",
    /// not Z
    Ne "ne",
    /// C
    Cs "cs",
    /// not C
    Cc "cc",
    /// N
    Mi "mi",
    /// not N
    Pl "pl",
    /// V
    Vs "vs",
    /// not V
    Vc "vc",
    /// C and not Z
    Hi "hi",
    /// not C, or Z
    Ls "ls",
    /// N = V
    Ge "ge",
    /// N ≠ V
    Lt "lt",
    /// not Z, and N = V
    Gt "gt",
    /// Z, or N ≠ V
    Le "le",
}

impl NzcvCond {
    /// Whether it holds for these flags.
    pub fn holds(self, flags: u64) -> bool {
        let [v, c, z, n] = [28, 29, 30, 31].map(|bit| flags >> bit & 1 != 0);
        match self {
            Self::Eq => z,
            Self::Ne => !z,
            Self::Cs => c,
            Self::Cc => !c,
            Self::Mi => n,
            Self::Pl => !n,
            Self::Vs => v,
            Self::Vc => !v,
            Self::Hi => c && !z,
            Self::Ls => !c || z,
            Self::Ge => n == v,
            Self::Lt => n != v,
            Self::Gt => !z && n == v,
            Self::Le => z || n != v,
        }
    }
}

attr_enum! {
    /// Whose rights a memory access has; what each means is decided at run time, by the address-translation state.
    View:
    /// The current effective privilege.
    Current "",
    /// Unprivileged (LDTR/STTR).
    Unprivileged "unpriv",
    /// As the guest of a hypervisor (HLV/HSV).
    Guest "guest",
    /// As the guest of a hypervisor, reading with execute permission (HLVX).
    GuestExec "guestx",
}

attr_enum! {
    /// What an atomic read-modify-write stores, from the old value and the operand.
    AmoOp:
    /// the operand
    Swap "swap",
    /// old + operand
    Add "add",
    /// old and operand
    And "and",
    /// old or operand
    Or "or",
    /// old exclusive-or operand
    Xor "xor",
    /// the smaller, signed
    Min "min",
    /// the larger, signed
    Max "max",
    /// the smaller, unsigned
    Minu "minu",
    /// the larger, unsigned
    Maxu "maxu",
    /// old and not operand
    Clear "clr",
}

attr_enum! {
    /// The flavours of floating-point minimum and maximum.
    FMinMax:
    /// IEEE 754-2019 minimumNumber: a NaN loses against a number.
    Number "num",
    /// IEEE 754-2019 minimum: a NaN wins.
    Propagate "nan",
    /// Arm FMINNM/FMAXNM (IEEE 754-2008 minNum): only a quiet NaN loses.
    Num2008 "num2008",
}

attr_enum! {
    /// Sign injection: the sign of the result, the rest being operand `a`.
    Sgnj:
    /// the sign of `b`
    Copy "copy",
    /// the opposite of the sign of `b`
    Not "not",
    /// the exclusive-or of both signs
    Xor "xor",
}

attr_enum! {
    /// The integer that a floating-point value is converted to.
    ToInt:
    /// 32-bit signed; zero-extended into the container
    I32 "i32",
    /// 32-bit unsigned
    U32 "u32",
    /// 64-bit signed
    I64 "i64",
    /// 64-bit unsigned
    U64 "u64",
}

attr_enum! {
    /// What a vector operation of run-time length does with each element.
    VecKind:
    /// a + b
    Add "add",
    /// a − b
    Sub "sub",
    /// a and b
    And "and",
    /// a or b
    Or "or",
    /// a exclusive-or b
    Xor "xor",
}

attr_enum! {
    /// Which operands and results of a vector operation are signed.
    Signs:
    /// all are
    Signed "s",
    /// none is
    Unsigned "u",
    /// the first that the operation names, not the other
    SignedUnsigned "su",
    /// the other way around
    UnsignedSigned "us",
}

attr_enum! {
    /// A comparison of lanes.
    VecCc:
    /// a = b
    Eq "eq",
    /// a > b, signed
    Gts "gts",
    /// a ≥ b, signed
    Ges "ges",
    /// a > b, unsigned
    Gtu "gtu",
    /// a ≥ b, unsigned
    Geu "geu",
    /// a and b ≠ 0
    Test "test",
}

attr_enum! {
    /// A function of one lane.
    VecUnary:
    /// the absolute value, modulo the width
    Abs "abs",
    /// how many bits below the sign bit equal it, to the first that does not
    Cls "cls",
    /// how many zero bits lead
    Clz "clz",
    /// how many bits are set
    Popcnt "popcnt",
    /// the bits in opposite order
    Bitrev "bitrev",
}

attr_enum! {
    /// What is halved.
    Halving:
    /// a + b
    Add "add",
    /// a + b + 1
    Round "round",
    /// a − b
    Sub "sub",
}

attr_enum! {
    /// Which lanes go where.
    Shuffle:
    /// those of the low halves, alternately
    Zip1 "zip1",
    /// those of the high halves, alternately
    Zip2 "zip2",
    /// those with even numbers, of `a`, then of `b`
    Uzp1 "uzp1",
    /// those with odd numbers
    Uzp2 "uzp2",
    /// those with even numbers, alternately
    Trn1 "trn1",
    /// those with odd numbers, alternately
    Trn2 "trn2",
}

attr_enum! {
    /// The lanes of a vector that take part; the rest of the result is zero.
    Part:
    /// all
    All "",
    /// those in the low 64 bits
    Half "half",
    /// the lowest
    One "one",
}

attr_enum! {
    /// How lanes are combined.
    Reduction:
    /// their sum
    Add "add",
    /// their sum in twice the width, signed
    Adds "adds",
    /// the same, unsigned
    Addu "addu",
    /// the smallest, signed
    Mins "mins",
    /// the largest, signed
    Maxs "maxs",
    /// the smallest, unsigned
    Minu "minu",
    /// the largest, unsigned
    Maxu "maxu",
}

attr_enum! {
    /// A step of AES.
    AesStep:
    /// ShiftRows and SubBytes
    Encrypt "enc",
    /// their inverses
    Decrypt "dec",
    /// MixColumns
    Mix "mix",
    /// its inverse
    Unmix "unmix",
}

attr_enum! {
    /// A step of a secure hash, by its Arm instruction.
    ShaStep:
    /// SHA1C
    Sha1C "sha1c",
    /// SHA1P
    Sha1P "sha1p",
    /// SHA1M
    Sha1M "sha1m",
    /// SHA1SU0
    Sha1Su0 "sha1su0",
    /// SHA1SU1
    Sha1Su1 "sha1su1",
    /// SHA1H
    Sha1H "sha1h",
    /// SHA256H
    Sha256H "sha256h",
    /// SHA256H2
    Sha256H2 "sha256h2",
    /// SHA256SU0
    Sha256Su0 "sha256su0",
    /// SHA256SU1
    Sha256Su1 "sha256su1",
    /// SHA512H
    Sha512H "sha512h",
    /// SHA512H2
    Sha512H2 "sha512h2",
    /// SHA512SU0
    Sha512Su0 "sha512su0",
    /// SHA512SU1
    Sha512Su1 "sha512su1",
}

attr_enum! {
    /// What is estimated.
    Estimate:
    /// 1 / a
    Reciprocal "recp",
    /// 1 / √a
    ReciprocalRoot "rsqrt",
    /// the exponent of 1 / a
    Exponent "recpx",
}

/// The attribute of a memory access: view, sign extension, order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemAttr {
    /// Whose rights the access has.
    pub view: View,
    /// A load sign-extends to 64 bits (else it zero-extends).
    pub signed: bool,
    /// No later access is performed before this one.
    pub acquire: bool,
    /// This access is performed after all earlier ones.
    pub release: bool,
    /// A load that begins an exclusive sequence (LR, LDXR): like an atomic access it faults if it is misaligned or finds a
    /// device, though as a read.
    pub exclusive: bool,
}

impl MemAttr {
    /// An unordered, zero-extending access with the current rights.
    pub const PLAIN: Self =
        Self { view: View::Current, signed: false, acquire: false, release: false, exclusive: false };
    /// The same, sign-extending.
    pub const SIGNED: Self = Self { signed: true, ..Self::PLAIN };

    /// The packed form.
    pub const fn bits(self) -> u16 {
        self.view as u16
            | (self.signed as u16) << 2
            | (self.acquire as u16) << 3
            | (self.release as u16) << 4
            | (self.exclusive as u16) << 5
    }

    /// Unpacks.
    pub fn from_bits(bits: u16) -> Self {
        Self {
            view: View::from_bits(bits & 3),
            signed: bits & 4 != 0,
            acquire: bits & 8 != 0,
            release: bits & 16 != 0,
            exclusive: bits & 32 != 0,
        }
    }
}

/// Whose rights an operation on ranges of memory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkAttr {
    /// Where it writes.
    pub to: View,
    /// Where it reads.
    pub from: View,
}

impl BulkAttr {
    /// The packed form.
    pub const fn bits(self) -> u16 {
        self.to as u16 | (self.from as u16) << 2
    }

    /// Unpacks.
    pub fn from_bits(bits: u16) -> Self {
        Self { to: View::from_bits(bits & 3), from: View::from_bits(bits >> 2 & 3) }
    }
}

/// How a floating-point operation rounds and treats NaNs and tiny results. The low byte of the attribute; the high byte
/// holds an operation's own selector ([`FMinMax`], [`ToInt`], …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FpAttr {
    /// Rounding mode, RISC-V encoding: 0 nearest-even, 1 toward zero, 2 down, 3 up, 4 nearest, ties away; 5 to odd.
    pub round: u8,
    /// NaN results propagate an operand, as Arm's FPCR.DN = 0; else every NaN result is the positive quiet NaN.
    pub propagate_nan: bool,
    /// Tininess is detected before rounding (Arm), else after (RISC-V).
    pub tiny_before: bool,
    /// Subnormal operands and results are flushed to zero (Arm FPCR.FZ).
    pub flush: bool,
}

impl FpAttr {
    /// RISC-V's rules with rounding mode `round`.
    pub const fn riscv(round: u8) -> Self {
        Self { round, propagate_nan: false, tiny_before: false, flush: false }
    }

    /// The packed form.
    pub const fn bits(self) -> u16 {
        (self.round & 7) as u16
            | (self.propagate_nan as u16) << 3
            | (self.tiny_before as u16) << 4
            | (self.flush as u16) << 5
    }

    /// The packed form with an operation's selector.
    pub const fn with(self, selector: u8) -> u16 {
        self.bits() | (selector as u16) << 8
    }

    /// Unpacks the low byte.
    pub const fn from_bits(bits: u16) -> Self {
        Self {
            round: (bits & 7) as u8,
            propagate_nan: bits & 8 != 0,
            tiny_before: bits & 16 != 0,
            flush: bits & 32 != 0,
        }
    }
}
