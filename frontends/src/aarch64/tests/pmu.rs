//! Performance monitors.

use super::*;

const CYCLE: u64 = 1 << 31;
/// Instructions, where nothing is filtered; EL2, too.
const INSTRUCTIONS: u64 = 8 | 1 << 27;

fn counting(wire: &Wire) -> Cpu {
    let wiring = Wiring { pmu: Some(wire.line(23)), ..Wiring::default() };
    let mut cpu = cpu_of(config("max"), wiring, 1);
    set(&mut cpu, Reg::SCR_EL3, scr::NS | scr::HCE);
    set(&mut cpu, Reg::MDCR_EL2, 6);
    enter(&mut cpu, 1);
    cpu.isa.count_at(1, 0);
    cpu
}

#[test]
fn counters_count_and_overflow() {
    let wire = Wire::default();
    let mut cpu = counting(&wire);
    msr(&mut cpu, Reg::PMEVTYPER0_EL0, INSTRUCTIONS).unwrap();
    msr(&mut cpu, Reg::PMCNTENSET_EL0, 1 | CYCLE).unwrap();
    cpu.state.retired += 100;
    assert_eq!(mrs(&mut cpu, Reg::PMEVCNTR0_EL0), Ok(0), "they are off");
    msr(&mut cpu, Reg::PMCR_EL0, 1 | 1 << 6).unwrap();
    cpu.state.retired += 100;
    assert_eq!(mrs(&mut cpu, Reg::PMEVCNTR0_EL0), Ok(100));
    msr(&mut cpu, Reg::PMEVCNTR0_EL0, 0xffff_fff0).unwrap();
    msr(&mut cpu, Reg::PMINTENSET_EL1, 1).unwrap();
    cpu.state.retired += 0x20;
    assert_eq!(mrs(&mut cpu, Reg::PMOVSSET_EL0), Ok(1));
    assert_eq!(mrs(&mut cpu, Reg::PMEVCNTR0_EL0), Ok(0x10));
    let _ = Aarch64::pending_interrupt(&mut cpu);
    msr(&mut cpu, Reg::PMCR_EL0, 1 | 1 << 6).unwrap();
    assert_eq!(wire.levels(), 1 << 23);
    msr(&mut cpu, Reg::PMOVSCLR_EL0, 1).unwrap();
    assert_eq!(wire.levels(), 0);
    // P resets event counters, C the cycle counter.
    msr(&mut cpu, Reg::PMCR_EL0, 1 | 1 << 6 | 1 << 1).unwrap();
    assert_eq!(mrs(&mut cpu, Reg::PMEVCNTR0_EL0), Ok(0));
    assert_ne!(mrs(&mut cpu, Reg::PMCCNTR_EL0), Ok(0));
    msr(&mut cpu, Reg::PMCR_EL0, 1 | 1 << 6 | 1 << 2).unwrap();
    assert_eq!(mrs(&mut cpu, Reg::PMCCNTR_EL0), Ok(0));
}

#[test]
fn filters_and_software_increments() {
    let mut cpu = counting(&Wire::default());
    msr(&mut cpu, Reg::PMCR_EL0, 1).unwrap();
    for (el, filter, counts) in [
        (0, 0, true),
        (0, 1 << 30, false),
        (1, 0, true),
        (1, 1 << 31, false),
        (2, 0, false),
        (2, 1 << 27, true),
    ] {
        enter(&mut cpu, 1);
        msr(&mut cpu, Reg::PMEVTYPER1_EL0, 8 | filter).unwrap();
        msr(&mut cpu, Reg::PMCNTENSET_EL0, 2).unwrap();
        msr(&mut cpu, Reg::PMEVCNTR1_EL0, 0).unwrap();
        enter(&mut cpu, el);
        let retired = cpu.state.retired;
        cpu.isa.count_at(el, retired);
        cpu.state.retired += 10;
        assert_eq!(get(&cpu, Reg::PMEVCNTR1_EL0), if counts { 10 } else { 0 }, "EL{el} {filter:#x}");
        let retired = cpu.state.retired;
        cpu.isa.count_at(1, retired);
    }
    enter(&mut cpu, 1);
    msr(&mut cpu, Reg::PMEVTYPER2_EL0, 0).unwrap();
    msr(&mut cpu, Reg::PMCNTENSET_EL0, 4).unwrap();
    msr(&mut cpu, Reg::PMSWINC_EL0, 4).unwrap();
    assert_eq!(mrs(&mut cpu, Reg::PMEVCNTR2_EL0), Ok(1));
    // A hypervisor keeps some for itself.
    set(&mut cpu, Reg::MDCR_EL2, 2);
    assert_eq!(mrs(&mut cpu, Reg::PMCR_EL0).unwrap() >> 11 & 0x1f, 2);
}
