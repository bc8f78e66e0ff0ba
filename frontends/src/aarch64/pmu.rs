//! The performance monitors (DDI 0487, chapter D13 "The Performance Monitors Extension"), version 3.
//!
//! A cycle is an instruction here, so all counters follow the vCPU's count of retired instructions. Besides the cycle counter
//! there are [`EVENTS`] event counters, which know the events of [`event`]. Overflows are looked for when the exception level
//! changes, when interrupts are looked at, and at times that the alarm is set to as one draws near: the interrupt comes some
//! tens of microseconds late at most, not at the instruction.

use super::bits::mdcr;
use super::state::{Aarch64, Cpu};
use super::sysreg::{Reg, Verdict};
use crate::tally::{Tally, overflow_wait};

/// How many event counters there are.
pub const EVENTS: usize = 6;
/// The cycle counter's number in registers with a bit for each counter.
const CYCLE: u32 = 31;
/// All counters, in such registers.
pub(super) const ALL: u64 = 1 << CYCLE | ((1 << EVENTS) - 1);

/// The events that can be counted (D13.11).
pub mod event {
    /// Writes of `PMSWINC_EL0`.
    pub const SW_INCR: u64 = 0x00;
    /// Instructions.
    pub const INST_RETIRED: u64 = 0x08;
    /// Cycles.
    pub const CPU_CYCLES: u64 = 0x11;
    /// Overflows of the counter before, for odd ones.
    pub const CHAIN: u64 = 0x1e;
}

/// `PMCEID0_EL0`: the events that there are, of the first 32.
pub(super) const COMMON_EVENTS: u64 =
    1 << event::SW_INCR | 1 << event::INST_RETIRED | 1 << event::CPU_CYCLES | 1 << event::CHAIN;

/// `PMCR_EL0`: the counters are on.
const E: u64 = 1 << 0;
/// Write: event counters become zero.
const P: u64 = 1 << 1;
/// Write: the cycle counter becomes zero.
const C: u64 = 1 << 2;
/// The cycle counter stands still where counting is prohibited.
const DP: u64 = 1 << 5;
/// The cycle counter overflows 64 bits, not 32.
const LC: u64 = 1 << 6;
/// The bits that are storage; `D` and `X` do nothing.
const CONTROL: u64 = E | 1 << 3 | 1 << 4 | DP | LC;

/// `PMEVTYPER<n>_EL0` and `PMCCFILTR_EL0`: not at EL1.
const FILTER_P: u64 = 1 << 31;
/// Not at EL0.
const FILTER_U: u64 = 1 << 30;
/// Non-secure EL1: the opposite of `P` if they differ.
const FILTER_NSK: u64 = 1 << 29;
/// Non-secure EL0, likewise.
const FILTER_NSU: u64 = 1 << 28;
/// At EL2.
const FILTER_NSH: u64 = 1 << 27;
/// EL3: the opposite of `P` if they differ.
const FILTER_M: u64 = 1 << 26;
/// All of them.
const FILTERS: u64 = FILTER_P | FILTER_U | FILTER_NSK | FILTER_NSU | FILTER_NSH | FILTER_M;
/// The event.
const EVENT: u64 = 0xffff;

/// `MDCR_EL2.HPMN`: how many event counters EL1 has.
const HPMN: u64 = 0x1f;
/// `MDCR_EL2.HPME`: the others are on.
const HPME: u64 = 1 << 7;
/// `MDCR_EL2.HPMD`: no counting at EL2.
const HPMD: u64 = 1 << 17;

/// `PMUSERENR_EL0`: EL0 may do all that it could.
const USER_EN: u64 = 1 << 0;
/// EL0 may write `PMSWINC_EL0`.
const USER_SW: u64 = 1 << 1;
/// EL0 may read the cycle counter.
const USER_CR: u64 = 1 << 2;
/// EL0 may read event counters.
const USER_ER: u64 = 1 << 3;

/// The counters. What configures them is in system registers.
#[derive(Debug)]
pub(super) struct Pmu {
    events: [Tally; EVENTS],
    cycles: Tally,
    el: u8,
    /// Some counter may run.
    active: bool,
    /// The counters whose overflow is to interrupt, wherever they count.
    awaited: u64,
    /// How the interrupt is driven.
    level: bool,
}

