//! The state of a processor beyond its registers.

use emu_core::device::IrqLine;
use emu_core::exec::Vcpu;

use super::bits::{cptr, hcr, hcrx, mdscr, scr, sctlr};
use super::debug::Points;
use super::features::Feature;
use super::gic::CpuInterface;
use super::mmu::regime::Regime;
use super::model::Model;
use super::pauth::Layout;
use super::pmu::Pmu;
use super::sysop::cache;
use super::sysreg::{Reg, Storage};
use super::timer::{Alarm, Timer, Timers};
use super::{Context, Fpcr, pauth};
use crate::exclusive::Monitor;
use crate::spin::Spins;

/// A processor.
pub type Cpu = Vcpu<Aarch64>;

/// The instruction that calls the built-in firmware ([`emu_core::exec::HostRequest::Firmware`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC`.
    Hvc,
    /// `SMC`.
    Smc,
}

/// What is fixed about a processor.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it implements.
    pub model: Model,
    /// How pointer authentication codes are computed.
    pub pauth: pauth::Algorithm,
    /// `MPIDR_EL1`'s affinity fields.
    pub mpidr: u64,
    /// How firmware that is not guest code is called, if there is any.
    pub conduit: Option<Conduit>,
    /// EL2 is implemented.
    pub el2: bool,
    /// EL3 is implemented, and with it Secure state. Memory is the same in both states.
    pub el3: bool,
}

/// What a processor is connected to.
#[derive(Default)]
pub struct Wiring {
    /// The registers of a GICv3's CPU interface; none on a machine with another controller.
    pub gic: Option<Box<dyn CpuInterface>>,
    /// The interrupt outputs of the timers, in the order of [`Timer::ALL`].
    pub timers: Option<[IrqLine; Timer::ALL.len()]>,
    /// The interrupt output of the performance monitors.
    pub pmu: Option<IrqLine>,
    /// What wakes the processor when a timer is due. Without it that is seen only when something else happens.
    pub alarm: Option<Box<dyn Alarm>>,
    /// Where random numbers come from; none at the moment if it returns none.
    pub random: Option<Box<dyn FnMut() -> Option<u64> + Send>>,
}

impl Config {
    /// The highest exception level that there is.
    pub(super) fn highest_el(&self) -> u8 {
        match (self.el3, self.el2) {
            (true, _) => 3,
            (_, true) => 2,
            _ => 1,
        }
    }
}

impl Wiring {
    /// Drives no output and sets no alarm.
    fn release(&mut self) {
        self.timers.iter().flatten().chain(&self.pmu).for_each(|line| line.set(false));
        if let Some(alarm) = &self.alarm {
            alarm.arm(None);
        }
    }
}

/// PSTATE but for the flags, which are in a slot, and BTYPE, which is in the program counter (DDI 0487, D1.4 "Process
/// state, PSTATE").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pstate {
    /// The exception level.
    pub el: u8,
    /// The stack pointer is that of the exception level, not `SP_EL0`.
    pub sp_sel: bool,
    /// Masks of debug exceptions, SError, IRQ and FIQ: bits 3 to 0.
    pub daif: u8,
    /// Privileged access never.
    pub pan: bool,
    /// User access override.
    pub uao: bool,
    /// Data independent timing.
    pub dit: bool,
    /// Speculative store bypass safe.
    pub ssbs: bool,
    /// Illegal execution state.
    pub il: bool,
    /// Software step.
    pub ss: bool,
}

/// The state of a processor beyond its registers.
pub struct Aarch64 {
    pub(super) config: Config,
    pub(super) wiring: Wiring,
    pub(super) pstate: Pstate,
    pub(super) monitor: Monitor,
    /// `FPCR`; the accrued flags are in [`emu_core::exec::CpuState::fp_flags`].
    pub(super) fpcr: u64,
    /// The system registers that are storage.
    pub(super) sys: Storage,
    pub(super) timers: Timers,
    pub(super) pmu: Pmu,
    pub(super) points: Points,
    /// The event register, which `WFE` waits for.
    pub(super) event: bool,
    /// The instruction that runs is one that software step steps over: PSTATE.SS was one before it.
    pub(super) stepping: bool,
    pub(super) spins: Spins,
}

impl Aarch64 {
    /// A processor in its reset state, connected to nothing.
    pub fn new(config: Config) -> Self {
        Self::connected(config, Wiring::default())
    }

