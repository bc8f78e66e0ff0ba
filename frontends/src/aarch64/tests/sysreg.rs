//! System registers: who may access which, what can be written.

use super::super::bits::{cptr, hcrx, sctlr};
use super::super::syndrome::CONDITION;
use super::super::sysreg::{changes_context, sysreg_list, sysreg_name};
use super::super::{MODELS, wait};
use super::*;

#[test]
fn levels_and_directions() {
    for (register, lowest) in [
        (Reg::TPIDR_EL0, 0),
        (Reg::SCTLR_EL1, 1),
        (Reg::ESR_EL1, 1),
        (Reg::HCR_EL2, 2),
        (Reg::SP_EL1, 2),
        (Reg::SCR_EL3, 3),
        (Reg::SP_EL2, 3),
    ] {
        for el in 0..4 {
            let mut cpu = cpu_at(el);
            let outcome = mrs(&mut cpu, register);
            assert_eq!(outcome.is_ok(), el >= lowest, "{register:?} at EL{el}: {outcome:?}");
            if el < lowest {
                assert_eq!(outcome, undefined());
                assert_eq!(msr(&mut cpu, register, 0), undefined());
            }
        }
    }
    let mut cpu = cpu_at(3);
    assert_eq!(msr(&mut cpu, Reg::MPIDR_EL1, 0), undefined(), "read-only");
    assert_eq!(mrs(&mut cpu, Reg::OSLAR_EL1), undefined(), "write-only");
    assert_eq!(call(&mut cpu, Helper::Mrs, [0xc000 | 0x7fff, 0, 0]), undefined(), "no such register");
    // An EL0 write of a register that only reads there.
    enter(&mut cpu, 0);
    assert_eq!(msr(&mut cpu, Reg::TPIDRRO_EL0, 1), undefined());
    assert_eq!(mrs(&mut cpu, Reg::TPIDRRO_EL0), Ok(0));
}

#[test]
fn names_and_list() {
    assert_eq!(sysreg_name(Reg::TTBR1_EL1.encoding()), Some("TTBR1_EL1"));
    assert_eq!(sysreg_name(super::super::helper::sysreg(3, 5, 1, 0, 0)), Some("SCTLR_EL1"), "of a host");
    assert_eq!(sysreg_name(0xffff), None);
    let cpu = cpu();
    assert!(sysreg_list(&cpu.isa).any(|(_, name)| name == "PMCCNTR_EL0"));
    assert!(!sysreg_list(&cpu.isa).any(|(_, name)| name.starts_with("TLBI") || name == "ICC_IAR1_EL1"));
}

#[test]
fn identification() {
    let mut cpu = cpu_at(1);
    // Reserved ones are zero, at EL1; at EL0 all trap.
    let reserved = u64::from(super::super::helper::sysreg(3, 0, 0, 7, 6));
    assert_eq!(call(&mut cpu, Helper::Mrs, [reserved, 0, 0]), Ok(0));
    assert_eq!(call(&mut cpu, Helper::Msr, [reserved, 0, 0]), undefined());
    assert_eq!(mrs(&mut cpu, Reg::MPIDR_EL1), Ok(1 << 31 | 2));
    enter(&mut cpu, 0);
    assert_eq!(mrs(&mut cpu, Reg::ID_AA64PFR0_EL1), trapped(Reg::ID_AA64PFR0_EL1, 0, false));
    assert!(call(&mut cpu, Helper::Mrs, [reserved, 0, 0]).is_err());
    let mut old = cpu_of(config("cortex-a57"), Wiring::default(), 1);
    set(&mut old, Reg::SCR_EL3, scr::NS);
    enter(&mut old, 0);
    assert_eq!(mrs(&mut old, Reg::ID_AA64PFR0_EL1), undefined(), "no IDST");
    // A hypervisor decides what its guests see.
    enter(&mut cpu, 1);
    set(&mut cpu, Reg::VMPIDR_EL2, 7);
    set(&mut cpu, Reg::VPIDR_EL2, 0x1234);
    assert_eq!(mrs(&mut cpu, Reg::MPIDR_EL1), Ok(1 << 31 | 7));
    assert_eq!(mrs(&mut cpu, Reg::MIDR_EL1), Ok(0x1234));
    let base = get(&cpu, Reg::HCR_EL2);
    for (bit, register) in [
        (hcr::TID1, Reg::AIDR_EL1),
        (hcr::TID2, Reg::CTR_EL0),
        (hcr::TID3, Reg::ID_AA64MMFR1_EL1),
        (hcr::TACR, Reg::ACTLR_EL1),
    ] {
        assert!(mrs(&mut cpu, register).is_ok(), "{register:?}");
        set(&mut cpu, Reg::HCR_EL2, base | bit);
        assert_eq!(mrs(&mut cpu, register), trapped(register, 2, false));
        enter(&mut cpu, 2);
        assert!(mrs(&mut cpu, register).is_ok(), "{register:?}");
        enter(&mut cpu, 1);
        set(&mut cpu, Reg::HCR_EL2, base);
    }
}