impl Pmu {
    /// At exception level `el`, nothing runs.
    pub(super) fn new(el: u8) -> Self {
        Self {
            events: [Tally::default(); EVENTS],
            cycles: Tally::default(),
            el,
            active: false,
            awaited: 0,
            level: false,
        }
    }

    /// When it must be looked at whether a counter has overflowed.
    pub(super) fn deadline(&self, now: u64, retired: u64) -> Option<u64> {
        // Counters that stand still may run as soon as the exception level is another one. Soon enough for a cycle counter of
        // 32 bits is soon enough for one of 64.
        let awaited = |n: u32| self.awaited >> n & 1 != 0;
        let events = self.events.iter().zip(0..).filter(|&(_, n)| awaited(n)).map(|(tally, _)| tally);
        let all = events.chain(awaited(CYCLE).then_some(&self.cycles));
        let left = all.map(|tally| tally.left(32, retired)).min()?;
        Some(now.saturating_add(overflow_wait(left)))
    }
}

/// The number of an event counter from its register, which is one of a family that begins with `first`.
fn number(register: Reg, first: Reg) -> usize {
    (register as usize).saturating_sub(first as usize) % EVENTS
}

impl Aarch64 {
    fn event_type(&self, n: usize) -> u64 {
        self.sys.of_family(Reg::PMEVTYPER0_EL0, n)
    }

    fn cycle_bits(&self) -> u32 {
        if self.sys[Reg::PMCR_EL0] & LC != 0 { 64 } else { 32 }
    }

    /// Whether a counter with these filters counts where the processor is now, if any may.
    fn counts(&self, filter: u64) -> bool {
        let bit = |bit: u64| filter & bit != 0;
        let secure = self.secure_below_el3();
        match self.pmu.el {
            0 if secure || !self.config.el3 => !bit(FILTER_U),
            0 => bit(FILTER_U) == bit(FILTER_NSU),
            1 if secure || !self.config.el3 => !bit(FILTER_P),
            1 => bit(FILTER_P) == bit(FILTER_NSK),
            2 => bit(FILTER_NSH),
            _ => bit(FILTER_M) == bit(FILTER_P),
        }
    }

    /// Whether counting is prohibited where the processor is now (D13.4 "Prohibiting event and cycle counting"), for a
    /// counter of EL1's or of EL2's.
    fn prohibited(&self, of_el1: bool) -> bool {
        let secure = self.config.el3 && (self.secure_below_el3() || self.pmu.el == 3);
        secure && self.sys[Reg::MDCR_EL3] & mdcr::SPME == 0
            || self.pmu.el == 2 && of_el1 && self.sys[Reg::MDCR_EL2] & HPMD != 0
    }

    /// Brings the running counters up to date.
    fn sync_counters(&mut self, retired: u64) {
        let mut overflows = 0;
        let cycle_bits = self.cycle_bits();
        if self.pmu.cycles.sync(cycle_bits, retired) {
            overflows |= 1 << CYCLE;
        }
        for n in 0..EVENTS {
            if self.pmu.events[n].sync(32, retired) {
                overflows |= self.carry(n, retired);
            }
        }
        self.sys[Reg::PMOVSSET_EL0] |= overflows;
    }

    /// Whether event counter `n` is one that counts the overflows of the one before.
    fn is_chained(&self, n: usize) -> bool {
        !n.is_multiple_of(2) && self.event_type(n) & EVENT == event::CHAIN && self.enabled(n)
    }

    /// Event counter `n` has overflowed: counts that in a chained one. The overflow bits of both.
    fn carry(&mut self, n: usize, retired: u64) -> u64 {
        let mut overflows = 1 << n;
        if self.is_chained(n + 1) {
            let next = &mut self.pmu.events[n + 1];
            let value = next.read(retired) & 0xffff_ffff;
            next.set(value + 1, retired);
            overflows |= u64::from(value == 0xffff_ffff) << (n + 1);
        }
        overflows
    }

