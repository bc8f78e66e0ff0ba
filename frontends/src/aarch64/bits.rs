//! Fields of control registers (DDI 0487, D24.2 "General system control registers").

/// `SCTLR_ELx`.
pub mod sctlr {
    /// Stage 1 translation.
    pub const M: u64 = 1 << 0;
    /// Alignment checks of all accesses.
    pub const A: u64 = 1 << 1;
    /// Data may be cached.
    pub const C: u64 = 1 << 2;
    /// Alignment checks of the stack pointer.
    pub const SA: u64 = 1 << 3;
    /// The same at EL0.
    pub const SA0: u64 = 1 << 4;
    /// EL0 may write the interrupt masks.
    pub const UMA: u64 = 1 << 9;
    /// `CFP RCTX` and its like work at EL0.
    pub const EN_RCTX: u64 = 1 << 10;
    /// Exception returns synchronize the context (`FEAT_ExS`; always one without).
    pub const EOS: u64 = 1 << 11;
    /// Instructions may be cached.
    pub const I: u64 = 1 << 12;
    /// Key DB is enabled.
    pub const EN_DB: u64 = 1 << 13;
    /// `DC ZVA` works at EL0.
    pub const DZE: u64 = 1 << 14;
    /// `CTR_EL0` can be read at EL0.
    pub const UCT: u64 = 1 << 15;
    /// `WFI` works at EL0.
    pub const NTWI: u64 = 1 << 16;
    /// `WFE` works at EL0.
    pub const NTWE: u64 = 1 << 18;
    /// What may be written cannot be executed.
    pub const WXN: u64 = 1 << 19;
    /// EL0 may not access its software context number; always one without such.
    pub const TSCXT: u64 = 1 << 20;
    /// Exceptions synchronize the context (`FEAT_ExS`; always one without).
    pub const EIS: u64 = 1 << 22;
    /// Exceptions leave PAN as it is.
    pub const SPAN: u64 = 1 << 23;
    /// Cache maintenance works at EL0.
    pub const UCI: u64 = 1 << 26;
    /// Key DA is enabled.
    pub const EN_DA: u64 = 1 << 27;
    /// Key IB is enabled.
    pub const EN_IB: u64 = 1 << 30;
    /// Key IA is enabled.
    pub const EN_IA: u64 = 1 << 31;
    /// Memory copy and memory set work at EL0.
    pub const MSC_EN: u64 = 1 << 33;
    /// `PACIASP` lets no jumps land at EL0.
    pub const BT0: u64 = 1 << 35;
    /// `PACIASP` lets no jumps land; `BT` of EL2 and EL3.
    pub const BT1: u64 = 1 << 36;
    /// PSTATE.SSBS after an exception.
    pub const DSSBS: u64 = 1 << 44;

    /// Bits that are one wherever features do not give them a meaning.
    pub const ONES: u64 = 1 << 29 | 1 << 28 | SPAN | EIS | TSCXT | EOS;
    /// The same at EL2 and EL3.
    pub const ONES_HIGH: u64 = ONES | 1 << 18 | 1 << 16 | 1 << 5 | 1 << 4;
}