/// Field `shift` of an identification register.
fn id(cpu: &Cpu, register: Reg, shift: u32) -> u64 {
    get(cpu, register) >> shift & 0xf
}

#[test]
fn models_say_what_they_have() {
    for model in MODELS {
        let mut config = config(model.name);
        (config.el2, config.el3) = (true, false);
        let cpu = cpu_of(config, Wiring::default(), 1);
        assert_eq!(get(&cpu, Reg::ID_AA64PFR0_EL1) & 0xffff, 0x0111, "{}: EL3 to EL0", model.name);
        assert_eq!(id(&cpu, Reg::ID_AA64PFR0_EL1, 24), 0, "no CPU interface");
        assert_eq!(id(&cpu, Reg::ID_AA64MMFR0_EL1, 8), 0, "no big-endian data");
        let newest = model.name == "max";
        for (register, shift, with) in [
            (Reg::ID_AA64PFR0_EL1, 16, 1),  // FP16
            (Reg::ID_AA64PFR0_EL1, 56, 3),  // CSV2
            (Reg::ID_AA64PFR0_EL1, 60, 1),  // CSV3
            (Reg::ID_AA64PFR1_EL1, 0, 1),   // BTI
            (Reg::ID_AA64ISAR0_EL1, 20, 2), // LSE
            (Reg::ID_AA64ISAR0_EL1, 56, 2), // TLBI ranges
            (Reg::ID_AA64ISAR1_EL1, 8, 1),  // pointer authentication
            (Reg::ID_AA64MMFR1_EL1, 0, 2),  // HAFDBS
            (Reg::ID_AA64MMFR1_EL1, 8, 1),  // VHE
            (Reg::ID_AA64MMFR2_EL1, 60, 1), // E0PD
        ] {
            if newest {
                assert_eq!(id(&cpu, register, shift), with, "{register:?} {shift}");
            } else if model.name == "cortex-a57" {
                assert_eq!(id(&cpu, register, shift), 0, "{register:?} {shift}");
            }
        }
        // Never there: SVE, memory tagging, LSE2.
        let absent = [(Reg::ID_AA64PFR0_EL1, 32), (Reg::ID_AA64PFR1_EL1, 8), (Reg::ID_AA64MMFR2_EL1, 32)];
        assert!(absent.iter().all(|&(register, shift)| id(&cpu, register, shift) == 0));
    }
    // What a model lacks is undefined.
    let mut old = cpu_of(config("cortex-a57"), Wiring::default(), 1);
    for register in [Reg::PAN, Reg::APIAKeyLo_EL1, Reg::TTBR1_EL2, Reg::SSBS, Reg::CNTHV_CTL_EL2] {
        assert_eq!(mrs(&mut old, register), undefined(), "{register:?}");
    }
    assert_eq!(sys(&mut old, Reg::TLBI_RVAE1IS, 0), undefined());
}