    /// The counters that EL1 has.
    fn of_el1(&self) -> u64 {
        let events =
            if self.config.el2 { (self.sys[Reg::MDCR_EL2] & HPMN).min(EVENTS as u64) } else { EVENTS as u64 };
        1 << CYCLE | ((1 << events) - 1)
    }

    /// The counters that are switched on, as far as all of EL1's or of EL2's are.
    fn switched_on(&self) -> u64 {
        let of_el1 = self.of_el1();
        let on = |on: bool, counters: u64| if on { counters } else { 0 };
        on(self.sys[Reg::PMCR_EL0] & E != 0, of_el1) | on(self.sys[Reg::MDCR_EL2] & HPME != 0, ALL & !of_el1)
    }

    /// Whether event counter `n` is switched on and may count here.
    fn enabled(&self, n: usize) -> bool {
        let of_el1 = self.of_el1() >> n & 1 != 0;
        self.switched_on() >> n & 1 != 0
            && self.sys[Reg::PMCNTENSET_EL0] >> n & 1 != 0
            && !self.prohibited(of_el1)
            && self.counts(self.event_type(n))
    }

    /// Starts and stops the counters as everything that they depend on says. They are up to date.
    fn settle_counters(&mut self, retired: u64) {
        let control = self.sys[Reg::PMCR_EL0];
        let cycles = control & E != 0
            && self.sys[Reg::PMCNTENSET_EL0] >> CYCLE & 1 != 0
            && !(control & DP != 0 && self.prohibited(true))
            && self.counts(self.sys[Reg::PMCCFILTR_EL0]);
        self.pmu.cycles.run(cycles, retired);
        for n in 0..EVENTS {
            let counted = matches!(self.event_type(n) & EVENT, event::INST_RETIRED | event::CPU_CYCLES);
            let on = counted && self.enabled(n);
            self.pmu.events[n].run(on, retired);
        }
        self.pmu.active = self.sys[Reg::PMCNTENSET_EL0] != 0;
        let awaited = self.sys[Reg::PMCNTENSET_EL0] & self.sys[Reg::PMINTENSET_EL1] & self.switched_on();
        // What a chained counter counts is the overflows of another.
        self.pmu.awaited = awaited | awaited >> 1 & 0x5555_5555;
    }

    /// The exception level or the Security state changes.
    #[inline]
    pub(super) fn count_at(&mut self, el: u8, retired: u64) {
        if self.pmu.active {
            self.sync_counters(retired);
            self.pmu.el = el;
            self.settle_counters(retired);
        } else {
            self.pmu.el = el;
        }
    }
}

/// Changes something that the counters depend on.
pub(super) fn change(cpu: &mut Cpu, apply: impl FnOnce(&mut Aarch64, u64)) {
    let retired = cpu.state.retired;
    cpu.isa.sync_counters(retired);
    apply(&mut cpu.isa, retired);
    cpu.isa.settle_counters(retired);
    drive(cpu);
    super::timer::update(cpu);
}

/// Looks for overflows, and drives the interrupt.
pub(super) fn update(cpu: &mut Cpu) {
    if cpu.isa.pmu.active {
        cpu.isa.sync_counters(cpu.state.retired);
    }
    drive(cpu);
}

fn drive(cpu: &mut Cpu) {
    let sys = &cpu.isa.sys;
    let wanted = sys[Reg::PMOVSSET_EL0] & sys[Reg::PMINTENSET_EL1] & cpu.isa.switched_on() != 0;
    if std::mem::replace(&mut cpu.isa.pmu.level, wanted) != wanted
        && let Some(line) = &cpu.isa.wiring.pmu
    {
        line.set(wanted);
    }
}

/// The counters of event registers that the processor's exception level has.
fn mine(isa: &Aarch64) -> u64 {
    if isa.below_el2() { isa.of_el1() } else { ALL }
}

/// `PMCR_EL0`.
pub(super) fn read_control(cpu: &Cpu, register: Reg) -> u64 {
    let events = u64::from((mine(&cpu.isa) & !(1 << CYCLE)).count_ones());
    cpu.isa.sys[register] | events << 11 | cpu.isa.config.model.midr & 0xff00_0000
}

