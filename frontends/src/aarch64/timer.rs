//! The generic timer (DDI 0487, chapter D12 "The Generic Timer in AArch64 state").
//!
//! All timers compare with one counter, which is the machine's clock. Their outputs are level-sensitive private interrupts.
//! A timer is looked at when software touches it and when the machine's alarm, armed for the next one that is due, has the
//! processor look at its interrupts.

use emu_core::time::{ns_to_ticks, ticks_to_ns};

use super::bits::{hcr, scr};
use super::state::{Aarch64, Cpu};
use super::sysreg::{Reg, Verdict};

/// Wakes a processor at a time.
pub trait Alarm: Send {
    /// Makes the machine call [`emu_core::sync::Port::interrupt`] at this machine time (ns), in place of any earlier one.
    fn arm(&self, deadline: Option<u64>);
}

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The physical timer of EL1 and EL0.
    Physical,
    /// The virtual timer.
    Virtual,
    /// The physical timer of EL2.
    HypPhysical,
    /// The virtual timer of EL2.
    HypVirtual,
    /// The physical timer of Secure EL1.
    Secure,
}

impl Timer {
    /// All timers.
    pub const ALL: [Self; 5] =
        [Self::Physical, Self::Virtual, Self::HypPhysical, Self::HypVirtual, Self::Secure];

    /// The number of its interrupt, as the Server Base System Architecture recommends it (DEN0029, "PE timers").
    pub const fn interrupt(self) -> u32 {
        match self {
            Self::Physical => 30,
            Self::Virtual => 27,
            Self::HypPhysical => 26,
            Self::HypVirtual => 28,
            Self::Secure => 29,
        }
    }

    const fn control(self) -> Reg {
        match self {
            Self::Physical => Reg::CNTP_CTL_EL0,
            Self::Virtual => Reg::CNTV_CTL_EL0,
            Self::HypPhysical => Reg::CNTHP_CTL_EL2,
            Self::HypVirtual => Reg::CNTHV_CTL_EL2,
            Self::Secure => Reg::CNTPS_CTL_EL1,
        }
    }

    const fn compare(self) -> Reg {
        match self {
            Self::Physical => Reg::CNTP_CVAL_EL0,
            Self::Virtual => Reg::CNTV_CVAL_EL0,
            Self::HypPhysical => Reg::CNTHP_CVAL_EL2,
            Self::HypVirtual => Reg::CNTHV_CVAL_EL2,
            Self::Secure => Reg::CNTPS_CVAL_EL1,
        }
    }

    /// The timer that a control, compare or value register belongs to.
    fn of(register: Reg) -> Self {
        match register {
            Reg::CNTP_CTL_EL0 | Reg::CNTP_CVAL_EL0 | Reg::CNTP_TVAL_EL0 => Self::Physical,
            Reg::CNTV_CTL_EL0 | Reg::CNTV_CVAL_EL0 | Reg::CNTV_TVAL_EL0 => Self::Virtual,
            Reg::CNTHP_CTL_EL2 | Reg::CNTHP_CVAL_EL2 | Reg::CNTHP_TVAL_EL2 => Self::HypPhysical,
            Reg::CNTHV_CTL_EL2 | Reg::CNTHV_CVAL_EL2 | Reg::CNTHV_TVAL_EL2 => Self::HypVirtual,
            _ => Self::Secure,
        }
    }
}

/// Control registers: the timer runs.
const ENABLE: u64 = 1 << 0;
/// Its output is masked.
const IMASK: u64 = 1 << 1;
/// Its condition is met; read-only.
const ISTATUS: u64 = 1 << 2;

/// `CNTKCTL_EL1`, and `CNTHCTL_EL2` with `E2H`: EL0 may read the physical counter.
const EL0PCTEN: u64 = 1 << 0;
/// EL0 may read the virtual counter.
const EL0VCTEN: u64 = 1 << 1;
/// EL0 may use the virtual timer.
const EL0VTEN: u64 = 1 << 8;
/// EL0 may use the physical timer.
const EL0PTEN: u64 = 1 << 9;
/// `CNTHCTL_EL2` without `E2H`: EL1 may read the physical counter. With it, it is bit 10.
const EL1PCTEN: u64 = 1 << 0;
/// EL1 may use the physical timer. With `E2H` it is bit 11.
const EL1PCEN: u64 = 1 << 1;

/// How the outputs are driven.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Bit n: that of `Timer::ALL[n]`.
    levels: u8,
    /// What the alarm is set to.
    armed: Option<u64>,
}

impl Timers {
    /// When the next timer is due that drives its output then.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.armed
    }
}

impl Aarch64 {
    /// The counter that a timer compares with, at machine time `now` (ns).
    fn count(&self, timer: Timer, now: u64) -> u64 {
        let physical = ns_to_ticks(now, self.config.model.counter_hz);
        if timer == Timer::Virtual { physical.wrapping_sub(self.sys[Reg::CNTVOFF_EL2]) } else { physical }
    }
}

