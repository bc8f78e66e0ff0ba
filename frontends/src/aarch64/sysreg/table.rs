//! The table: each line a name, `op0 op1 CRn CRm op2`, which accesses there are, and what else is to be said
//! ([`super::Line`]). Registers that come in families stand together, in order.

use super::super::bits::{hcr, hcrx, mdcr, scr, sctlr};
use super::super::features::Feature::*;
use super::super::sysop::{at, cache};
use super::super::{debug, pmu, timer};
use super::Kind::*;
use super::{Line, control, gic, id, state};

macro_rules! registers {
    ($($name:ident $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal $kind:ident
       $(.$method:ident($($arg:expr),*))*;)*) => {
        /// A system register or instruction, by the architecture's name.
        #[allow(non_camel_case_types, reason = "the architecture's names")]
        #[allow(missing_docs, reason = "the architecture documents them")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Reg { $($name,)* }

        impl Reg {
            /// How many there are.
            pub(in super::super) const COUNT: usize = [$(stringify!($name)),*].len();
        }

        pub(super) static LINES: [Line; Reg::COUNT] = [$(
            Line::new(Reg::$name, stringify!($name), [$op0, $op1, $crn, $crm, $op2], $kind)
                $(.$method($($arg),*))*,
        )*];
    };
}

/// Interrupt masks and flags in saved program status.
const SPSR: u64 = 0xf1f0_1fdf;
/// The bits of a vector base address.
const VECTORS: u64 = !0x7ff;