#[test]
fn reserved_bits_stay() {
    let mut cpu = cpu();
    for (register, written, read) in [
        (Reg::VBAR_EL1, u64::MAX, !0x7ff),
        (Reg::SPSR_EL1, u64::MAX, 0xf1f0_1fdf),
        (Reg::CPACR_EL1, u64::MAX, 3 << 20),
        (Reg::CONTEXTIDR_EL1, u64::MAX, 0xffff_ffff),
        (Reg::HCR_EL2, 0, hcr::RW),
        (Reg::CNTP_CTL_EL0, 0xf8, 0),
        (Reg::SCTLR_EL1, 0, sctlr::ONES & !(sctlr::SPAN | sctlr::TSCXT)),
        (Reg::ACTLR_EL1, u64::MAX, 0),
    ] {
        set(&mut cpu, register, written);
        assert_eq!(get(&cpu, register), read, "{register:?}");
    }
    assert_eq!(get(&cpu, Reg::CTR_EL0) & (3 << 28), 3 << 28, "no cache maintenance is needed for code");
}

#[test]
fn controls_of_memory_trap() {
    let mut cpu = cpu_at(1);
    let base = get(&cpu, Reg::HCR_EL2);
    for register in [Reg::SCTLR_EL1, Reg::TTBR0_EL1, Reg::TCR_EL1, Reg::MAIR_EL1, Reg::CONTEXTIDR_EL1] {
        set(&mut cpu, Reg::HCR_EL2, base | hcr::TVM);
        assert_eq!(msr(&mut cpu, register, 0), trapped(register, 2, true));
        assert!(mrs(&mut cpu, register).is_ok());
        set(&mut cpu, Reg::HCR_EL2, base | hcr::TRVM);
        assert_eq!(mrs(&mut cpu, register), trapped(register, 2, false));
        // In Secure state there is no EL2.
        let secure = get(&cpu, Reg::SCR_EL3);
        set(&mut cpu, Reg::SCR_EL3, secure & !scr::NS);
        assert!(mrs(&mut cpu, register).is_ok());
        set(&mut cpu, Reg::SCR_EL3, secure);
    }
    set(&mut cpu, Reg::HCR_EL2, base | hcr::TTLB);
    assert_eq!(sys(&mut cpu, Reg::TLBI_VMALLE1IS, 0), trapped(Reg::TLBI_VMALLE1IS, 2, true));
    set(&mut cpu, Reg::HCR_EL2, base | hcr::TIDCP);
    let own = u64::from(super::super::helper::sysreg(3, 0, 15, 0, 0));
    assert!(
        matches!(call(&mut cpu, Helper::Mrs, [own, 0, 0]), Err(Stop::Exception(e)) if e.cause >> 32 == 2)
    );
    set(&mut cpu, Reg::HCR_EL2, base);
    assert_eq!(call(&mut cpu, Helper::Mrs, [own, 0, 0]), undefined());
}

#[test]
fn el0_needs_permission() {
    let mut cpu = cpu_at(0);
    for (register, bit, write) in [
        (Reg::CTR_EL0, sctlr::UCT, false),
        (Reg::DAIF, sctlr::UMA, false),
        (Reg::DC_CVAU, sctlr::UCI, true),
        (Reg::IC_IVAU, sctlr::UCI, true),
        (Reg::DC_ZVA, sctlr::DZE, true),
    ] {
        let access = |cpu: &mut Cpu| if write { sys(cpu, register, RAM) } else { mrs(cpu, register) };
        set(&mut cpu, Reg::SCTLR_EL1, 0);
        assert_eq!(access(&mut cpu), trapped(register, 1, write), "{register:?}");
        set(&mut cpu, Reg::SCTLR_EL1, bit);
        assert!(access(&mut cpu).is_ok(), "{register:?}");
    }
    for (register, control, bits) in [
        (Reg::CNTVCT_EL0, Reg::CNTKCTL_EL1, 1 << 1),
        (Reg::CNTPCT_EL0, Reg::CNTKCTL_EL1, 1),
        (Reg::CNTFRQ_EL0, Reg::CNTKCTL_EL1, 1),
        (Reg::CNTV_CTL_EL0, Reg::CNTKCTL_EL1, 1 << 8),
        (Reg::CNTP_CVAL_EL0, Reg::CNTKCTL_EL1, 1 << 9),
        (Reg::PMCCNTR_EL0, Reg::PMUSERENR_EL0, 1),
        (Reg::PMCCNTR_EL0, Reg::PMUSERENR_EL0, 1 << 2),
        (Reg::PMEVCNTR1_EL0, Reg::PMUSERENR_EL0, 1 << 3),
        (Reg::PMCR_EL0, Reg::PMUSERENR_EL0, 1),
    ] {
        set(&mut cpu, control, 0);
        assert_eq!(mrs(&mut cpu, register), trapped(register, 1, false));
        set(&mut cpu, control, bits);
        assert!(mrs(&mut cpu, register).is_ok(), "{register:?}");
    }
    assert_eq!(msr(&mut cpu, Reg::CNTFRQ_EL0, 0), undefined());
}