/// `HCR_EL2`.
pub mod hcr {
    /// Stage 2 translation.
    pub const VM: u64 = 1 << 0;
    /// Set/way invalidation cleans, too.
    pub const SWIO: u64 = 1 << 1;
    /// Stage 1 walks that stage 2 maps as devices fault.
    pub const PTW: u64 = 1 << 2;
    /// FIQs go to EL2.
    pub const FMO: u64 = 1 << 3;
    /// IRQs go to EL2.
    pub const IMO: u64 = 1 << 4;
    /// SErrors go to EL2.
    pub const AMO: u64 = 1 << 5;
    /// A virtual FIQ is pending.
    pub const VF: u64 = 1 << 6;
    /// A virtual IRQ is pending.
    pub const VI: u64 = 1 << 7;
    /// A virtual SError is pending.
    pub const VSE: u64 = 1 << 8;
    /// TLB and cache maintenance of EL1 is broadcast.
    pub const FB: u64 = 1 << 9;
    /// With stage 1 off, memory is cacheable.
    pub const DC: u64 = 1 << 12;
    /// `WFI` traps.
    pub const TWI: u64 = 1 << 13;
    /// `WFE` traps.
    pub const TWE: u64 = 1 << 14;
    /// Identification registers, group 0, trap.
    pub const TID0: u64 = 1 << 15;
    /// Group 1.
    pub const TID1: u64 = 1 << 16;
    /// Group 2.
    pub const TID2: u64 = 1 << 17;
    /// Group 3.
    pub const TID3: u64 = 1 << 18;
    /// `SMC` traps.
    pub const TSC: u64 = 1 << 19;
    /// What is implementation defined traps.
    pub const TIDCP: u64 = 1 << 20;
    /// `ACTLR_EL1` traps.
    pub const TACR: u64 = 1 << 21;
    /// Set/way cache maintenance traps.
    pub const TSW: u64 = 1 << 22;
    /// Cache maintenance to the point of coherency traps.
    pub const TPCP: u64 = 1 << 23;
    /// Cache maintenance to the point of unification traps.
    pub const TPU: u64 = 1 << 24;
    /// TLB maintenance traps.
    pub const TTLB: u64 = 1 << 25;
    /// Writes of translation controls trap.
    pub const TVM: u64 = 1 << 26;
    /// General exceptions go to EL2.
    pub const TGE: u64 = 1 << 27;
    /// `DC ZVA` traps.
    pub const TDZ: u64 = 1 << 28;
    /// `HVC` is undefined.
    pub const HCD: u64 = 1 << 29;
    /// Reads of translation controls trap.
    pub const TRVM: u64 = 1 << 30;
    /// EL1 is AArch64.
    pub const RW: u64 = 1 << 31;
    /// EL2 hosts an operating system.
    pub const E2H: u64 = 1 << 34;
    /// `LOR` registers trap.
    pub const TLOR: u64 = 1 << 35;
    /// Error record registers trap.
    pub const TERR: u64 = 1 << 36;
    /// External aborts go to EL2.
    pub const TEA: u64 = 1 << 37;
    /// Pointer authentication keys do not trap.
    pub const APK: u64 = 1 << 40;
    /// Pointer authentication does not trap.
    pub const API: u64 = 1 << 41;
    /// Stage 2 decides on memory types.
    pub const FWB: u64 = 1 << 46;
    /// Software context numbers do not trap.
    pub const EN_SCXT: u64 = 1 << 53;

    /// What is implemented.
    pub const ALL: u64 = VM
        | SWIO
        | PTW
        | FMO
        | IMO
        | AMO
        | VF
        | VI
        | VSE
        | FB
        | 3 << 10
        | DC
        | TWI
        | TWE
        | TID0
        | TID1
        | TID2
        | TID3
        | TSC
        | TIDCP
        | TACR
        | TSW
        | TPCP
        | TPU
        | TTLB
        | TVM
        | TGE
        | TDZ
        | HCD
        | TRVM
        | 3 << 32
        | E2H
        | TLOR
        | TERR
        | TEA
        | APK
        | API
        | FWB
        | EN_SCXT;
}

/// `SCR_EL3`.
pub mod scr {
    /// Lower levels are Non-secure.
    pub const NS: u64 = 1 << 0;
    /// IRQs go to EL3.
    pub const IRQ: u64 = 1 << 1;
    /// FIQs go to EL3.
    pub const FIQ: u64 = 1 << 2;
    /// External aborts and SErrors go to EL3.
    pub const EA: u64 = 1 << 3;
    /// `SMC` is undefined.
    pub const SMD: u64 = 1 << 7;
    /// `HVC` is enabled.
    pub const HCE: u64 = 1 << 8;
    /// The next lower level is AArch64.
    pub const RW: u64 = 1 << 10;
    /// Secure EL1 has `CNTPS`.
    pub const ST: u64 = 1 << 11;
    /// `WFI` traps.
    pub const TWI: u64 = 1 << 12;
    /// `WFE` traps.
    pub const TWE: u64 = 1 << 13;
    /// `LOR` registers trap.
    pub const TLOR: u64 = 1 << 14;
    /// Error record registers trap.
    pub const TERR: u64 = 1 << 15;
    /// Pointer authentication keys do not trap.
    pub const APK: u64 = 1 << 16;
    /// Pointer authentication does not trap.
    pub const API: u64 = 1 << 17;
    /// Software context numbers do not trap.
    pub const EN_SCXT: u64 = 1 << 25;
    /// `HCRX_EL2` is enabled, and does not trap.
    pub const HX_EN: u64 = 1 << 38;