    /// A processor in its reset state.
    pub fn connected(config: Config, wiring: Wiring) -> Self {
        let el = config.highest_el();
        Self {
            pstate: Pstate {
                el,
                sp_sel: true,
                daif: 15,
                pan: false,
                uao: false,
                dit: false,
                ssbs: false,
                il: false,
                ss: false,
            },
            monitor: Monitor::default(),
            fpcr: 0,
            sys: Storage::reset(&config),
            timers: Timers::default(),
            pmu: Pmu::new(el),
            points: Points::default(),
            event: false,
            stepping: false,
            spins: Spins::default(),
            config,
            wiring,
        }
    }

    /// Returns to the reset state.
    pub(super) fn reset(&mut self) {
        let mut wiring = std::mem::take(&mut self.wiring);
        wiring.release();
        *self = Self::connected(self.config.clone(), wiring);
    }

    /// What is fixed about the processor.
    pub fn config(&self) -> &Config {
        &self.config
    }

    #[inline]
    pub(super) fn has(&self, feature: Feature) -> bool {
        self.config.model.features.has(feature)
    }

    /// PSTATE.
    pub fn pstate(&self) -> &Pstate {
        &self.pstate
    }

    /// `HCR_EL2`, or what it means without EL2 or in Secure state, where EL2 is disabled.
    #[inline]
    pub(super) fn hcr(&self) -> u64 {
        if self.el2_enabled() { self.sys[Reg::HCR_EL2] } else { hcr::RW }
    }

    /// EL2 is there in the current Security state.
    #[inline]
    pub(super) fn el2_enabled(&self) -> bool {
        self.config.el2 && !self.secure_below_el3()
    }

    /// EL0 to EL2 are in Secure state.
    #[inline]
    pub(super) fn secure_below_el3(&self) -> bool {
        self.config.el3 && self.sys[Reg::SCR_EL3] & scr::NS == 0
    }

    /// Whether EL2 and EL0 are one translation regime, that of a host: `E2H` and `TGE`.
    #[inline]
    pub(super) fn host(&self) -> bool {
        const HOST: u64 = hcr::E2H | hcr::TGE;
        self.hcr() & HOST == HOST
    }

    /// EL3 is there above the code at hand.
    #[inline]
    pub(super) fn below_el3(&self) -> bool {
        self.config.el3 && self.pstate.el < 3
    }

    /// The code at hand is at EL0 or EL1, and EL2 is there above it.
    #[inline]
    pub(super) fn below_el2(&self) -> bool {
        self.pstate.el < 2 && self.el2_enabled()
    }

    /// EL2 controls the code at hand as a hypervisor does: not as the host whose EL0 it is.
    #[inline]
    pub(super) fn el2_controls(&self) -> bool {
        self.below_el2() && !(self.pstate.el == 0 && self.host())
    }

    /// The code at hand is a host's, at EL2 or EL0: what it calls by the names of EL1's registers are EL2's.
    #[inline]
    pub(super) fn in_host(&self) -> bool {
        self.regime(self.pstate.el) == Regime::El20
    }

    /// The exception level whose registers control the code at `el`: itself, or for EL0 the one that it takes its
    /// exceptions to.
    #[inline]
    pub(super) fn control_el(&self, el: u8) -> u8 {
        match el {
            0 if self.host() => 2,
            0 => 1,
            _ => el,
        }
    }

    /// The `SCTLR` that controls the code at `el`.
    #[inline]
    pub(super) fn sctlr(&self, el: u8) -> u64 {
        match self.control_el(el) {
            1 => self.sys[Reg::SCTLR_EL1],
            2 => self.sys[Reg::SCTLR_EL2],
            _ => self.sys[Reg::SCTLR_EL3],
        }
    }