registers! {
    // Identification (D24.2).
    MIDR_EL1            3 0  0  0 0  R  .read(id::main);
    MPIDR_EL1           3 0  0  0 5  R  .read(id::affinity);
    REVIDR_EL1          3 0  0  0 6  R  .hcr(hcr::TID1, 0);
    ID_AA64PFR0_EL1     3 0  0  4 0  R  .id();
    ID_AA64PFR1_EL1     3 0  0  4 1  R  .id();
    ID_AA64DFR0_EL1     3 0  0  5 0  R  .id();
    ID_AA64DFR1_EL1     3 0  0  5 1  R  .id();
    ID_AA64AFR0_EL1     3 0  0  5 4  R  .id();
    ID_AA64AFR1_EL1     3 0  0  5 5  R  .id();
    ID_AA64ISAR0_EL1    3 0  0  6 0  R  .id();
    ID_AA64ISAR1_EL1    3 0  0  6 1  R  .id();
    ID_AA64ISAR2_EL1    3 0  0  6 2  R  .id();
    ID_AA64MMFR0_EL1    3 0  0  7 0  R  .id();
    ID_AA64MMFR1_EL1    3 0  0  7 1  R  .id();
    ID_AA64MMFR2_EL1    3 0  0  7 2  R  .id();
    ID_AA64MMFR3_EL1    3 0  0  7 3  R  .id();
    CCSIDR_EL1          3 1  0  0 0  R  .hcr(hcr::TID2, 0).read(id::cache_size);
    CLIDR_EL1           3 1  0  0 1  R  .hcr(hcr::TID2, 0).read(id::cache_levels);
    AIDR_EL1            3 1  0  0 7  R  .hcr(hcr::TID1, 0);
    CSSELR_EL1          3 2  0  0 0  RW .hcr(hcr::TID2, hcr::TID2).mask(0xf);
    CTR_EL0             3 3  0  0 1  R  .hcr(hcr::TID2, 0).gate(id::cache_type_gate).read(id::cache_type);
    DCZID_EL0           3 3  0  0 7  R  .read(cache::zero_id);
    VPIDR_EL2           3 4  0  0 0  RW .mask(0xffff_ffff);
    VMPIDR_EL2          3 4  0  0 5  RW .mask(0xff_c1ff_ffff).ones(1 << 31);

    // General control.
    SCTLR_EL1           3 0  1  0 0  RW .memory_control().host(Reg::SCTLR_EL2).context().reset(sctlr::ONES).write(control::system);
    ACTLR_EL1           3 0  1  0 1  RW .hcr(hcr::TACR, hcr::TACR).mask(0);
    CPACR_EL1           3 0  1  0 2  RW .gate(control::cpacr_gate).host(Reg::CPTR_EL2).context().mask(3 << 20).write(control::with_context);
    SCTLR_EL2           3 4  1  0 0  RW .context().reset(sctlr::ONES_HIGH).write(control::system);
    ACTLR_EL2           3 4  1  0 1  RW .mask(0);
    HCR_EL2             3 4  1  1 0  RW .context().mask(hcr::ALL).ones(hcr::RW).write(control::hypervisor);
    HCRX_EL2            3 4  1  2 2  RW .feature(Hcx).gate(control::hypervisor_extended_gate).context().mask(hcrx::ALL).write(control::with_context);
    MDCR_EL2            3 4  1  1 1  RW .context().reset(pmu::EVENTS as u64).write(control::monitor_debug);
    CPTR_EL2            3 4  1  1 2  RW .gate(control::cptr_gate).context().write(control::feature_traps);
    HSTR_EL2            3 4  1  1 3  RW .mask(0);
    HACR_EL2            3 4  1  1 7  RW .mask(0);
    SCTLR_EL3           3 6  1  0 0  RW .context().reset(sctlr::ONES_HIGH).write(control::system);
    ACTLR_EL3           3 6  1  0 1  RW .mask(0);
    SCR_EL3             3 6  1  1 0  RW .context().mask(scr::ALL).ones(scr::RW | 3 << 4).write(control::secure);
    CPTR_EL3            3 6  1  1 2  RW .context().mask(1 << 10 | 1 << 31).write(control::with_context);
    MDCR_EL3            3 6  1  3 1  RW .context().write(control::monitor_debug);

    // Translation.
    TTBR0_EL1           3 0  2  0 0  RW .memory_control().host(Reg::TTBR0_EL2).write(control::table_base);
    TTBR1_EL1           3 0  2  0 1  RW .memory_control().host(Reg::TTBR1_EL2).write(control::table_base);
    TCR_EL1             3 0  2  0 2  RW .memory_control().host(Reg::TCR_EL2).context().write(control::translation);
    TTBR0_EL2           3 4  2  0 0  RW .write(control::table_base);
    TTBR1_EL2           3 4  2  0 1  RW .feature(Vhe).write(control::table_base);
    TCR_EL2             3 4  2  0 2  RW .context().write(control::translation);
    VTTBR_EL2           3 4  2  1 0  RW .write(control::table_base);
    VTCR_EL2            3 4  2  1 2  RW .ones(1 << 31).write(control::translation);
    TTBR0_EL3           3 6  2  0 0  RW .write(control::table_base);
    TCR_EL3             3 6  2  0 2  RW .ones(1 << 31 | 1 << 23).write(control::translation);
    MAIR_EL1            3 0 10  2 0  RW .memory_control().host(Reg::MAIR_EL2).write(control::translation);
    AMAIR_EL1           3 0 10  3 0  RW .memory_control().host(Reg::AMAIR_EL2).mask(0);
    MAIR_EL2            3 4 10  2 0  RW .write(control::translation);
    AMAIR_EL2           3 4 10  3 0  RW .mask(0);
    MAIR_EL3            3 6 10  2 0  RW .write(control::translation);
    AMAIR_EL3           3 6 10  3 0  RW .mask(0);
    CONTEXTIDR_EL1      3 0 13  0 1  RW .memory_control().host(Reg::CONTEXTIDR_EL2).mask(0xffff_ffff);
    CONTEXTIDR_EL2      3 4 13  0 1  RW .feature(Vhe).mask(0xffff_ffff);
    PAR_EL1             3 0  7  4 0  RW;
    LORSA_EL1           3 0 10  4 0  RW .feature(Lor).hcr(hcr::TLOR, hcr::TLOR).mask(0);
    LOREA_EL1           3 0 10  4 1  RW .feature(Lor).hcr(hcr::TLOR, hcr::TLOR).mask(0);
    LORN_EL1            3 0 10  4 2  RW .feature(Lor).hcr(hcr::TLOR, hcr::TLOR).mask(0);
    LORC_EL1            3 0 10  4 3  RW .feature(Lor).hcr(hcr::TLOR, hcr::TLOR).mask(0);
    LORID_EL1           3 0 10  4 7  R  .feature(Lor).hcr(hcr::TLOR, 0);

    // Pointer authentication keys.
    APIAKeyLo_EL1       3 0  2  1 0  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APIAKeyHi_EL1       3 0  2  1 1  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APIBKeyLo_EL1       3 0  2  1 2  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APIBKeyHi_EL1       3 0  2  1 3  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APDAKeyLo_EL1       3 0  2  2 0  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APDAKeyHi_EL1       3 0  2  2 1  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APDBKeyLo_EL1       3 0  2  2 2  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APDBKeyHi_EL1       3 0  2  2 3  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APGAKeyLo_EL1       3 0  2  3 0  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);
    APGAKeyHi_EL1       3 0  2  3 1  RW .feature(PAuth).gate(state::key_gate).read(state::read_key).write(state::write_key);

    // Processor state, and what exceptions save of it.
    SPSR_EL1            3 0  4  0 0  RW .host(Reg::SPSR_EL2).mask(SPSR);
    ELR_EL1             3 0  4  0 1  RW .host(Reg::ELR_EL2);
    SP_EL0              3 0  4  1 0  RW .gate(state::sp_el0_gate).read(state::read_sp).write(state::write_sp);
    SPSel               3 0  4  2 0  RW .context().read(state::read_sp_sel).write(state::write_sp_sel);
    CurrentEL           3 0  4  2 2  R  .read(state::read_el);
    PAN                 3 0  4  2 3  RW .feature(Pan).read(state::read_pan).write(state::write_pan);
    UAO                 3 0  4  2 4  RW .feature(Uao).read(state::read_uao).write(state::write_uao);
    NZCV                3 3  4  2 0  RW .read(state::read_nzcv).write(state::write_nzcv);
    DAIF                3 3  4  2 1  RW .context().gate(state::daif_gate).read(state::read_daif).write(state::write_daif);
    DIT                 3 3  4  2 5  RW .feature(Dit).read(state::read_dit).write(state::write_dit);
    SSBS                3 3  4  2 6  RW .feature(Ssbs).read(state::read_ssbs).write(state::write_ssbs);
    FPCR                3 3  4  4 0  RW .gate(state::fp_gate).context().read(state::read_fpcr).write(state::write_fpcr);
    FPSR                3 3  4  4 1  RW .gate(state::fp_gate).read(state::read_fpsr).write(state::write_fpsr);
    SPSR_EL2            3 4  4  0 0  RW .mask(SPSR);
    ELR_EL2             3 4  4  0 1  RW;
    SP_EL1              3 4  4  1 0  RW .read(state::read_sp).write(state::write_sp);
    SPSR_EL3            3 6  4  0 0  RW .mask(SPSR);
    ELR_EL3             3 6  4  0 1  RW;
    SP_EL2              3 6  4  1 0  RW .read(state::read_sp).write(state::write_sp);
    TPIDR_EL1           3 0 13  0 4  RW .read(state::read_thread).write(state::write_thread);
    TPIDR_EL0           3 3 13  0 2  RW .read(state::read_thread).write(state::write_thread);
    TPIDRRO_EL0         3 3 13  0 3  RW .gate(state::read_only_gate).read(state::read_thread).write(state::write_thread);
    TPIDR_EL2           3 4 13  0 2  RW .read(state::read_thread).write(state::write_thread);
    TPIDR_EL3           3 6 13  0 2  RW .read(state::read_thread).write(state::write_thread);
    SCXTNUM_EL1         3 0 13  0 7  RW .feature(Csv22).gate(state::context_number_gate).host(Reg::SCXTNUM_EL2);
    SCXTNUM_EL0         3 3 13  0 7  RW .feature(Csv22).gate(state::context_number_gate);
    SCXTNUM_EL2         3 4 13  0 7  RW .feature(Csv22).gate(state::context_number_gate);
    SCXTNUM_EL3         3 6 13  0 7  RW .feature(Csv22);

    // Exceptions.
    AFSR0_EL1           3 0  5  1 0  RW .memory_control().host(Reg::AFSR0_EL2).mask(0);
    AFSR1_EL1           3 0  5  1 1  RW .memory_control().host(Reg::AFSR1_EL2).mask(0);
    ESR_EL1             3 0  5  2 0  RW .memory_control().host(Reg::ESR_EL2).mask(0x1f_ffff_ffff);
    FAR_EL1             3 0  6  0 0  RW .memory_control().host(Reg::FAR_EL2);
    VBAR_EL1            3 0 12  0 0  RW .host(Reg::VBAR_EL2).mask(VECTORS);
    RVBAR_EL1           3 0 12  0 1  R  .gate(control::reset_gate);
    RMR_EL1             3 0 12  0 2  RW .gate(control::reset_gate).mask(0).ones(1);
    ISR_EL1             3 0 12  1 0  R  .read(state::read_pending);
    AFSR0_EL2           3 4  5  1 0  RW .mask(0);
    AFSR1_EL2           3 4  5  1 1  RW .mask(0);
    ESR_EL2             3 4  5  2 0  RW .mask(0x1f_ffff_ffff);
    FAR_EL2             3 4  6  0 0  RW;
    HPFAR_EL2           3 4  6  0 4  RW .mask(0xfff_ffff_fff0 | 1 << 63);
    VBAR_EL2            3 4 12  0 0  RW .mask(VECTORS);
    RVBAR_EL2           3 4 12  0 1  R  .gate(control::reset_gate);
    RMR_EL2             3 4 12  0 2  RW .gate(control::reset_gate).mask(0).ones(1);
    AFSR0_EL3           3 6  5  1 0  RW .mask(0);
    AFSR1_EL3           3 6  5  1 1  RW .mask(0);
    ESR_EL3             3 6  5  2 0  RW .mask(0x1f_ffff_ffff);
    FAR_EL3             3 6  6  0 0  RW;
    VBAR_EL3            3 6 12  0 0  RW .mask(VECTORS);
    RVBAR_EL3           3 6 12  0 1  R;
    RMR_EL3             3 6 12  0 2  RW .mask(0).ones(1);

    // Error records (RAS): there are none.
    ERRIDR_EL1          3 0  5  3 0  R  .feature(Ras).hcr(hcr::TERR, 0);
    ERRSELR_EL1         3 0  5  3 1  RW .feature(Ras).hcr(hcr::TERR, hcr::TERR).mask(0);
    DISR_EL1            3 0 12  1 1  RW .feature(Ras).mask(1 << 31 | 0x1ff_ffff).read(state::read_deferred).write(state::write_deferred);
    VSESR_EL2           3 4  5  2 3  RW .feature(Ras).mask(0x1ff_ffff);
    VDISR_EL2           3 4 12  1 1  RW .feature(Ras).mask(1 << 31 | 0x1ff_ffff);

    // Timers (chapter D12).
    CNTFRQ_EL0          3 3 14  0 0  RW .gate(timer::frequency).mask(0xffff_ffff);
    CNTPCT_EL0          3 3 14  0 1  R  .gate(timer::physical_counter).read(timer::read_physical);
    CNTVCT_EL0          3 3 14  0 2  R  .gate(timer::virtual_counter).read(timer::read_virtual);
    CNTKCTL_EL1         3 0 14  1 0  RW .host(Reg::CNTHCTL_EL2).mask(0x3ff);
    CNTP_TVAL_EL0       3 3 14  2 0  RW .gate(timer::physical_timer).host(Reg::CNTHP_TVAL_EL2).read(timer::read_value).write(timer::write_value);
    CNTP_CTL_EL0        3 3 14  2 1  RW .gate(timer::physical_timer).host(Reg::CNTHP_CTL_EL2).read(timer::read_control).write(timer::write_control);
    CNTP_CVAL_EL0       3 3 14  2 2  RW .gate(timer::physical_timer).host(Reg::CNTHP_CVAL_EL2).write(timer::write_compare);
    CNTV_TVAL_EL0       3 3 14  3 0  RW .gate(timer::virtual_timer).host(Reg::CNTHV_TVAL_EL2).read(timer::read_value).write(timer::write_value);
    CNTV_CTL_EL0        3 3 14  3 1  RW .gate(timer::virtual_timer).host(Reg::CNTHV_CTL_EL2).read(timer::read_control).write(timer::write_control);
    CNTV_CVAL_EL0       3 3 14  3 2  RW .gate(timer::virtual_timer).host(Reg::CNTHV_CVAL_EL2).write(timer::write_compare);
    CNTVOFF_EL2         3 4 14  0 3  RW .write(timer::write_offset);
    CNTHCTL_EL2         3 4 14  1 0  RW .mask(0xfff);
    CNTHP_TVAL_EL2      3 4 14  2 0  RW .read(timer::read_value).write(timer::write_value);
    CNTHP_CTL_EL2       3 4 14  2 1  RW .read(timer::read_control).write(timer::write_control);
    CNTHP_CVAL_EL2      3 4 14  2 2  RW .write(timer::write_compare);
    CNTHV_TVAL_EL2      3 4 14  3 0  RW .feature(Vhe).read(timer::read_value).write(timer::write_value);
    CNTHV_CTL_EL2       3 4 14  3 1  RW .feature(Vhe).read(timer::read_control).write(timer::write_control);
    CNTHV_CVAL_EL2      3 4 14  3 2  RW .feature(Vhe).write(timer::write_compare);
    CNTPS_TVAL_EL1      3 7 14  2 0  RW .gate(timer::secure_timer).read(timer::read_value).write(timer::write_value);
    CNTPS_CTL_EL1       3 7 14  2 1  RW .gate(timer::secure_timer).read(timer::read_control).write(timer::write_control);
    CNTPS_CVAL_EL1      3 7 14  2 2  RW .gate(timer::secure_timer).write(timer::write_compare);

    // Performance monitors (chapter D13).
    PMCR_EL0            3 3  9 12 0  RW .mdcr(pmu::CONTROL_TRAPS).gate(pmu::any).read(pmu::read_control).write(pmu::write_control);
    PMCNTENSET_EL0      3 3  9 12 1  RW .mdcr(pmu::TRAPS).gate(pmu::any).read(pmu::read_bits).write(pmu::set_bits);
    PMCNTENCLR_EL0      3 3  9 12 2  RW .mdcr(pmu::TRAPS).gate(pmu::any).read(pmu::read_bits).write(pmu::clear_bits);
    PMOVSCLR_EL0        3 3  9 12 3  RW .mdcr(pmu::TRAPS).gate(pmu::any).read(pmu::read_bits).write(pmu::clear_bits);
    PMSWINC_EL0         3 3  9 12 4  W  .mdcr(pmu::TRAPS).gate(pmu::software_increment).write(pmu::increment);
    PMSELR_EL0          3 3  9 12 5  RW .mdcr(pmu::TRAPS).gate(pmu::selection).mask(0x1f);
    PMCEID0_EL0         3 3  9 12 6  R  .mdcr(pmu::TRAPS).gate(pmu::any).reset(pmu::COMMON_EVENTS);
    PMCEID1_EL0         3 3  9 12 7  R  .mdcr(pmu::TRAPS).gate(pmu::any);
    PMCCNTR_EL0         3 3  9 13 0  RW .mdcr(pmu::TRAPS).gate(pmu::cycle_counter).read(pmu::read_cycles).write(pmu::write_cycles);
    PMXEVTYPER_EL0      3 3  9 13 1  RW .mdcr(pmu::TRAPS).gate(pmu::any).read(pmu::read_selected_type).write(pmu::write_selected_type);
    PMXEVCNTR_EL0       3 3  9 13 2  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_selected_count).write(pmu::write_selected_count);
    PMUSERENR_EL0       3 3  9 14 0  RW .mdcr(pmu::TRAPS).gate(state::read_only_gate).mask(0xf);
    PMINTENSET_EL1      3 0  9 14 1  RW .mdcr(pmu::TRAPS).read(pmu::read_bits).write(pmu::set_bits);
    PMINTENCLR_EL1      3 0  9 14 2  RW .mdcr(pmu::TRAPS).read(pmu::read_bits).write(pmu::clear_bits);
    PMOVSSET_EL0        3 3  9 14 3  RW .mdcr(pmu::TRAPS).gate(pmu::any).read(pmu::read_bits).write(pmu::set_bits);
    PMEVCNTR0_EL0       3 3 14  8 0  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVCNTR1_EL0       3 3 14  8 1  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVCNTR2_EL0       3 3 14  8 2  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVCNTR3_EL0       3 3 14  8 3  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVCNTR4_EL0       3 3 14  8 4  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVCNTR5_EL0       3 3 14  8 5  RW .mdcr(pmu::TRAPS).gate(pmu::event_counter).read(pmu::read_count).write(pmu::write_count);
    PMEVTYPER0_EL0      3 3 14 12 0  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMEVTYPER1_EL0      3 3 14 12 1  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMEVTYPER2_EL0      3 3 14 12 2  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMEVTYPER3_EL0      3 3 14 12 3  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMEVTYPER4_EL0      3 3 14 12 4  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMEVTYPER5_EL0      3 3 14 12 5  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_type);
    PMCCFILTR_EL0       3 3 14 15 7  RW .mdcr(pmu::TRAPS).gate(pmu::any).write(pmu::write_filter);

    // Debug (chapter D2; D24.3).
    OSDTRRX_EL1         2 0  0  0 2  RW .debug().mask(0xffff_ffff);
    MDCCINT_EL1         2 0  0  2 0  RW .debug().mask(0x6000_0000);
    MDSCR_EL1           2 0  0  2 2  RW .debug().context().write(debug::write_control);
    OSDTRTX_EL1         2 0  0  3 2  RW .debug().mask(0xffff_ffff);
    OSECCR_EL1          2 0  0  6 2  RW .debug().mask(0);
    DBGBVR0_EL1         2 0  0  0 4  RW .debug().write(debug::write_point);
    DBGBVR1_EL1         2 0  0  1 4  RW .debug().write(debug::write_point);
    DBGBVR2_EL1         2 0  0  2 4  RW .debug().write(debug::write_point);
    DBGBVR3_EL1         2 0  0  3 4  RW .debug().write(debug::write_point);
    DBGBVR4_EL1         2 0  0  4 4  RW .debug().write(debug::write_point);
    DBGBVR5_EL1         2 0  0  5 4  RW .debug().write(debug::write_point);
    DBGBCR0_EL1         2 0  0  0 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGBCR1_EL1         2 0  0  1 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGBCR2_EL1         2 0  0  2 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGBCR3_EL1         2 0  0  3 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGBCR4_EL1         2 0  0  4 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGBCR5_EL1         2 0  0  5 5  RW .debug().mask(debug::BREAK_CONTROL).ones(debug::BREAK_BAS).write(debug::write_point);
    DBGWVR0_EL1         2 0  0  0 6  RW .debug().write(debug::write_point);
    DBGWVR1_EL1         2 0  0  1 6  RW .debug().write(debug::write_point);
    DBGWVR2_EL1         2 0  0  2 6  RW .debug().write(debug::write_point);
    DBGWVR3_EL1         2 0  0  3 6  RW .debug().write(debug::write_point);
    DBGWCR0_EL1         2 0  0  0 7  RW .debug().mask(debug::WATCH_CONTROL).write(debug::write_point);
    DBGWCR1_EL1         2 0  0  1 7  RW .debug().mask(debug::WATCH_CONTROL).write(debug::write_point);
    DBGWCR2_EL1         2 0  0  2 7  RW .debug().mask(debug::WATCH_CONTROL).write(debug::write_point);
    DBGWCR3_EL1         2 0  0  3 7  RW .debug().mask(debug::WATCH_CONTROL).write(debug::write_point);
    MDRAR_EL1           2 0  1  0 0  R  .mdcr(mdcr::TDA | mdcr::TDRA);
    OSLAR_EL1           2 0  1  0 4  W  .mdcr(mdcr::TDOSA).context().write(debug::write_lock);
    OSLSR_EL1           2 0  1  1 4  R  .mdcr(mdcr::TDOSA).reset(1 << 3 | debug::OSLK);
    OSDLR_EL1           2 0  1  3 4  RW .mdcr(mdcr::TDOSA).mask(1);
    DBGPRCR_EL1         2 0  1  4 4  RW .mdcr(mdcr::TDOSA).mask(1);
    DBGCLAIMSET_EL1     2 0  7  8 6  RW .debug().read(debug::read_claim).write(debug::write_claim);
    DBGCLAIMCLR_EL1     2 0  7  9 6  RW .debug().read(debug::read_claim).write(debug::write_claim);
    DBGAUTHSTATUS_EL1   2 0  7 14 6  R  .debug();
    MDCCSR_EL0          2 3  0  1 0  R  .debug().gate(debug::channel);
    DBGDTR_EL0          2 3  0  4 0  RW .debug().gate(debug::channel).mask(0);
    DBGDTRTX_EL0        2 3  0  5 0  RW .debug().gate(debug::channel).mask(0);

    // The GICv3 CPU interface (GIC, chapter 12).
    ICC_PMR_EL1         3 0  4  6 0  RW .gic(gic::common);
    ICC_IAR0_EL1        3 0 12  8 0  R  .gic(gic::group0);
    ICC_EOIR0_EL1       3 0 12  8 1  W  .gic(gic::group0);
    ICC_HPPIR0_EL1      3 0 12  8 2  R  .gic(gic::group0);
    ICC_BPR0_EL1        3 0 12  8 3  RW .gic(gic::group0);
    ICC_AP0R0_EL1       3 0 12  8 4  RW .gic(gic::group0);
    ICC_AP0R1_EL1       3 0 12  8 5  RW .gic(gic::group0);
    ICC_AP0R2_EL1       3 0 12  8 6  RW .gic(gic::group0);
    ICC_AP0R3_EL1       3 0 12  8 7  RW .gic(gic::group0);
    ICC_AP1R0_EL1       3 0 12  9 0  RW .gic(gic::group1);
    ICC_AP1R1_EL1       3 0 12  9 1  RW .gic(gic::group1);
    ICC_AP1R2_EL1       3 0 12  9 2  RW .gic(gic::group1);
    ICC_AP1R3_EL1       3 0 12  9 3  RW .gic(gic::group1);
    ICC_DIR_EL1         3 0 12 11 1  W  .gic(gic::deactivate);
    ICC_RPR_EL1         3 0 12 11 3  R  .gic(gic::common);
    ICC_SGI1R_EL1       3 0 12 11 5  W  .gic(gic::generate);
    ICC_ASGI1R_EL1      3 0 12 11 6  W  .gic(gic::generate);
    ICC_SGI0R_EL1       3 0 12 11 7  W  .gic(gic::generate);
    ICC_IAR1_EL1        3 0 12 12 0  R  .gic(gic::group1);
    ICC_EOIR1_EL1       3 0 12 12 1  W  .gic(gic::group1);
    ICC_HPPIR1_EL1      3 0 12 12 2  R  .gic(gic::group1);
    ICC_BPR1_EL1        3 0 12 12 3  RW .gic(gic::group1);
    ICC_CTLR_EL1        3 0 12 12 4  RW .gic(gic::common);
    ICC_SRE_EL1         3 0 12 12 5  RW .gic(gic::always);
    ICC_IGRPEN0_EL1     3 0 12 12 6  RW .gic(gic::group0);
    ICC_IGRPEN1_EL1     3 0 12 12 7  RW .gic(gic::group1);
    ICH_AP0R0_EL2       3 4 12  8 0  RW .gic(gic::always);
    ICH_AP0R1_EL2       3 4 12  8 1  RW .gic(gic::always);
    ICH_AP0R2_EL2       3 4 12  8 2  RW .gic(gic::always);
    ICH_AP0R3_EL2       3 4 12  8 3  RW .gic(gic::always);
    ICH_AP1R0_EL2       3 4 12  9 0  RW .gic(gic::always);
    ICH_AP1R1_EL2       3 4 12  9 1  RW .gic(gic::always);
    ICH_AP1R2_EL2       3 4 12  9 2  RW .gic(gic::always);
    ICH_AP1R3_EL2       3 4 12  9 3  RW .gic(gic::always);
    ICC_SRE_EL2         3 4 12  9 5  RW .gic(gic::always);
    ICH_HCR_EL2         3 4 12 11 0  RW .gic(gic::always);
    ICH_VTR_EL2         3 4 12 11 1  R  .gic(gic::always);
    ICH_MISR_EL2        3 4 12 11 2  R  .gic(gic::always);
    ICH_EISR_EL2        3 4 12 11 3  R  .gic(gic::always);
    ICH_ELRSR_EL2       3 4 12 11 5  R  .gic(gic::always);
    ICH_VMCR_EL2        3 4 12 11 7  RW .gic(gic::always);
    ICH_LR0_EL2         3 4 12 12 0  RW .gic(gic::always);
    ICH_LR1_EL2         3 4 12 12 1  RW .gic(gic::always);
    ICH_LR2_EL2         3 4 12 12 2  RW .gic(gic::always);
    ICH_LR3_EL2         3 4 12 12 3  RW .gic(gic::always);
    ICH_LR4_EL2         3 4 12 12 4  RW .gic(gic::always);
    ICH_LR5_EL2         3 4 12 12 5  RW .gic(gic::always);
    ICH_LR6_EL2         3 4 12 12 6  RW .gic(gic::always);
    ICH_LR7_EL2         3 4 12 12 7  RW .gic(gic::always);
    ICH_LR8_EL2         3 4 12 13 0  RW .gic(gic::always);
    ICH_LR9_EL2         3 4 12 13 1  RW .gic(gic::always);
    ICH_LR10_EL2        3 4 12 13 2  RW .gic(gic::always);
    ICH_LR11_EL2        3 4 12 13 3  RW .gic(gic::always);
    ICH_LR12_EL2        3 4 12 13 4  RW .gic(gic::always);
    ICH_LR13_EL2        3 4 12 13 5  RW .gic(gic::always);
    ICH_LR14_EL2        3 4 12 13 6  RW .gic(gic::always);
    ICH_LR15_EL2        3 4 12 13 7  RW .gic(gic::always);
    ICC_CTLR_EL3        3 6 12 12 4  RW .gic(gic::always);
    ICC_SRE_EL3         3 6 12 12 5  RW .gic(gic::always);
    ICC_IGRPEN1_EL3     3 6 12 12 7  RW .gic(gic::always);

    // Cache maintenance (C5.3).
    IC_IALLUIS          1 0  7  1 0  W  .hcr(0, hcr::TPU).run(cache::nothing);
    IC_IALLU            1 0  7  5 0  W  .hcr(0, hcr::TPU).run(cache::nothing);
    DC_IVAC             1 0  7  6 1  W  .hcr(0, hcr::TPCP).run(cache::invalidate);
    DC_ISW              1 0  7  6 2  W  .hcr(0, hcr::TSW).run(cache::nothing);
    DC_CSW              1 0  7 10 2  W  .hcr(0, hcr::TSW).run(cache::nothing);
    DC_CISW             1 0  7 14 2  W  .hcr(0, hcr::TSW).run(cache::nothing);
    DC_ZVA              1 3  7  4 1  W  .hcr(0, hcr::TDZ).gate(cache::zero_gate).run(cache::zero);
    IC_IVAU             1 3  7  5 1  W  .hcr(0, hcr::TPU).gate(cache::user_gate).run(cache::by_address);
    DC_CVAC             1 3  7 10 1  W  .hcr(0, hcr::TPCP).gate(cache::user_gate).run(cache::by_address);
    DC_CVAU             1 3  7 11 1  W  .hcr(0, hcr::TPU).gate(cache::user_gate).run(cache::by_address);
    DC_CVAP             1 3  7 12 1  W  .feature(Dpb).hcr(0, hcr::TPCP).gate(cache::user_gate).run(cache::by_address);
    DC_CVADP            1 3  7 13 1  W  .feature(Dpb2).hcr(0, hcr::TPCP).gate(cache::user_gate).run(cache::by_address);
    DC_CIVAC            1 3  7 14 1  W  .hcr(0, hcr::TPCP).gate(cache::user_gate).run(cache::by_address);
    CFP_RCTX            1 3  7  3 4  W  .feature(Specres).gate(cache::restriction_gate).run(cache::nothing);
    DVP_RCTX            1 3  7  3 5  W  .feature(Specres).gate(cache::restriction_gate).run(cache::nothing);
    CPP_RCTX            1 3  7  3 7  W  .feature(Specres).gate(cache::restriction_gate).run(cache::nothing);

    // Address translation (C5.4).
    AT_S1E1R            1 0  7  8 0  W  .run(at::run);
    AT_S1E1W            1 0  7  8 1  W  .run(at::run);
    AT_S1E0R            1 0  7  8 2  W  .run(at::run);
    AT_S1E0W            1 0  7  8 3  W  .run(at::run);
    AT_S1E1RP           1 0  7  9 0  W  .feature(Pan2).run(at::run);
    AT_S1E1WP           1 0  7  9 1  W  .feature(Pan2).run(at::run);
    AT_S1E2R            1 4  7  8 0  W  .gate(at::el2_gate).run(at::run);
    AT_S1E2W            1 4  7  8 1  W  .gate(at::el2_gate).run(at::run);
    AT_S12E1R           1 4  7  8 4  W  .run(at::run);
    AT_S12E1W           1 4  7  8 5  W  .run(at::run);
    AT_S12E0R           1 4  7  8 6  W  .run(at::run);
    AT_S12E0W           1 4  7  8 7  W  .run(at::run);
    AT_S1E3R            1 6  7  8 0  W  .run(at::run);
    AT_S1E3W            1 6  7  8 1  W  .run(at::run);

    // TLB maintenance (C5.5): what is dropped, by what, and where.
    TLBI_VMALLE1OS      1 0  8  1 0  W  .feature(TlbiOs).tlbi();
    TLBI_VAE1OS         1 0  8  1 1  W  .feature(TlbiOs).tlbi();
    TLBI_ASIDE1OS       1 0  8  1 2  W  .feature(TlbiOs).tlbi();
    TLBI_VAAE1OS        1 0  8  1 3  W  .feature(TlbiOs).tlbi();
    TLBI_VALE1OS        1 0  8  1 5  W  .feature(TlbiOs).tlbi();
    TLBI_VAALE1OS       1 0  8  1 7  W  .feature(TlbiOs).tlbi();
    TLBI_RVAE1IS        1 0  8  2 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVAAE1IS       1 0  8  2 3  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE1IS       1 0  8  2 5  W  .feature(TlbiRange).tlbi();
    TLBI_RVAALE1IS      1 0  8  2 7  W  .feature(TlbiRange).tlbi();
    TLBI_VMALLE1IS      1 0  8  3 0  W  .tlbi();
    TLBI_VAE1IS         1 0  8  3 1  W  .tlbi();
    TLBI_ASIDE1IS       1 0  8  3 2  W  .tlbi();
    TLBI_VAAE1IS        1 0  8  3 3  W  .tlbi();
    TLBI_VALE1IS        1 0  8  3 5  W  .tlbi();
    TLBI_VAALE1IS       1 0  8  3 7  W  .tlbi();
    TLBI_RVAE1OS        1 0  8  5 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVAAE1OS       1 0  8  5 3  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE1OS       1 0  8  5 5  W  .feature(TlbiRange).tlbi();
    TLBI_RVAALE1OS      1 0  8  5 7  W  .feature(TlbiRange).tlbi();
    TLBI_RVAE1          1 0  8  6 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVAAE1         1 0  8  6 3  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE1         1 0  8  6 5  W  .feature(TlbiRange).tlbi();
    TLBI_RVAALE1        1 0  8  6 7  W  .feature(TlbiRange).tlbi();
    TLBI_VMALLE1        1 0  8  7 0  W  .tlbi();
    TLBI_VAE1           1 0  8  7 1  W  .tlbi();
    TLBI_ASIDE1         1 0  8  7 2  W  .tlbi();
    TLBI_VAAE1          1 0  8  7 3  W  .tlbi();
    TLBI_VALE1          1 0  8  7 5  W  .tlbi();
    TLBI_VAALE1         1 0  8  7 7  W  .tlbi();
    TLBI_IPAS2E1IS      1 4  8  0 1  W  .tlbi();
    TLBI_RIPAS2E1IS     1 4  8  0 2  W  .feature(TlbiRange).tlbi();
    TLBI_IPAS2LE1IS     1 4  8  0 5  W  .tlbi();
    TLBI_RIPAS2LE1IS    1 4  8  0 6  W  .feature(TlbiRange).tlbi();
    TLBI_ALLE2OS        1 4  8  1 0  W  .feature(TlbiOs).tlbi();
    TLBI_VAE2OS         1 4  8  1 1  W  .feature(TlbiOs).tlbi();
    TLBI_ALLE1OS        1 4  8  1 4  W  .feature(TlbiOs).tlbi();
    TLBI_VALE2OS        1 4  8  1 5  W  .feature(TlbiOs).tlbi();
    TLBI_VMALLS12E1OS   1 4  8  1 6  W  .feature(TlbiOs).tlbi();
    TLBI_RVAE2IS        1 4  8  2 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE2IS       1 4  8  2 5  W  .feature(TlbiRange).tlbi();
    TLBI_ALLE2IS        1 4  8  3 0  W  .tlbi();
    TLBI_VAE2IS         1 4  8  3 1  W  .tlbi();
    TLBI_ALLE1IS        1 4  8  3 4  W  .tlbi();
    TLBI_VALE2IS        1 4  8  3 5  W  .tlbi();
    TLBI_VMALLS12E1IS   1 4  8  3 6  W  .tlbi();
    TLBI_IPAS2E1OS      1 4  8  4 0  W  .feature(TlbiOs).tlbi();
    TLBI_IPAS2E1        1 4  8  4 1  W  .tlbi();
    TLBI_RIPAS2E1       1 4  8  4 2  W  .feature(TlbiRange).tlbi();
    TLBI_RIPAS2E1OS     1 4  8  4 3  W  .feature(TlbiRange).tlbi();
    TLBI_IPAS2LE1OS     1 4  8  4 4  W  .feature(TlbiOs).tlbi();
    TLBI_IPAS2LE1       1 4  8  4 5  W  .tlbi();
    TLBI_RIPAS2LE1      1 4  8  4 6  W  .feature(TlbiRange).tlbi();
    TLBI_RIPAS2LE1OS    1 4  8  4 7  W  .feature(TlbiRange).tlbi();
    TLBI_RVAE2OS        1 4  8  5 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE2OS       1 4  8  5 5  W  .feature(TlbiRange).tlbi();
    TLBI_RVAE2          1 4  8  6 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE2         1 4  8  6 5  W  .feature(TlbiRange).tlbi();
    TLBI_ALLE2          1 4  8  7 0  W  .tlbi();
    TLBI_VAE2           1 4  8  7 1  W  .tlbi();
    TLBI_ALLE1          1 4  8  7 4  W  .tlbi();
    TLBI_VALE2          1 4  8  7 5  W  .tlbi();
    TLBI_VMALLS12E1     1 4  8  7 6  W  .tlbi();
    TLBI_ALLE3OS        1 6  8  1 0  W  .feature(TlbiOs).tlbi();
    TLBI_VAE3OS         1 6  8  1 1  W  .feature(TlbiOs).tlbi();
    TLBI_VALE3OS        1 6  8  1 5  W  .feature(TlbiOs).tlbi();
    TLBI_RVAE3IS        1 6  8  2 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE3IS       1 6  8  2 5  W  .feature(TlbiRange).tlbi();
    TLBI_ALLE3IS        1 6  8  3 0  W  .tlbi();
    TLBI_VAE3IS         1 6  8  3 1  W  .tlbi();
    TLBI_VALE3IS        1 6  8  3 5  W  .tlbi();
    TLBI_RVAE3OS        1 6  8  5 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE3OS       1 6  8  5 5  W  .feature(TlbiRange).tlbi();
    TLBI_RVAE3          1 6  8  6 1  W  .feature(TlbiRange).tlbi();
    TLBI_RVALE3         1 6  8  6 5  W  .feature(TlbiRange).tlbi();
    TLBI_ALLE3          1 6  8  7 0  W  .tlbi();
    TLBI_VAE3           1 6  8  7 1  W  .tlbi();
    TLBI_VALE3          1 6  8  7 5  W  .tlbi();
}