/// Drives the outputs as they must be now, and arms the alarm for the next change.
pub(super) fn update(cpu: &mut Cpu) {
    let now = cpu.clock.now_ns();
    let isa = &mut cpu.isa;
    let hz = isa.config.model.counter_hz;
    let (mut levels, mut deadline) = (0, None::<u64>);
    for (n, timer) in Timer::ALL.into_iter().enumerate() {
        if isa.sys[timer.control()] & (ENABLE | IMASK) != ENABLE {
            continue;
        }
        match isa.sys[timer.compare()].checked_sub(isa.count(timer, now)) {
            None | Some(0) => levels |= 1 << n,
            Some(left) => {
                let ticks = ns_to_ticks(now, hz).saturating_add(left);
                let at = ticks_to_ns(ticks, hz);
                deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
            }
        }
    }
    let deadline = [deadline.filter(|&at| at != u64::MAX), isa.pmu.deadline(now, cpu.state.retired)];
    let deadline = deadline.into_iter().flatten().min();
    let changed = std::mem::replace(&mut isa.timers.levels, levels) ^ levels;
    if let Some(lines) = &isa.wiring.timers {
        for (n, line) in lines.iter().enumerate().filter(|(n, _)| changed >> n & 1 != 0) {
            line.set(levels >> n & 1 != 0);
        }
    }
    if isa.timers.armed != deadline {
        isa.timers.armed = deadline;
        if let Some(alarm) = &isa.wiring.alarm {
            alarm.arm(deadline);
        }
    }
}

/// Whether any timer has something to do with time.
pub(super) fn running(cpu: &Cpu) -> bool {
    cpu.isa.timers.levels != 0 || cpu.isa.timers.armed.is_some()
}

/// A control register.
pub(super) fn read_control(cpu: &Cpu, register: Reg) -> u64 {
    let timer = Timer::of(register);
    let due = cpu.isa.count(timer, cpu.clock.now_ns()) >= cpu.isa.sys[timer.compare()];
    let control = cpu.isa.sys[register];
    control | if due && control & ENABLE != 0 { ISTATUS } else { 0 }
}

pub(super) fn write_control(cpu: &mut Cpu, register: Reg, value: u64) {
    cpu.isa.sys[register] = value & (ENABLE | IMASK);
    update(cpu);
}

pub(super) fn write_compare(cpu: &mut Cpu, register: Reg, value: u64) {
    cpu.isa.sys[register] = value;
    update(cpu);
}

/// A timer value: what is left until the timer is due, in 32 bits with sign.
pub(super) fn read_value(cpu: &Cpu, register: Reg) -> u64 {
    let timer = Timer::of(register);
    let left = cpu.isa.sys[timer.compare()].wrapping_sub(cpu.isa.count(timer, cpu.clock.now_ns()));
    left & 0xffff_ffff
}

pub(super) fn write_value(cpu: &mut Cpu, register: Reg, value: u64) {
    let timer = Timer::of(register);
    let ticks = i64::from(value as i32);
    let compare = cpu.isa.count(timer, cpu.clock.now_ns()).wrapping_add_signed(ticks);
    write_compare(cpu, timer.compare(), compare);
}

/// `CNTPCT_EL0`.
pub(super) fn read_physical(cpu: &Cpu, _: Reg) -> u64 {
    cpu.isa.count(Timer::Physical, cpu.clock.now_ns())
}

/// `CNTVCT_EL0`: a host's virtual counter has no offset.
pub(super) fn read_virtual(cpu: &Cpu, _: Reg) -> u64 {
    let isa = &cpu.isa;
    let timer = if isa.in_host() { Timer::Physical } else { Timer::Virtual };
    isa.count(timer, cpu.clock.now_ns())
}

pub(super) fn write_offset(cpu: &mut Cpu, _: Reg, value: u64) {
    cpu.isa.sys[Reg::CNTVOFF_EL2] = value;
    update(cpu);
}

/// What `CNTKCTL_EL1`, or `CNTHCTL_EL2` in a host, lets EL0 do.
fn el0_may(isa: &Aarch64, bits: u64) -> bool {
    let control = if isa.host() { Reg::CNTHCTL_EL2 } else { Reg::CNTKCTL_EL1 };
    isa.pstate.el != 0 || isa.sys[control] & bits != 0
}

/// Whether `CNTHCTL_EL2` lets EL1 (and so EL0) do what this bit says; in the register's other format it is ten bits
/// further up, but for the counter's, which is ten.
fn el1_may(isa: &Aarch64, bit: u64) -> bool {
    if !isa.el2_controls() {
        return true;
    }
    let shift = if isa.hcr() & hcr::E2H != 0 { 10 } else { 0 };
    isa.sys[Reg::CNTHCTL_EL2] & bit << shift != 0
}

/// Who may read the frequency.
pub(super) fn frequency(isa: &Aarch64, write: bool) -> Verdict {
    if write && isa.pstate.el < isa.config.highest_el() {
        return Verdict::Undefined;
    }
    Verdict::trap_unless(el0_may(isa, EL0PCTEN | EL0VCTEN))
}

/// Who may read the physical counter.
pub(super) fn physical_counter(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(el0_may(isa, EL0PCTEN)).and_el2(el1_may(isa, EL1PCTEN))
}

/// Who may read the virtual counter.
pub(super) fn virtual_counter(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(el0_may(isa, EL0VCTEN))
}

/// Who may use the physical timer.
pub(super) fn physical_timer(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(el0_may(isa, EL0PTEN)).and_el2(el1_may(isa, EL1PCEN))
}

/// Who may use the virtual timer.
pub(super) fn virtual_timer(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(el0_may(isa, EL0VTEN))
}

/// Who may use the timer of Secure EL1.
pub(super) fn secure_timer(isa: &Aarch64, _: bool) -> Verdict {
    match isa.pstate.el {
        3 => Verdict::Allowed,
        1 if isa.secure_below_el3() && isa.sys[Reg::SCR_EL3] & scr::ST != 0 => Verdict::Allowed,
        1 if isa.secure_below_el3() => Verdict::Trap(3),
        _ => Verdict::Undefined,
    }
}
