//! Which extensions there are, with their names in ISA strings and device trees, and sets of them.

use crate::decode::features;

features! {
    /// An extension of RV64I that can be present or absent, in canonical order of the ISA string (Unpriv., "ISA Extension
    /// Naming Conventions").
    Ext,
    /// A set of extensions.
    ExtSet,
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
