//! Self-hosted debug (DDI 0487, chapter D2 "AArch64 Self-hosted Debug"): when debug exceptions are enabled, breakpoints and
//! watchpoints. Software step is in the lifter and in [`super::exception`].
//!
//! Translations of pages with a breakpoint or watchpoint are not cached, so that each access there asks for one, and is
//! compared. There is no external debugger: nothing halts.

use emu_core::exec::{Access, Exception};
use emu_core::mem::{Flush, PAGE_SIZE};

use super::bits::{daif, hcr, mdcr, mdscr};
use super::state::{Aarch64, Cpu, Pstate};
use super::syndrome::{DEBUG_EXCEPTION, WNR, class, syndrome};
use super::sysreg::{Reg, Verdict};

/// How many breakpoints there are; the last [`CONTEXT_BREAKPOINTS`] of them can compare `CONTEXTIDR_EL1`.
pub const BREAKPOINTS: usize = 6;
/// How many breakpoints can compare contexts.
pub const CONTEXT_BREAKPOINTS: usize = 2;
/// How many watchpoints there are.
pub const WATCHPOINTS: usize = 4;

/// `DBGBCR<n>_EL1` and `DBGWCR<n>_EL1`: enabled.
const ENABLE: u64 = 1 << 0;
/// `DBGBCR<n>_EL1`: the implemented fields. `BAS` is all ones.
pub(super) const BREAK_CONTROL: u64 = 0xff_e007 | BREAK_BAS;
/// `DBGBCR<n>_EL1.BAS`.
pub(super) const BREAK_BAS: u64 = 0xf << 5;
/// `DBGWCR<n>_EL1`: the implemented fields.
pub(super) const WATCH_CONTROL: u64 = 0x1f1f_ffff;
/// Addresses of breakpoints and watchpoints: 49 bits with sign, multiples of four.
const ADDRESS: u64 = !3;

/// Where breakpoints and watchpoints are.
#[derive(Debug, Default)]
pub(super) struct Points {
    /// First and last page of each.
    pages: Vec<(u64, u64)>,
}

impl Points {
    /// Whether accesses to the page of `va` must be looked at one by one.
    #[inline]
    pub(super) fn cover(&self, va: u64) -> bool {
        let page = va & !(PAGE_SIZE - 1);
        self.pages.iter().any(|&(first, last)| (first..=last).contains(&page))
    }
}

/// The state of the processor in which a breakpoint or watchpoint matches: fields that both control registers have.
#[derive(Clone, Copy)]
struct Match {
    /// `SSC`, `HMC`, and `PMC` or `PAC`.
    ssc: u64,
    higher: bool,
    privilege: u64,
    /// The breakpoint that must match, too.
    linked: Option<usize>,
}

impl Aarch64 {
    /// Whether breakpoints, watchpoints and software step may raise exceptions where the processor is now.
    pub(super) fn debug_exceptions(&self) -> bool {
        self.debug_exceptions_in(&self.pstate)
    }

    /// The same with another PSTATE (DDI 0487, `AArch64.GenerateDebugExceptionsFrom`).
    pub(super) fn debug_exceptions_in(&self, pstate: &Pstate) -> bool {
        if self.sys[Reg::OSLSR_EL1] & OSLK != 0 {
            return false;
        }
        let enabled = !self.secure_below_el3() || self.sys[Reg::MDCR_EL3] & mdcr::SDD == 0;
        let (el, target) = (pstate.el, self.debug_target());
        if el == target {
            enabled && self.sys[Reg::MDSCR_EL1] & mdscr::KDE != 0 && pstate.daif & daif::D == 0
        } else {
            enabled && target > el
        }
    }

    /// The exception level that debug exceptions go to.
    pub(super) fn debug_target(&self) -> u8 {
        let to_el2 =
            self.el2_enabled() && (self.hcr() & hcr::TGE != 0 || self.sys[Reg::MDCR_EL2] & mdcr::TDE != 0);
        if to_el2 { 2 } else { 1 }
    }

