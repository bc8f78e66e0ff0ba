//! What a processor may implement beyond Armv8.0, by the names of the architecture (DDI 0487, A2 "Armv8-A Architecture
//! Extensions"; `FEAT_` is left out).

use crate::decode::features;

features! {
    /// An optional part of the architecture.
    Feature,
    /// A set of features.
    FeatureSet,
    /// CRC32 instructions.
    Crc32 "crc32",
    /// Advanced SIMD AES instructions.
    Aes "aes",
    /// 64-bit polynomial multiplication.
    Pmull "pmull",
    /// Advanced SIMD SHA1 instructions.
    Sha1 "sha1",
    /// Advanced SIMD SHA256 instructions.
    Sha256 "sha256",
    /// Reliability, availability and serviceability extension.
    Ras "ras",
    /// Large System Extensions: atomic memory operations.
    Lse "lse",
    /// Limited ordering regions.
    Lor "lor",
    /// Rounding doubling multiply accumulate.
    Rdm "rdm",
    /// Privileged access never.
    Pan "pan",
    /// Translation table access to PAN by `AT S1E1RP` and `AT S1E1WP`.
    Pan2 "pan2",
    /// Hierarchical permission disables.
    Hpds "hpds",
    /// Hardware updates of the access flag and the dirty state.
    Hafdbs "hafdbs",
    /// 16-bit VMID.
    Vmid16 "vmid16",
    /// Virtualization host extensions.
    Vhe "vhe",
    /// Half-precision floating point.
    Fp16 "fp16",
    /// User access override.
    Uao "uao",
    /// `DC CVAP`.
    Dpb "dpb",
    /// Page-based hardware attributes.
    Hpds2 "hpds2",
    /// Execute-never control for EL1 and EL0 at stage 2.
    Xnx "xnx",
    /// Advanced SIMD SHA512 instructions.
    Sha512 "sha512",
    /// Advanced SIMD SHA3 instructions.
    Sha3 "sha3",
    /// Advanced SIMD dot product.
    DotProd "dotprod",
    /// Half-precision multiply-accumulate to single precision.
    Fhm "fhm",
    /// Complex number arithmetic.
    Fcma "fcma",
    /// JavaScript conversion.
    Jscvt "jscvt",
    /// Load-acquire RCpc.
    Lrcpc "lrcpc",
    /// Pointer authentication.
    PAuth "pauth",
    /// Flag manipulation.
    FlagM "flagm",
    /// Load-acquire RCpc with unscaled immediates.
    Lrcpc2 "lrcpc2",
    /// Data independent timing.
    Dit "dit",
    /// Translation table level hints.
    Ttl "ttl",
    /// TLB invalidation of ranges.
    TlbiRange "tlbirange",
    /// TLB invalidation in the outer shareable domain.
    TlbiOs "tlbios",
    /// Small translation tables.
    Ttst "ttst",
    /// Intermediate caching of translation table walks.
    Ttcnp "ttcnp",
    /// Relaxations of break-before-make.
    Bbm "bbm",
    /// Stage 2 forced write-back.
    S2fwb "s2fwb",
    /// ID register trapping.
    Idst "idst",
    /// Condition flag conversions.
    FlagM2 "flagm2",
    /// Rounding to 32-bit or 64-bit integers in floating-point format.
    Frintts "frintts",
    /// Speculation barrier.
    Sb "sb",
    /// Speculative store bypass safe, in PSTATE.
    Ssbs "ssbs",
    /// Speculation restriction instructions.
    Specres "specres",
    /// `DC CVADP`.
    Dpb2 "dpb2",
    /// Branch target identification.
    Bti "bti",
    /// Random numbers.
    Rng "rng",
    /// Preventing EL0 access to halves of address maps.
    E0pd "e0pd",
    /// `HCRX_EL2`.
    Hcx "hcx",
    /// Memory copy and memory set instructions.
    Mops "mops",
    /// Cache speculation variant 2 (`FEAT_CSV2`).
    Csv2 "csv2",
    /// The same with software context numbers (`FEAT_CSV2_2`).
    Csv22 "csv2_2",
    /// The same with branch histories, too (`FEAT_CSV2_3`).
    Csv23 "csv2_3",
    /// Cache speculation variant 3 (`FEAT_CSV3`).
    Csv3 "csv3",
}
