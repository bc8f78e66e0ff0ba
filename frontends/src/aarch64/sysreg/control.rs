//! Control registers: what a write of one changes besides the value.

use emu_core::mem::Flush;

use super::super::bits::{cptr, hcr, mdcr, scr, sctlr};
use super::super::exception;
use super::super::features::Feature;
use super::super::model::Model;
use super::super::pmu;
use super::super::state::{Aarch64, Config, Cpu};
use super::{Reg, Storage, Verdict, id};

/// Values after a reset that depend on the configuration.
pub(super) fn reset(sys: &mut Storage, config: &Config) {
    sys[Reg::CNTFRQ_EL0] = config.model.counter_hz;
    sys[Reg::VPIDR_EL2] = config.model.midr;
    sys[Reg::VMPIDR_EL2] = id::own_affinity(config);
    sys[Reg::CPTR_EL2] = cptr::ONES;
}

/// Writes a register that lifting depends on, and nothing cached.
pub(super) fn with_context(cpu: &mut Cpu, register: Reg, value: u64) {
    cpu.isa.sys.store(register, value);
    cpu.mode_changed();
}

/// The bits of `SCTLR_ELx` that a model has.
fn system_mask(model: &Model) -> u64 {
    let with = |feature, bits| if model.features.has(feature) { bits } else { 0 };
    let all = sctlr::M
        | sctlr::A
        | sctlr::C
        | sctlr::SA
        | sctlr::SA0
        | sctlr::UMA
        | sctlr::I
        | sctlr::DZE
        | sctlr::UCT
        | sctlr::NTWI
        | sctlr::NTWE
        | sctlr::WXN
        | sctlr::UCI;
    all | with(Feature::Specres, sctlr::EN_RCTX)
        | with(Feature::PAuth, sctlr::EN_IA | sctlr::EN_IB | sctlr::EN_DA | sctlr::EN_DB)
        | with(Feature::Pan, sctlr::SPAN)
        | with(Feature::Bti, sctlr::BT0 | sctlr::BT1)
        | with(Feature::Ssbs, sctlr::DSSBS)
        | with(Feature::Csv22, sctlr::TSCXT)
        | with(Feature::Mops, sctlr::MSC_EN)
}

/// `SCTLR_ELx`. Big-endian data (`EE`, `E0E`) is not supported: `ID_AA64MMFR0_EL1` says so.
pub(super) fn system(cpu: &mut Cpu, register: Reg, value: u64) {
    let old = cpu.isa.sys[register];
    let mask = system_mask(&cpu.isa.config.model);
    let new = value & mask | sctlr::ONES & !mask;
    cpu.isa.sys[register] = new;
    if (old ^ new) & (sctlr::M | sctlr::WXN) != 0 {
        cpu.mmu.flush(Flush::ALL);
    }
    cpu.mode_changed();
}

/// `TTBRn_ELx` and `VTTBR_EL2`: the address space may have changed. Cached translations are kept by address space, and
/// software that changes tables within one says so.
pub(super) fn table_base(cpu: &mut Cpu, register: Reg, value: u64) {
    let old = std::mem::replace(&mut cpu.isa.sys[register], value);
    if (old ^ value) >> 48 != 0 {
        cpu.mode_changed();
    }
}

/// Other controls of translation.
pub(super) fn translation(cpu: &mut Cpu, register: Reg, value: u64) {
    let old = cpu.isa.sys[register];
    cpu.isa.sys.store(register, value);
    if cpu.isa.sys[register] != old {
        cpu.mmu.flush(Flush::ALL);
        cpu.mode_changed();
    }
}

