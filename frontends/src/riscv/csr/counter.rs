//! Counters as all modes see them, the registers that set them up, and the supervisor timer.

use super::super::Privilege;
use super::super::bits::envcfg;
use super::super::counters::{CYCLE, INSTRET, TIME};
use super::super::ext::Ext;
use super::super::state::{Hart, Riscv};
use super::super::trap;
use super::{Csr, after_this, counter_enabled, ignore};

pub(super) const CSRS: &[Csr] = &[
    Csr::new(0xc00, "cycle", read, ignore).needs(Ext::Zicntr).gated(counter_enabled),
    Csr::new(0xc01, "time", |hart, _| hart.isa.time_at(hart.clock.now_ns()), ignore)
        .needs(Ext::Zicntr)
        .gated(counter_enabled),
    Csr::new(0xc02, "instret", read, ignore).needs(Ext::Zicntr).gated(counter_enabled),
    Csr::new(0xc03, "hpmcounter", read, ignore).run(0xc00, 0xc1f).needs(Ext::Zihpm).gated(counter_enabled),
    Csr::new(0xb00, "mcycle", read, write).needs(Ext::Zicntr),
    Csr::new(0xb02, "minstret", read, write).needs(Ext::Zicntr),
    Csr::new(0xb03, "mhpmcounter", read, write).run(0xb00, 0xb1f).needs(Ext::Zihpm),
    Csr::new(
        0x320,
        "mcountinhibit",
        |hart, _| hart.isa.counters.inhibit().into(),
        |hart, _, value| {
            let retired = after_this(hart);
            hart.isa.counters.set_inhibit(value as u32, retired); // the upper half is zero
            trap::update_timer(hart);
        },
    ),
    Csr::new(
        0x323,
        "mhpmevent",
        |hart, number| hart.isa.counters.event(counter(number)),
        |hart, number, value| {
            let retired = after_this(hart);
            hart.isa.counters.set_event(counter(number), value, retired);
            trap::update_timer(hart);
        },
    )
    .run(0x320, 0x33f)
    .needs(Ext::Zihpm),
    Csr::new(
        0x306,
        "mcounteren",
        |hart, _| hart.isa.csr.mcounteren,
        |hart, _, value| hart.isa.csr.mcounteren = value & enable_mask(&hart.isa),
    ),
    Csr::new(
        0x106,
        "scounteren",
        |hart, _| hart.isa.csr.scounteren,
        |hart, _, value| hart.isa.csr.scounteren = value & enable_mask(&hart.isa),
    ),
    Csr::new(
        0x14d,
        "stimecmp",
        |hart, _| hart.isa.csr.stimecmp,
        |hart, _, value| {
            hart.isa.csr.stimecmp = value;
            trap::update_timer(hart);
            trap::interrupts_changed(hart);
        },
    )
    .needs(Ext::Sstc)
    .gated(stimer_enabled),
    Csr::new(0xda0, "scountovf", |hart, _| overflows(hart), ignore).needs(Ext::Sscofpmf),
];

fn counter(number: u16) -> usize {
    usize::from(number & 0x1f)
}

fn read(hart: &Hart, number: u16) -> u64 {
    hart.isa.counters.read(counter(number), hart.state.retired)
}

fn write(hart: &mut Hart, number: u16, value: u64) {
    let retired = after_this(hart);
    hart.isa.counters.write(counter(number), value, retired);
    trap::update_timer(hart);
}

/// The counters that lower modes can be given.
pub(super) fn enable_mask(isa: &Riscv) -> u64 {
    let fixed = 1 << CYCLE | 1 << TIME | 1 << INSTRET;
    let zicntr = if isa.has(Ext::Zicntr) { u64::MAX } else { !fixed };
    (u64::from(isa.counters.implemented()) | fixed) & zicntr
}

fn stimer_enabled(isa: &Riscv, _: u16) -> bool {
    isa.privilege == Privilege::Machine
        || isa.csr.menvcfg & envcfg::STCE != 0 && isa.csr.mcounteren >> TIME & 1 != 0
}

/// S-mode sees the bits of the counters that it has been given.
fn overflows(hart: &Hart) -> u64 {
    let all = u64::from(hart.isa.counters.overflows());
    if hart.isa.privilege == Privilege::Machine { all } else { all & hart.isa.csr.mcounteren }
}