    /// DDI 0487, `AArch64.StateMatch`.
    fn state_matches(&self, wanted: Match, el: u8) -> bool {
        let Match { ssc, higher, privilege, linked } = wanted;
        let level = match el {
            0 => privilege & 2 != 0,
            1 => privilege & 1 != 0,
            2 => higher && (ssc, privilege) != (2, 0) || ssc == 3,
            _ => higher && ssc & 1 == 0,
        };
        let secure = el == 3 || self.secure_below_el3();
        let security = match ssc {
            0 => true,
            1 => !secure,
            2 => secure,
            _ => higher || secure,
        };
        level && security && linked.is_none_or(|n| self.context_matches(n))
    }

    /// Whether linked breakpoint `n` matches the context.
    fn context_matches(&self, n: usize) -> bool {
        let control = self.sys.of_family(Reg::DBGBCR0_EL1, n);
        let value = self.sys.of_family(Reg::DBGBVR0_EL1, n);
        let compares = (BREAKPOINTS - CONTEXT_BREAKPOINTS..BREAKPOINTS).contains(&n);
        // Type 3: the linked context identifier.
        compares
            && control & ENABLE != 0
            && control >> 20 & 0xf == 3
            && value & 0xffff_ffff == self.sys[Reg::CONTEXTIDR_EL1] & 0xffff_ffff
    }

    fn breakpoint_at(&self, n: usize, va: u64) -> bool {
        let control = self.sys.of_family(Reg::DBGBCR0_EL1, n);
        let kind = control >> 20 & 0xf;
        let wanted = Match {
            ssc: control >> 14 & 3,
            higher: control >> 13 & 1 != 0,
            privilege: control >> 1 & 3,
            linked: (kind == 1).then_some((control >> 16 & 0xf) as usize),
        };
        let value = self.sys.of_family(Reg::DBGBVR0_EL1, n);
        let here = match kind {
            0 | 1 => value & ADDRESS == va & ADDRESS,
            2 => {
                n >= BREAKPOINTS - CONTEXT_BREAKPOINTS
                    && value & 0xffff_ffff == self.sys[Reg::CONTEXTIDR_EL1] & 0xffff_ffff
            }
            _ => false,
        };
        control & ENABLE != 0 && here && self.state_matches(wanted, self.pstate.el)
    }

    /// The first byte that watchpoint `n` watches of an access at exception level `el`.
    fn watched_by(&self, n: usize, va: u64, bytes: u64, access: Access, el: u8) -> Option<u64> {
        let control = self.sys.of_family(Reg::DBGWCR0_EL1, n);
        let wanted = Match {
            ssc: control >> 14 & 3,
            higher: control >> 13 & 1 != 0,
            privilege: control >> 1 & 3,
            linked: (control >> 20 & 1 != 0).then_some((control >> 16 & 0xf) as usize),
        };
        let kinds = if access == Access::Write { 2 } else { 1 };
        if control & ENABLE == 0 || control >> 3 & kinds == 0 || !self.state_matches(wanted, el) {
            return None;
        }
        let value = self.sys.of_family(Reg::DBGWVR0_EL1, n) & ADDRESS;
        let mask = watch_mask(control);
        let select = control >> 5 & 0xff;
        let watched = |at: &u64| {
            (at ^ value) & !mask & !7 == 0
                && (mask > 7 || select >> (at.wrapping_sub(value & !7) & 7) & 1 != 0)
        };
        (0..bytes).map(|i| va.wrapping_add(i)).find(watched)
    }
}

/// The address bits that a watchpoint ignores: three at least, which the byte select tells apart.
fn watch_mask(control: u64) -> u64 {
    (1 << (control >> 24 & 0x1f)) - 1
}