/// `HCR_EL2`.
pub(super) fn hypervisor(cpu: &mut Cpu, register: Reg, value: u64) {
    let features = cpu.isa.config.model.features;
    let without = |feature, bits| if features.has(feature) { 0 } else { bits };
    let absent = without(Feature::Vhe, hcr::E2H)
        | without(Feature::Lor, hcr::TLOR)
        | without(Feature::Ras, hcr::TERR | hcr::TEA)
        | without(Feature::PAuth, hcr::APK | hcr::API)
        | without(Feature::S2fwb, hcr::FWB)
        | without(Feature::Csv22, hcr::EN_SCXT);
    let old = cpu.isa.sys[register];
    cpu.isa.sys.store(register, value & !absent);
    let changed = old ^ cpu.isa.sys[register];
    if changed & (hcr::DC | hcr::PTW | hcr::FWB) != 0 {
        cpu.mmu.flush(Flush::ALL);
    }
    cpu.mode_changed();
    exception::interrupts_changed(cpu);
}

/// Who may access `HCRX_EL2`.
pub(super) fn hypervisor_extended_gate(isa: &Aarch64, _: bool) -> Verdict {
    let el3 = isa.config.el3 && isa.pstate.el < 3 && isa.sys[Reg::SCR_EL3] & scr::HX_EN == 0;
    if el3 { Verdict::Trap(3) } else { Verdict::Allowed }
}

/// `SCR_EL3`. Both Security states use the same cached translations, which are dropped in between.
pub(super) fn secure(cpu: &mut Cpu, register: Reg, value: u64) {
    let old = cpu.isa.sys[register];
    cpu.isa.sys.store(register, value);
    if (old ^ value) & super::super::bits::scr::NS != 0 {
        cpu.mmu.flush(Flush::ALL);
    }
    cpu.mode_changed();
    exception::interrupts_changed(cpu);
}

/// `CPTR_EL2`, whose format depends on `HCR_EL2.E2H`.
pub(super) fn feature_traps(cpu: &mut Cpu, register: Reg, value: u64) {
    let value = if cpu.isa.sys[Reg::HCR_EL2] & hcr::E2H != 0 {
        value & (3 << cptr::FPEN_SHIFT | cptr::TCPAC)
    } else {
        value & (cptr::TFP | cptr::TCPAC) | cptr::ONES
    };
    with_context(cpu, register, value);
}

/// `MDCR_EL2` and `MDCR_EL3`.
pub(super) fn monitor_debug(cpu: &mut Cpu, register: Reg, value: u64) {
    let mask = if register == Reg::MDCR_EL2 {
        // HPMN, TPMCR, TPM, HPME, TDE, TDA, TDOSA, TDRA, HPMD
        0x1f | mdcr::TPMCR | mdcr::TPM | 1 << 7 | mdcr::TDE | mdcr::TDA | mdcr::TDOSA | mdcr::TDRA | 1 << 17
    } else {
        mdcr::TPM | mdcr::TDA | mdcr::TDOSA | mdcr::SDD | mdcr::SPME
    };
    pmu::change(cpu, |isa, _| isa.sys[register] = value & mask);
    cpu.mode_changed();
}

/// Who may access `CPACR_EL1`.
pub(super) fn cpacr_gate(isa: &Aarch64, write: bool) -> Verdict {
    let el2 = isa.below_el2() && isa.sys[Reg::CPTR_EL2] & cptr::TCPAC != 0;
    if el2 { Verdict::Trap(2) } else { cptr_gate(isa, write) }
}

/// Who may access `CPTR_EL2`.
pub(super) fn cptr_gate(isa: &Aarch64, _: bool) -> Verdict {
    let el3 = isa.below_el3() && isa.sys[Reg::CPTR_EL3] & cptr::TCPAC != 0;
    if el3 { Verdict::Trap(3) } else { Verdict::Allowed }
}

/// Registers of the reset of the highest implemented exception level, which is meant to be that of the access.
pub(super) fn reset_gate(isa: &Aarch64, _: bool) -> Verdict {
    if isa.pstate.el == isa.config.highest_el() { Verdict::Allowed } else { Verdict::Undefined }
}