#[test]
fn floating_point_traps_to_whoever_wants_it() {
    let fp = || Err(Stop::Exception(Exception::new(syndrome(class::FP_ACCESS, CONDITION).into(), 0)));
    let mut cpu = cpu_at(1);
    let target_of = |cpu: &Cpu| cpu.isa.fp_trap();
    set(&mut cpu, Reg::CPACR_EL1, 0);
    assert_eq!((mrs(&mut cpu, Reg::FPCR), target_of(&cpu)), (fp(), Some(1)));
    assert!(!cpu.isa.context().fp_on);
    set(&mut cpu, Reg::CPACR_EL1, 1 << 20);
    assert_eq!((mrs(&mut cpu, Reg::FPCR), target_of(&cpu)), (Ok(0), None));
    enter(&mut cpu, 0);
    assert_eq!(target_of(&cpu), Some(1));
    set(&mut cpu, Reg::CPACR_EL1, 3 << 20);
    assert_eq!(target_of(&cpu), None);
    set(&mut cpu, Reg::CPTR_EL2, cptr::TFP);
    assert_eq!(target_of(&cpu), Some(2));
    set(&mut cpu, Reg::CPTR_EL2, 0);
    set(&mut cpu, Reg::CPTR_EL3, cptr::TFP);
    assert_eq!(target_of(&cpu), Some(3));
    enter(&mut cpu, 3);
    assert_eq!(mrs(&mut cpu, Reg::FPSR), fp());
    // A host's register has the format of EL1's.
    set(&mut cpu, Reg::CPTR_EL3, 0);
    set(&mut cpu, Reg::HCR_EL2, hcr::E2H | hcr::TGE);
    enter(&mut cpu, 2);
    set(&mut cpu, Reg::CPTR_EL2, 1 << 20);
    assert_eq!(target_of(&cpu), None);
    enter(&mut cpu, 0);
    assert_eq!(target_of(&cpu), Some(2));
}

#[test]
fn memory_operations_must_be_enabled() {
    let on = |cpu: &mut Cpu, el: u8| {
        enter(cpu, el);
        cpu.isa.context().mops
    };
    let mut cpu = cpu_at(2);
    set(&mut cpu, Reg::SCTLR_EL1, sctlr::MSC_EN);
    assert_eq!([0, 1, 2, 3].map(|el| on(&mut cpu, el)), [false, false, true, true]);
    set(&mut cpu, Reg::HCRX_EL2, hcrx::MSC_EN);
    assert_eq!([0, 1].map(|el| on(&mut cpu, el)), [true, true]);
    set(&mut cpu, Reg::SCTLR_EL1, 0);
    assert_eq!([0, 1].map(|el| on(&mut cpu, el)), [false, true]);
    // A host's EL0 is its own.
    set(&mut cpu, Reg::HCRX_EL2, 0);
    set(&mut cpu, Reg::HCR_EL2, hcr::E2H | hcr::TGE);
    assert!(!on(&mut cpu, 0));
    set(&mut cpu, Reg::SCTLR_EL2, sctlr::MSC_EN);
    assert!(on(&mut cpu, 0));
    // EL3 disables the register.
    set(&mut cpu, Reg::HCR_EL2, 0);
    set(&mut cpu, Reg::HCRX_EL2, hcrx::MSC_EN);
    let secure = get(&cpu, Reg::SCR_EL3);
    set(&mut cpu, Reg::SCR_EL3, secure & !scr::HX_EN);
    assert!(!on(&mut cpu, 1));
    enter(&mut cpu, 2);
    assert_eq!(mrs(&mut cpu, Reg::HCRX_EL2), trapped(Reg::HCRX_EL2, 3, false));
}

