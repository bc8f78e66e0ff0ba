//! Which extensions there are, and sets of them.

/// Declares the extensions with their names in ISA strings and device trees.
macro_rules! extensions {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal,)*) => {
        /// An extension of RV64I that can be present or absent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Ext { $($(#[doc = $doc])+ $name,)* }

        impl Ext {
            /// All of them, in canonical order of the ISA string (Unpriv., "ISA Extension Naming Conventions").
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// Their names.
            const NAMES: &'static [&'static str] = &[$($text,)*];
        }
    };
}

extensions! {
    /// Integer multiplication and division.
    M "m",
    /// Atomics.
    A "a",
    /// Single-precision floating point.
    F "f",
    /// Double-precision floating point.
    D "d",
    /// Compressed instructions.
    C "c",
    /// Cache-block management.
    Zicbom "zicbom",
    /// Cache-block prefetch hints.
    Zicbop "zicbop",
    /// Cache-block zero.
    Zicboz "zicboz",
    /// Base counters and timers.
    Zicntr "zicntr",
    /// Integer conditional operations.
    Zicond "zicond",
    /// CSR instructions.
    Zicsr "zicsr",
    /// Instruction-fetch fence.
    Zifencei "zifencei",
    /// Pause hint.
    Zihintpause "zihintpause",
    /// Hardware performance counters.
    Zihpm "zihpm",
    /// Byte and halfword atomic memory operations.
    Zabha "zabha",
    /// Compare-and-swap.
    Zacas "zacas",
    /// Wait on reservation set.
    Zawrs "zawrs",
    /// Additional floating-point instructions.
    Zfa "zfa",
    /// Half-precision floating point.
    Zfh "zfh",
    /// Half-precision moves and conversions.
    Zfhmin "zfhmin",
    /// Address generation.
    Zba "zba",
    /// Basic bit manipulation.
    Zbb "zbb",
    /// Carry-less multiplication.
    Zbc "zbc",
    /// Single-bit instructions.
    Zbs "zbs",
    /// Memory-protection enhancements for M-mode.
    Smepmp "smepmp",
    /// Count overflow and mode-based filtering.
    Sscofpmf "sscofpmf",
    /// Supervisor timer compare.
    Sstc "sstc",
    /// Page-fault exceptions for clear A and D bits.
    Svade "svade",
    /// Hardware updating of A and D bits.
    Svadu "svadu",
    /// Fine-grained address-translation cache invalidation.
    Svinval "svinval",
    /// Naturally aligned power-of-two translation contiguity.
    Svnapot "svnapot",
    /// Page-based memory types.
    Svpbmt "svpbmt",
}

impl Ext {
    /// The name in ISA strings and device trees.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExtSet(u64);

impl ExtSet {
    /// No extension: plain RV64I.
    pub const EMPTY: Self = Self(0);

    /// The set of `list`.
    pub const fn of(list: &[Ext]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `ext` is in the set.
    #[inline]
    pub const fn has(self, ext: Ext) -> bool {
        self.0 >> ext as u32 & 1 != 0
    }

    /// The set with the members of `other` as well.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without the members of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members, in canonical order.
    pub fn iter(self) -> impl Iterator<Item = Ext> {
        Ext::ALL.iter().copied().filter(move |ext| self.has(*ext))
    }
}