pub(super) fn write_control(cpu: &mut Cpu, register: Reg, value: u64) {
    let events = mine(&cpu.isa);
    change(cpu, |isa, retired| {
        isa.sys[register] = value & CONTROL;
        if value & C != 0 {
            isa.pmu.cycles.set(0, retired);
        }
        if value & P != 0 {
            let mine = isa.pmu.events.iter_mut().enumerate().filter(|(n, _)| events >> n & 1 != 0);
            mine.for_each(|(_, tally)| tally.set(0, retired));
        }
    });
}

/// A register with a bit for each counter, of a pair that sets and clears them: what it reads as is in `set`.
fn set_of(register: Reg) -> Reg {
    match register {
        Reg::PMCNTENSET_EL0 | Reg::PMCNTENCLR_EL0 => Reg::PMCNTENSET_EL0,
        Reg::PMINTENSET_EL1 | Reg::PMINTENCLR_EL1 => Reg::PMINTENSET_EL1,
        _ => Reg::PMOVSSET_EL0,
    }
}

pub(super) fn read_bits(cpu: &Cpu, register: Reg) -> u64 {
    let set = set_of(register);
    let fresh = if set == Reg::PMOVSSET_EL0 { fresh_overflows(cpu) } else { 0 };
    (cpu.isa.sys[set] | fresh) & mine(&cpu.isa)
}

/// Overflows that nobody has looked for yet.
fn fresh_overflows(cpu: &Cpu) -> u64 {
    let (pmu, retired) = (&cpu.isa.pmu, cpu.state.retired);
    let over = |tally: &Tally, bits| {
        let mut tally = *tally;
        u64::from(tally.sync(bits, retired))
    };
    let mut events = pmu.events.iter().enumerate().fold(0, |all, (n, tally)| all | over(tally, 32) << n);
    for n in (1..EVENTS).filter(|&n| fresh_carry(cpu, n)) {
        events |= u64::from(pmu.events[n].left(32, retired) == 0) << n;
    }
    events | over(&pmu.cycles, cpu.isa.cycle_bits()) << CYCLE
}

/// Whether chained counter `n` has not yet counted an overflow.
fn fresh_carry(cpu: &Cpu, n: usize) -> bool {
    cpu.isa.is_chained(n) && { cpu.isa.pmu.events[n - 1] }.sync(32, cpu.state.retired)
}

pub(super) fn set_bits(cpu: &mut Cpu, register: Reg, value: u64) {
    let bits = value & mine(&cpu.isa);
    change(cpu, |isa, _| isa.sys[set_of(register)] |= bits);
}

pub(super) fn clear_bits(cpu: &mut Cpu, register: Reg, value: u64) {
    let bits = value & mine(&cpu.isa);
    change(cpu, |isa, _| isa.sys[set_of(register)] &= !bits);
}

/// `PMSWINC_EL0`.
pub(super) fn increment(cpu: &mut Cpu, _: Reg, value: u64) {
    let bits = value & mine(&cpu.isa);
    change(cpu, |isa, retired| {
        for n in (0..EVENTS).filter(|n| bits >> n & 1 != 0) {
            if isa.event_type(n) & EVENT != event::SW_INCR || !isa.enabled(n) {
                continue;
            }
            let value = isa.pmu.events[n].read(retired) & 0xffff_ffff;
            isa.pmu.events[n].set((value + 1) & 0xffff_ffff, retired);
            if value == 0xffff_ffff {
                isa.sys[Reg::PMOVSSET_EL0] |= isa.carry(n, retired);
            }
        }
    });
}

/// `PMCCNTR_EL0`.
pub(super) fn read_cycles(cpu: &Cpu, _: Reg) -> u64 {
    cpu.isa.pmu.cycles.read(cpu.state.retired)
}

pub(super) fn write_cycles(cpu: &mut Cpu, _: Reg, value: u64) {
    change(cpu, |isa, retired| isa.pmu.cycles.set(value, retired));
}

/// The cycle counter's filters.
pub(super) fn write_filter(cpu: &mut Cpu, register: Reg, value: u64) {
    change(cpu, |isa, _| isa.sys[register] = value & FILTERS);
}