/// The exception of an access that breakpoints or watchpoints must see, if one matches. `el` is whose rights it has.
#[cold]
pub(super) fn check(cpu: &Cpu, va: u64, bytes: usize, access: Access, el: u8) -> Option<Exception> {
    let isa = &cpu.isa;
    if isa.sys[Reg::MDSCR_EL1] & mdscr::MDE == 0 || !isa.debug_exceptions() {
        return None;
    }
    if access == Access::Fetch {
        let hit = (0..BREAKPOINTS).any(|n| isa.breakpoint_at(n, va));
        let cause = syndrome(class::BREAKPOINT, DEBUG_EXCEPTION);
        return hit.then(|| Exception::new(cause.into(), va));
    }
    let hit = (0..WATCHPOINTS).find_map(|n| isa.watched_by(n, va, bytes as u64, access, el))?;
    let direction = if access == Access::Write { WNR } else { 0 };
    let cause = syndrome(class::WATCHPOINT, DEBUG_EXCEPTION | direction);
    Some(Exception::new(cause.into(), hit))
}

/// Looks anew where breakpoints and watchpoints are.
fn update_points(cpu: &mut Cpu) {
    let sys = &cpu.isa.sys;
    let mut pages = Vec::new();
    if sys[Reg::MDSCR_EL1] & mdscr::MDE != 0 {
        let page = |va: u64| va & !(PAGE_SIZE - 1);
        for n in 0..BREAKPOINTS {
            let control = sys.of_family(Reg::DBGBCR0_EL1, n);
            if control & ENABLE != 0 {
                match control >> 20 & 0xf {
                    0 | 1 => {
                        let at = page(sys.of_family(Reg::DBGBVR0_EL1, n));
                        pages.push((at, at));
                    }
                    2 => pages.push((0, u64::MAX)),
                    _ => {}
                }
            }
        }
        for n in 0..WATCHPOINTS {
            let control = sys.of_family(Reg::DBGWCR0_EL1, n);
            if control & ENABLE != 0 {
                let (at, mask) = (sys.of_family(Reg::DBGWVR0_EL1, n), watch_mask(control));
                pages.push((page(at & !mask), page(at | mask)));
            }
        }
    }
    if cpu.isa.points.pages != pages {
        cpu.isa.points.pages = pages;
        cpu.mmu.flush(Flush::ALL);
    }
}

/// `MDSCR_EL1`.
pub(super) fn write_control(cpu: &mut Cpu, register: Reg, value: u64) {
    cpu.isa.sys[register] = value & (mdscr::SS | mdscr::TDCC | mdscr::KDE | mdscr::MDE);
    update_points(cpu);
    cpu.mode_changed();
}

/// Values and controls of breakpoints and watchpoints.
pub(super) fn write_point(cpu: &mut Cpu, register: Reg, value: u64) {
    cpu.isa.sys.store(register, value);
    update_points(cpu);
}

/// `OSLSR_EL1.OSLK`: the OS lock is locked.
pub(super) const OSLK: u64 = 1 << 1;

/// `OSLAR_EL1`: bit 0 locks.
pub(super) fn write_lock(cpu: &mut Cpu, _: Reg, value: u64) {
    let lock = if value & 1 != 0 { OSLK } else { 0 };
    cpu.isa.sys[Reg::OSLSR_EL1] = cpu.isa.sys[Reg::OSLSR_EL1] & !OSLK | lock;
    cpu.mode_changed();
}

/// `DBGCLAIMSET_EL1` and `DBGCLAIMCLR_EL1`: eight claim tags.
pub(super) fn read_claim(cpu: &Cpu, register: Reg) -> u64 {
    if register == Reg::DBGCLAIMSET_EL1 { 0xff } else { cpu.isa.sys[Reg::DBGCLAIMCLR_EL1] }
}

pub(super) fn write_claim(cpu: &mut Cpu, register: Reg, value: u64) {
    let tags = &mut cpu.isa.sys[Reg::DBGCLAIMCLR_EL1];
    if register == Reg::DBGCLAIMSET_EL1 {
        *tags |= value & 0xff
    } else {
        *tags &= !value
    };
}

/// Who may access the debug communications channel.
pub(super) fn channel(isa: &Aarch64, _: bool) -> Verdict {
    Verdict::trap_unless(isa.pstate.el != 0 || isa.sys[Reg::MDSCR_EL1] & mdscr::TDCC == 0)
}