#[test]
fn a_host_means_its_own_registers() {
    let mut cpu = cpu_at(2);
    set(&mut cpu, Reg::VBAR_EL1, 0x1000);
    set(&mut cpu, Reg::VBAR_EL2, 0x2000);
    let alias = |reg: Reg| u64::from(reg.encoding() & !(7 << 11) | 5 << 11);
    let el12 = alias(Reg::VBAR_EL1);
    assert_eq!(mrs(&mut cpu, Reg::VBAR_EL1), Ok(0x1000));
    assert_eq!(call(&mut cpu, Helper::Mrs, [el12, 0, 0]), undefined());
    let base = get(&cpu, Reg::HCR_EL2);
    set(&mut cpu, Reg::HCR_EL2, base | hcr::E2H);
    assert_eq!(mrs(&mut cpu, Reg::VBAR_EL1), Ok(0x2000));
    assert_eq!(call(&mut cpu, Helper::Mrs, [el12, 0, 0]), Ok(0x1000));
    assert_eq!(call(&mut cpu, Helper::Msr, [el12, 0x3000, 0]), Ok(0));
    assert_eq!((get(&cpu, Reg::VBAR_EL1), get(&cpu, Reg::VBAR_EL2)), (0x3000, 0x2000));
    msr(&mut cpu, Reg::CNTV_CVAL_EL0, 77).unwrap();
    assert_eq!((get(&cpu, Reg::CNTHV_CVAL_EL2), get(&cpu, Reg::CNTV_CVAL_EL0)), (77, 0));
    // Its guest means those of EL1.
    enter(&mut cpu, 1);
    assert_eq!(mrs(&mut cpu, Reg::VBAR_EL1), Ok(0x3000));
    assert_eq!(call(&mut cpu, Helper::Mrs, [el12, 0, 0]), undefined());
}

#[test]
fn stack_pointers() {
    let mut cpu = cpu_at(1);
    set(&mut cpu, Reg::SP_EL0, 0x100);
    cpu.state.slots[usize::from(super::super::SP)] = 0x200;
    assert_eq!(mrs(&mut cpu, Reg::SP_EL0), Ok(0x100));
    msr(&mut cpu, Reg::SPSel, 0).unwrap();
    assert_eq!(cpu.state.slots[usize::from(super::super::SP)], 0x100);
    assert_eq!(mrs(&mut cpu, Reg::SP_EL0), undefined(), "it is in use");
    assert!(!cpu.isa.context().sp_sel);
    cpu.state.slots[usize::from(super::super::SP)] = 0x110;
    wait::msr_immediate(&mut cpu, 0o05, 1).unwrap();
    assert_eq!(cpu.state.slots[usize::from(super::super::SP)], 0x200);
    assert_eq!(mrs(&mut cpu, Reg::SP_EL0), Ok(0x110));
    enter(&mut cpu, 2);
    assert_eq!(mrs(&mut cpu, Reg::SP_EL1), Ok(0x200));
}

#[test]
fn msr_immediate() {
    let mut cpu = cpu_at(1);
    let write = |cpu: &mut Cpu, field: u64, value: u64| call(cpu, Helper::MsrImmediate, [field, value, 0]);
    assert_eq!(write(&mut cpu, 0o37, 0xf), Ok(0));
    assert_eq!(cpu.isa.pstate().daif, 0);
    assert_eq!(write(&mut cpu, 0o36, 0b0110), Ok(0));
    assert_eq!(mrs(&mut cpu, Reg::DAIF), Ok(0b0110 << 6));
    write(&mut cpu, 0o04, 1).unwrap();
    write(&mut cpu, 0o03, 1).unwrap();
    write(&mut cpu, 0o31, 1).unwrap();
    write(&mut cpu, 0o32, 1).unwrap();
    let pstate = *cpu.isa.pstate();
    assert!(pstate.pan && pstate.uao && pstate.ssbs && pstate.dit);
    enter(&mut cpu, 0);
    assert_eq!(write(&mut cpu, 0o04, 0), undefined());
    assert_eq!(write(&mut cpu, 0o32, 0), Ok(0));
    assert!(write(&mut cpu, 0o36, 1).is_err(), "UMA");
    set(&mut cpu, Reg::SCTLR_EL1, sctlr::UMA);
    assert_eq!(write(&mut cpu, 0o36, 1), Ok(0));
}