/// `PMEVCNTR<n>_EL0`.
pub(super) fn read_count(cpu: &Cpu, register: Reg) -> u64 {
    let n = number(register, Reg::PMEVCNTR0_EL0);
    let value = cpu.isa.pmu.events[n].read(cpu.state.retired).wrapping_add(fresh_carry(cpu, n).into());
    value & 0xffff_ffff
}

pub(super) fn write_count(cpu: &mut Cpu, register: Reg, value: u64) {
    let n = number(register, Reg::PMEVCNTR0_EL0);
    change(cpu, |isa, retired| isa.pmu.events[n].set(value & 0xffff_ffff, retired));
}

/// `PMEVTYPER<n>_EL0`.
pub(super) fn write_type(cpu: &mut Cpu, register: Reg, value: u64) {
    change(cpu, |isa, _| isa.sys[register] = value & (FILTERS | EVENT));
}

/// The register of the counter that `PMSELR_EL0` selects, of the family that begins with `first`.
fn selected(cpu: &Cpu, first: Reg) -> Option<Reg> {
    let n = cpu.isa.sys[Reg::PMSELR_EL0] & 0x1f;
    let exists = n < EVENTS as u64 && mine(&cpu.isa) >> n & 1 != 0;
    exists.then(|| first.plus(n as usize))
}

/// `PMXEVTYPER_EL0`.
pub(super) fn read_selected_type(cpu: &Cpu, _: Reg) -> u64 {
    let cycles = cpu.isa.sys[Reg::PMSELR_EL0] & 0x1f == u64::from(CYCLE);
    let register = if cycles { Some(Reg::PMCCFILTR_EL0) } else { selected(cpu, Reg::PMEVTYPER0_EL0) };
    register.map_or(0, |register| cpu.isa.sys[register])
}

pub(super) fn write_selected_type(cpu: &mut Cpu, _: Reg, value: u64) {
    if cpu.isa.sys[Reg::PMSELR_EL0] & 0x1f == u64::from(CYCLE) {
        write_filter(cpu, Reg::PMCCFILTR_EL0, value);
    } else if let Some(register) = selected(cpu, Reg::PMEVTYPER0_EL0) {
        write_type(cpu, register, value);
    }
}

/// `PMXEVCNTR_EL0`.
pub(super) fn read_selected_count(cpu: &Cpu, _: Reg) -> u64 {
    selected(cpu, Reg::PMEVCNTR0_EL0).map_or(0, |register| read_count(cpu, register))
}

pub(super) fn write_selected_count(cpu: &mut Cpu, _: Reg, value: u64) {
    if let Some(register) = selected(cpu, Reg::PMEVCNTR0_EL0) {
        write_count(cpu, register, value);
    }
}

fn user_may(isa: &Aarch64, bits: u64) -> Verdict {
    let user = isa.sys[Reg::PMUSERENR_EL0];
    Verdict::trap_unless(isa.pstate.el != 0 || user & (bits | USER_EN) != 0)
}

/// Who may access the registers that have no rule of their own.
pub(super) fn any(isa: &Aarch64, _: bool) -> Verdict {
    user_may(isa, 0)
}

/// Who may write `PMSWINC_EL0`.
pub(super) fn software_increment(isa: &Aarch64, _: bool) -> Verdict {
    user_may(isa, USER_SW)
}

/// Who may access the cycle counter.
pub(super) fn cycle_counter(isa: &Aarch64, write: bool) -> Verdict {
    user_may(isa, if write { 0 } else { USER_CR })
}

/// Who may access event counters.
pub(super) fn event_counter(isa: &Aarch64, write: bool) -> Verdict {
    user_may(isa, if write { 0 } else { USER_ER })
}

/// Who may access `PMSELR_EL0`.
pub(super) fn selection(isa: &Aarch64, _: bool) -> Verdict {
    user_may(isa, USER_ER)
}

/// The bits of `MDCR_EL2` and `MDCR_EL3` by which most registers trap.
pub(super) const TRAPS: u64 = mdcr::TPM;
/// Those by which `PMCR_EL0` traps.
pub(super) const CONTROL_TRAPS: u64 = mdcr::TPM | mdcr::TPMCR;
