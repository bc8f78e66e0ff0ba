//! Identification registers: what they say follows from the model.

use super::super::bits::sctlr;
use super::super::debug::{BREAKPOINTS, CONTEXT_BREAKPOINTS, WATCHPOINTS};
use super::super::features::Feature::{self, *};
use super::super::pauth::Algorithm;
use super::super::state::{Aarch64, Cpu};
use super::{Reg, Verdict};

/// What a field of an identification register depends on.
#[derive(Clone, Copy)]
enum If {
    /// It always says this.
    Always,
    /// It says this if there is this feature. Of several lines for a field, the last that applies counts.
    Has(Feature),
    /// It says this if pointer authentication uses the implementation's own algorithm.
    OwnPac,
    /// It says this if pointer authentication uses QARMA5.
    Qarma5,
    /// It says this if EL2 is implemented.
    El2,
    /// It says this if EL3 is implemented.
    El3,
    /// It says this if there is a CPU interface of a GIC.
    Gic,
}

use If::{Always, El2, El3, Gic, Has, OwnPac, Qarma5};
use Reg::*;

/// Register, lowest bit of the field (four bits), value, condition. Fields that are not named are zero, but for `PARange`.
const FIELDS: &[(Reg, u32, u64, If)] = &[
    (ID_AA64PFR0_EL1, 0, 1, Always), // EL0
    (ID_AA64PFR0_EL1, 4, 1, Always), // EL1
    (ID_AA64PFR0_EL1, 8, 1, El2),
    (ID_AA64PFR0_EL1, 12, 1, El3),
    (ID_AA64PFR0_EL1, 16, 1, Has(Fp16)), // FP
    (ID_AA64PFR0_EL1, 20, 1, Has(Fp16)), // AdvSIMD
    (ID_AA64PFR0_EL1, 24, 1, Gic),
    (ID_AA64PFR0_EL1, 28, 1, Has(Ras)),
    (ID_AA64PFR0_EL1, 48, 1, Has(Dit)),
    (ID_AA64PFR0_EL1, 56, 1, Has(Csv2)),
    (ID_AA64PFR0_EL1, 56, 2, Has(Csv22)),
    (ID_AA64PFR0_EL1, 56, 3, Has(Csv23)),
    (ID_AA64PFR0_EL1, 60, 1, Has(Csv3)),
    (ID_AA64PFR1_EL1, 0, 1, Has(Bti)),
    (ID_AA64PFR1_EL1, 4, 2, Has(Ssbs)),
    (ID_AA64DFR0_EL1, 0, 6, Always), // DebugVer: Armv8.0
    (ID_AA64DFR0_EL1, 0, 7, Has(Vhe)),
    (ID_AA64DFR0_EL1, 8, 1, Always), // PMUVer: version 3
    (ID_AA64DFR0_EL1, 12, BREAKPOINTS as u64 - 1, Always),
    (ID_AA64DFR0_EL1, 20, WATCHPOINTS as u64 - 1, Always),
    (ID_AA64DFR0_EL1, 28, CONTEXT_BREAKPOINTS as u64 - 1, Always),
    (ID_AA64ISAR0_EL1, 4, 1, Has(Aes)),
    (ID_AA64ISAR0_EL1, 4, 2, Has(Pmull)),
    (ID_AA64ISAR0_EL1, 8, 1, Has(Sha1)),
    (ID_AA64ISAR0_EL1, 12, 1, Has(Sha256)),
    (ID_AA64ISAR0_EL1, 12, 2, Has(Sha512)),
    (ID_AA64ISAR0_EL1, 16, 1, Has(Crc32)),
    (ID_AA64ISAR0_EL1, 20, 2, Has(Lse)),
    (ID_AA64ISAR0_EL1, 28, 1, Has(Rdm)),
    (ID_AA64ISAR0_EL1, 32, 1, Has(Sha3)),
    (ID_AA64ISAR0_EL1, 44, 1, Has(DotProd)),
    (ID_AA64ISAR0_EL1, 48, 1, Has(Fhm)),
    (ID_AA64ISAR0_EL1, 52, 1, Has(FlagM)),
    (ID_AA64ISAR0_EL1, 52, 2, Has(FlagM2)),
    (ID_AA64ISAR0_EL1, 56, 1, Has(TlbiOs)),
    (ID_AA64ISAR0_EL1, 56, 2, Has(TlbiRange)),
    (ID_AA64ISAR0_EL1, 60, 1, Has(Rng)),
    (ID_AA64ISAR1_EL1, 0, 1, Has(Dpb)),
    (ID_AA64ISAR1_EL1, 0, 2, Has(Dpb2)),
    (ID_AA64ISAR1_EL1, 4, 1, Qarma5), // APA
    (ID_AA64ISAR1_EL1, 8, 1, OwnPac), // API
    (ID_AA64ISAR1_EL1, 12, 1, Has(Jscvt)),
    (ID_AA64ISAR1_EL1, 16, 1, Has(Fcma)),
    (ID_AA64ISAR1_EL1, 20, 1, Has(Lrcpc)),
    (ID_AA64ISAR1_EL1, 20, 2, Has(Lrcpc2)),
    (ID_AA64ISAR1_EL1, 24, 1, Qarma5), // GPA
    (ID_AA64ISAR1_EL1, 28, 1, OwnPac), // GPI
    (ID_AA64ISAR1_EL1, 32, 1, Has(Frintts)),
    (ID_AA64ISAR1_EL1, 36, 1, Has(Sb)),
    (ID_AA64ISAR1_EL1, 40, 1, Has(Specres)),
    (ID_AA64ISAR2_EL1, 16, 1, Has(Mops)),
    (ID_AA64MMFR0_EL1, 4, 2, Always),  // ASIDBits: 16
    (ID_AA64MMFR0_EL1, 20, 1, Always), // TGran16; those of 64 and 4 KiB are zero, which means that they are supported
    (ID_AA64MMFR1_EL1, 0, 2, Has(Hafdbs)),
    (ID_AA64MMFR1_EL1, 4, 2, Has(Vmid16)),
    (ID_AA64MMFR1_EL1, 8, 1, Has(Vhe)),
    (ID_AA64MMFR1_EL1, 12, 1, Has(Hpds)),
    (ID_AA64MMFR1_EL1, 12, 2, Has(Hpds2)),
    (ID_AA64MMFR1_EL1, 16, 1, Has(Lor)),
    (ID_AA64MMFR1_EL1, 20, 1, Has(Pan)),
    (ID_AA64MMFR1_EL1, 20, 2, Has(Pan2)),
    (ID_AA64MMFR1_EL1, 28, 1, Has(Xnx)),
    (ID_AA64MMFR1_EL1, 40, 1, Has(Hcx)),
    (ID_AA64MMFR2_EL1, 0, 1, Has(Ttcnp)),
    (ID_AA64MMFR2_EL1, 4, 1, Has(Uao)),
    (ID_AA64MMFR2_EL1, 28, 1, Has(Ttst)),
    (ID_AA64MMFR2_EL1, 36, 1, Has(Idst)),
    (ID_AA64MMFR2_EL1, 40, 1, Has(S2fwb)),
    (ID_AA64MMFR2_EL1, 48, 1, Has(Ttl)),
    (ID_AA64MMFR2_EL1, 52, 2, Has(Bbm)),
    (ID_AA64MMFR2_EL1, 60, 1, Has(E0pd)),
];