#[test]
fn the_cpu_interface_is_the_controllers() {
    let wiring = Wiring { gic: Some(Box::new(Mirror)), ..Wiring::default() };
    let mut cpu = cpu_of(config("max"), wiring, 1);
    assert_eq!(get(&cpu, Reg::ID_AA64PFR0_EL1) >> 24 & 0xf, 1);
    let seen = |el: u8, secure, shifted, virt| Ok(Mirror::seen(Requester { el, secure, shifted, virt }));
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR1_EL1), seen(3, true, false, false));
    assert_eq!(mrs(&mut cpu, Reg::ICC_AP1R3_EL1), undefined(), "the controller does not have it");
    set(&mut cpu, Reg::SCR_EL3, scr::NS);
    enter(&mut cpu, 1);
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR1_EL1), seen(1, false, false, false));
    set(&mut cpu, Reg::SCR_EL3, scr::NS | scr::FIQ);
    assert_eq!(mrs(&mut cpu, Reg::ICC_PMR_EL1), seen(1, false, true, false));
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR0_EL1), trapped(Reg::ICC_IAR0_EL1, 3, false));
    set(&mut cpu, Reg::HCR_EL2, hcr::IMO);
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR1_EL1), seen(1, false, true, true));
    assert_eq!(msr(&mut cpu, Reg::ICC_SGI1R_EL1, 0), trapped(Reg::ICC_SGI1R_EL1, 2, true));
    enter(&mut cpu, 0);
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR1_EL1), undefined());
    // Without a controller there is nothing.
    let mut cpu = cpu_at(1);
    assert_eq!(mrs(&mut cpu, Reg::ICC_IAR1_EL1), undefined());
}

#[test]
fn random_numbers_set_the_flags() {
    let mut numbers = vec![5u64];
    let wiring = Wiring { random: Some(Box::new(move || numbers.pop())), ..Wiring::default() };
    let mut cpu = cpu_of(config("max"), wiring, 1);
    let flags = |cpu: &Cpu| cpu.state.slots[usize::from(super::super::NZCV)];
    assert_eq!((call(&mut cpu, Helper::Random, [0; 3]), flags(&cpu)), (Ok(5), 0));
    assert_eq!((call(&mut cpu, Helper::Random, [0; 3]), flags(&cpu)), (Ok(0), 1 << 30));
}

/// A block must end after whatever changes what it depends on.
#[test]
fn writes_that_change_the_context_are_marked() {
    for (el, hypervisor) in [(1, 0), (2, 0), (2, hcr::E2H), (2, hcr::E2H | hcr::TGE), (3, 0)] {
        let mut cpu = cpu_at(el);
        let base = get(&cpu, Reg::HCR_EL2);
        set(&mut cpu, Reg::HCR_EL2, base | hypervisor);
        let encodings: Vec<_> = sysreg_list(&cpu.isa).map(|(encoding, _)| encoding).collect();
        for encoding in encodings.into_iter().filter(|&encoding| !changes_context(encoding)) {
            // `TCR_EL1` for 48 bits of addresses, and then some.
            let more = [0, 16 << 16 | 16, 3 << 37 | 16 << 16 | 16, u64::MAX];
            for value in (0..64).map(|bit| 1 << bit).chain(more) {
                let before = cpu.isa.context();
                sysreg_write_debug(&mut cpu, encoding, value);
                assert_eq!(cpu.isa.context(), before, "{:?} = {value:#x} at EL{el}", sysreg_name(encoding));
            }
        }
    }
}