    /// What is implemented.
    pub const ALL: u64 = NS
        | IRQ
        | FIQ
        | EA
        | SMD
        | HCE
        | 1 << 9
        | RW
        | ST
        | TWI
        | TWE
        | TLOR
        | TERR
        | APK
        | API
        | EN_SCXT
        | HX_EN;
}

/// `HCRX_EL2`.
pub mod hcrx {
    /// Exceptions of memory copies and memory sets go to EL2.
    pub const MCE2: u64 = 1 << 10;
    /// These work at EL1 and EL0.
    pub const MSC_EN: u64 = 1 << 11;

    /// What is implemented.
    pub const ALL: u64 = MCE2 | MSC_EN;
}

/// `CPTR_ELx` and `CPACR_EL1`.
pub mod cptr {
    /// `CPTR_EL2` (without `E2H`) and `CPTR_EL3`: Advanced SIMD and floating point trap.
    pub const TFP: u64 = 1 << 10;
    /// `CPACR_EL1`, and `CPTR_EL2` with `E2H`: where the two bits are that say at which levels they do not.
    pub const FPEN_SHIFT: u32 = 20;
    /// `CPTR_EL2` with `E2H`: `CPACR_EL1` traps. `CPTR_EL3`: that and `CPTR_EL2` trap.
    pub const TCPAC: u64 = 1 << 31;
    /// Bits of `CPTR_EL2` that are one without `E2H`.
    pub const ONES: u64 = 0x33ff;
}

/// `MDCR_EL2` and `MDCR_EL3`.
pub mod mdcr {
    /// EL2: `PMCR_EL0` traps.
    pub const TPMCR: u64 = 1 << 5;
    /// Performance monitors trap.
    pub const TPM: u64 = 1 << 6;
    /// EL2: debug exceptions go to EL2.
    pub const TDE: u64 = 1 << 8;
    /// Debug registers other than the following trap.
    pub const TDA: u64 = 1 << 9;
    /// OS lock registers trap.
    pub const TDOSA: u64 = 1 << 10;
    /// EL2: `MDRAR_EL1` traps.
    pub const TDRA: u64 = 1 << 11;
    /// EL3: Secure debug exceptions are disabled.
    pub const SDD: u64 = 1 << 16;
    /// EL3: the cycle counter and event counters count in Secure state.
    pub const SPME: u64 = 1 << 17;
}

/// `SPSR_ELx`.
pub mod spsr {
    /// `SPSel`.
    pub const SP: u64 = 1 << 0;
    /// Where the exception level is.
    pub const EL_SHIFT: u32 = 2;
    /// A reserved bit of the mode.
    pub const MODE_1: u64 = 1 << 1;
    /// The state is AArch32.
    pub const N_RW: u64 = 1 << 4;
    /// Where the interrupt masks are.
    pub const DAIF_SHIFT: u32 = 6;
    /// Where BTYPE is.
    pub const BTYPE_SHIFT: u32 = 10;
    /// SSBS.
    pub const SSBS: u64 = 1 << 12;
    /// IL.
    pub const IL: u64 = 1 << 20;
    /// SS.
    pub const SS: u64 = 1 << 21;
    /// PAN.
    pub const PAN: u64 = 1 << 22;
    /// UAO.
    pub const UAO: u64 = 1 << 23;
    /// DIT.
    pub const DIT: u64 = 1 << 24;
    /// The flags.
    pub const NZCV: u64 = 0xf << 28;
}

/// `MDSCR_EL1`.
pub mod mdscr {
    /// Software step.
    pub const SS: u64 = 1 << 0;
    /// EL0 may not access the debug communications channel.
    pub const TDCC: u64 = 1 << 12;
    /// Debug exceptions at their own level.
    pub const KDE: u64 = 1 << 13;
    /// Breakpoints and watchpoints.
    pub const MDE: u64 = 1 << 15;
}

/// PSTATE's interrupt masks, as in `DAIF` shifted right by [`spsr::DAIF_SHIFT`].
pub mod daif {
    /// FIQ.
    pub const F: u8 = 1;
    /// IRQ.
    pub const I: u8 = 2;
    /// SError.
    pub const A: u8 = 4;
    /// Debug exceptions.
    pub const D: u8 = 8;
}