    /// The exception level that Advanced SIMD and floating point trap to, if they do (DDI 0487,
    /// `AArch64.CheckFPAdvSIMDEnabled`).
    pub(super) fn fp_trap(&self) -> Option<u8> {
        // Bit 0: does not trap at the level itself; bit 1: nor at EL0.
        let fpen = |register: u64| register >> cptr::FPEN_SHIFT & 3;
        let el = self.pstate.el;
        if el < 2 && !self.host() {
            match fpen(self.sys[Reg::CPACR_EL1]) {
                1 if el == 0 => return Some(1),
                0 | 2 => return Some(1),
                _ => {}
            }
        }
        if el < 3 && self.el2_enabled() {
            let traps = self.sys[Reg::CPTR_EL2];
            let hcr = self.hcr();
            let trapped = if hcr & hcr::E2H == 0 {
                traps & cptr::TFP != 0
            } else {
                match fpen(traps) {
                    1 => el == 0 && hcr & hcr::TGE != 0,
                    3 => false,
                    _ => true,
                }
            };
            if trapped {
                return Some(2);
            }
        }
        (self.config.el3 && self.sys[Reg::CPTR_EL3] & cptr::TFP != 0).then_some(3)
    }

    /// The exception level that pointer authentication traps to, if it does.
    pub(super) fn pauth_trap(&self) -> Option<u8> {
        if self.el2_controls() && self.hcr() & hcr::API == 0 {
            return Some(2);
        }
        (self.below_el3() && self.sys[Reg::SCR_EL3] & scr::API == 0).then_some(3)
    }

    /// Where pointers have their authentication codes now, in the lower and in the upper half of the address space.
    pub(super) fn pointer_layouts(&self, data: bool) -> [Layout; 2] {
        let regime = self.regime(self.pstate.el);
        [0, u64::MAX].map(|half| {
            let range = self.range(regime, half);
            let tbi = if data { range.top_byte_ignored } else { range.fetch_top_byte_ignored };
            // Sizes that are out of range count as the next one that is not (`CalculateBottomPACBit`).
            Layout { bottom: range.input_bits.clamp(16, 48) as u8, tbi }
        })
    }

    /// [`Context::pointers`].
    fn usual_pointers(&self) -> u8 {
        let regime = self.regime(self.pstate.el);
        let fast = self.has(Feature::PAuth) && self.config.pauth == pauth::Algorithm::Fast;
        if !fast || !regime.has_two_ranges() {
            return 0;
        }
        pauth::usual_layouts_of(self.control(regime))
    }

    /// `HCRX_EL2`, or what it means where it is not enabled.
    pub(super) fn hcrx(&self) -> u64 {
        let enabled = !self.config.el3 || self.sys[Reg::SCR_EL3] & scr::HX_EN != 0;
        if enabled { self.sys[Reg::HCRX_EL2] } else { 0 }
    }

    /// Whether memory copies and memory sets work here (`CheckMOPSEnabled` of the architecture's pseudocode).
    fn memory_operations(&self) -> bool {
        let (el, host) = (self.pstate.el, self.host());
        let prohibited =
            el < 2 && self.el2_enabled() && !(el == 0 && host) && self.hcrx() & hcrx::MSC_EN == 0;
        !prohibited && (el != 0 || self.sctlr(0) & sctlr::MSC_EN != 0)
    }

    /// The context that code is lifted for.
    pub fn context(&self) -> Context {
        let el = self.pstate.el;
        let control = self.sctlr(el);
        let on = |bit: u64| control & bit != 0;
        let key = |bit: u64, n: u32| u8::from(on(bit)) << n;
        Context {
            el,
            sp_sel: self.pstate.sp_sel,
            fp_on: self.fp_trap().is_none(),
            fpcr: Fpcr::from_register(self.fpcr),
            align: on(sctlr::A) || self.all_is_device(self.regime(el)),
            sp_align: on(if el == 0 { sctlr::SA0 } else { sctlr::SA }),
            pauth: key(sctlr::EN_IA, 0) | key(sctlr::EN_IB, 1) | key(sctlr::EN_DA, 2) | key(sctlr::EN_DB, 3),
            pointers: self.usual_pointers(),
            pauth_trap: self.pauth_trap().is_some(),
            illegal: self.pstate.il,
            step: self.step_state(),
            bt: on(if el == 0 { sctlr::BT0 } else { sctlr::BT1 }),
            guarded: false,
            mops: self.memory_operations(),
            zva: cache::may_zero(self),
        }
    }

    /// Software step: 0 inactive, 1 active and not pending, 2 active and pending.
    fn step_state(&self) -> u8 {
        if self.sys[Reg::MDSCR_EL1] & mdscr::SS == 0 || !self.debug_exceptions() {
            return 0;
        }
        if self.pstate.ss { 1 } else { 2 }
    }
}