fn holds(isa: &Aarch64, condition: If) -> bool {
    let config = &isa.config;
    let features = config.model.features;
    match condition {
        Always => true,
        Has(feature) => features.has(feature),
        OwnPac => features.has(PAuth) && config.pauth == Algorithm::Fast,
        Qarma5 => features.has(PAuth) && config.pauth == Algorithm::Qarma5,
        El2 => config.el2,
        El3 => config.el3,
        Gic => isa.wiring.gic.is_some(),
    }
}

/// An identification register.
pub(super) fn read(cpu: &Cpu, register: Reg) -> u64 {
    let isa = &cpu.isa;
    let mut value = if register == ID_AA64MMFR0_EL1 { isa.config.model.physical_range() } else { 0 };
    for &(of, shift, field, condition) in FIELDS {
        if of == register && holds(isa, condition) {
            value = value & !(0xf << shift) | field << shift;
        }
    }
    value
}

/// `MIDR_EL1`; a guest of a hypervisor sees what that wants.
pub(super) fn main(cpu: &Cpu, _: Reg) -> u64 {
    let isa = &cpu.isa;
    if isa.below_el2() { isa.sys[VPIDR_EL2] } else { isa.config.model.midr }
}

/// `MPIDR_EL1`, likewise.
pub(super) fn affinity(cpu: &Cpu, _: Reg) -> u64 {
    let isa = &cpu.isa;
    if isa.below_el2() { isa.sys[VMPIDR_EL2] } else { own_affinity(&isa.config) }
}

/// `MPIDR_EL1` without a hypervisor: bit 31 is one.
pub(super) fn own_affinity(config: &super::Config) -> u64 {
    config.mpidr & 0xff_00ff_ffff | 1 << 31
}

/// `CTR_EL0`: cache lines of 64 bytes, physically indexed and tagged. Instruction fetches see what has been stored without any
/// cache maintenance (`IDC`, `DIC`): stores to pages with translated code are noticed, and what was translated from them is
/// dropped at the next context synchronization.
pub(super) fn cache_type(_: &Cpu, _: Reg) -> u64 {
    const LINE: u64 = 4; // log2 of its words
    1 << 31 | 1 << 29 | 1 << 28 | LINE << 24 | LINE << 20 | LINE << 16 | 3 << 14 | LINE
}

/// Who may read `CTR_EL0`.
pub(super) fn cache_type_gate(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sctlr(0) & sctlr::UCT != 0)
}

/// `CLIDR_EL1`: separate first-level caches and a unified second one, at which both unification and coherency are reached.
pub(super) fn cache_levels(_: &Cpu, _: Reg) -> u64 {
    const SEPARATE: u64 = 3;
    const UNIFIED: u64 = 4;
    SEPARATE | UNIFIED << 3 | 1 << 21 | 2 << 24 | 1 << 27
}

/// `CCSIDR_EL1` of the cache that `CSSELR_EL1` selects: lines of 64 bytes; a 64 KiB data cache of 4 ways, a 64 KiB
/// instruction cache of 4 ways, a 1 MiB cache of 8 ways.
pub(super) fn cache_size(cpu: &Cpu, _: Reg) -> u64 {
    let size = |bytes: u64, ways: u64| (bytes / ways / 64 - 1) << 13 | (ways - 1) << 3 | 2;
    match cpu.isa.sys[CSSELR_EL1] {
        0 | 1 => size(64 << 10, 4),
        2 => size(1 << 20, 8),
        _ => 0,
    }
}
