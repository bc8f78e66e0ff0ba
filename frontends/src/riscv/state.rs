//! The state of a hart beyond its registers, and its reset.

use emu_core::exec::Vcpu;
use emu_core::mem::Flush;
use emu_core::time::{ns_to_ticks, ticks_to_ns};

use super::bits::{envcfg, mstatus};
use super::counters::Counters;
use super::ext::Ext;
use super::model::{Model, Paging};
use super::pmp::Pmp;
use super::{Context, Privilege, trap};
use crate::exclusive::Monitor;
use crate::spin::Spins;
use crate::tally::overflow_wait;

/// A hart.
pub type Hart = Vcpu<Riscv>;

/// What is fixed about a hart.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it implements.
    pub model: Model,
    /// `mhartid`.
    pub hart_id: u64,
    /// How often `time` ticks in a second.
    pub timebase_hz: u64,
    /// `ECALL` in S-mode calls the built-in firmware ([`emu_core::exec::HostRequest::Firmware`]) and does not
    /// trap.
    pub firmware_calls: bool,
}

/// What the machine provides of time to each hart.
pub trait HartTimer: Send {
    /// What `mtime`, and so `time`, shows beyond the ticks of the machine's clock, modulo 2⁶⁴.
    fn offset(&self) -> u64;

    /// Makes the machine call [`emu_core::sync::Port::interrupt`] at this machine time (ns), in place of any
    /// earlier one. When `mtime` is written, it calls that at once, and the hart arms its timer anew.
    fn arm(&self, deadline: Option<u64>);
}

/// Control and status registers that are no more than storage; each holds a legal value at all times. Fields
/// that are computed or fixed (`SD`, `UXL`, pins in `mip`, …) are not in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Csrs {
    /// `mstatus`, of which `sstatus` is a part.
    pub mstatus: u64,
    /// `medeleg`.
    pub medeleg: u64,
    /// `mideleg`.
    pub mideleg: u64,
    /// `mie`, of which `sie` is a part.
    pub mie: u64,
    /// The bits of `mip` that software writes.
    pub mip: u64,
    /// `mtvec`.
    pub mtvec: u64,
    /// `mcounteren`.
    pub mcounteren: u64,
    /// `menvcfg`.
    pub menvcfg: u64,
    /// `mscratch`.
    pub mscratch: u64,
    /// `mepc`.
    pub mepc: u64,
    /// `mcause`.
    pub mcause: u64,
    /// `mtval`.
    pub mtval: u64,
    /// `stvec`.
    pub stvec: u64,
    /// `scounteren`.
    pub scounteren: u64,
    /// `senvcfg`.
    pub senvcfg: u64,
    /// `sscratch`.
    pub sscratch: u64,
    /// `sepc`.
    pub sepc: u64,
    /// `scause`.
    pub scause: u64,
    /// `stval`.
    pub stval: u64,
    /// `satp`.
    pub satp: u64,
    /// `stimecmp`.
    pub stimecmp: u64,
    /// `frm`; the accrued flags are in [`emu_core::exec::CpuState::fp_flags`].
    pub frm: u8,
}

/// The state of a hart beyond its registers.
pub struct Riscv {
    pub(super) config: Config,
    timer: Option<Box<dyn HartTimer>>,
    /// What the timer is armed for.
    armed: Option<u64>,
    pub(super) privilege: Privilege,
    pub(super) csr: Csrs,
    pub(super) counters: Counters,
    pub(super) pmp: Pmp,
    pub(super) monitor: Monitor,
    /// `time` had reached `stimecmp` when it was last looked at; the timer has it looked at in time.
    pub(super) stimer_due: bool,
    /// A CSR is written by an instruction, which retires after that; false while a debugger or firmware
    /// writes.
    pub(super) write_retires: bool,
    pub(super) spins: Spins,
}

impl Riscv {
    /// A hart in its reset state. Without a timer nothing wakes it when `stimecmp` is reached.
    pub fn new(config: Config, timer: Option<Box<dyn HartTimer>>) -> Self {
        let counters = Self::reset_counters(&config.model, 0);
        let csr = Self::reset_csrs(&config.model);
        Self {
            config,
            timer,
            armed: None,
            privilege: Privilege::Machine,
            csr,
            counters,
            pmp: Pmp::default(),
            monitor: Monitor::default(),
            stimer_due: false,
            write_retires: true,
            spins: Spins::default(),
        }
    }

    /// What is fixed about the hart.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The privilege mode.
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// The registers that are plain storage.
    pub fn csrs(&self) -> &Csrs {
        &self.csr
    }

    /// The performance counters that there are: bit *n* is `mhpmcounter`*n*. Each can count every
    /// [`super::counters::event`].
    pub fn hpm_counters(&self) -> u32 {
        self.counters.implemented() & !7
    }

    #[inline]
    pub(super) fn has(&self, ext: Ext) -> bool {
        self.config.model.ext.has(ext)
    }

    /// What Priv. "Reset" leaves open is zero, but for `stimecmp`: no timer interrupt is pending.
    fn reset_csrs(model: &Model) -> Csrs {
        // A model that has Svadu alone updates A and D bits from the start, for software that knows neither
        // extension.
        let adue = model.ext.has(Ext::Svadu) && !model.ext.has(Ext::Svade);
        let menvcfg = if adue { envcfg::ADUE } else { 0 };
        Csrs { menvcfg, stimecmp: u64::MAX, ..Csrs::default() }
    }

    fn reset_counters(model: &Model, retired: u64) -> Counters {
        Counters::new(model.hpm_mask(), model.ext.has(Ext::Sscofpmf), retired)
    }

    /// The context that code is lifted for.
    pub fn context(&self) -> Context {
        let fs = (self.csr.mstatus & mstatus::FS) >> mstatus::FS_SHIFT;
        Context {
            privilege: self.privilege,
            fp_on: fs != 0,
            fp_dirty: fs == 3,
            frm: self.csr.frm,
            zero: self.allows(envcfg::CBZE),
        }
    }

    /// Whether the environment configuration allows what one of its fields is for, in the current mode.
    pub(super) fn allows(&self, field: u64) -> bool {
        match self.privilege {
            Privilege::Machine => true,
            Privilege::Supervisor => self.csr.menvcfg & field != 0,
            Privilege::User => self.csr.menvcfg & self.csr.senvcfg & field != 0,
        }
    }

    /// The mode whose rights data accesses have.
    pub(super) fn data_privilege(&self) -> Privilege {
        if self.privilege == Privilege::Machine && self.csr.mstatus & mstatus::MPRV != 0 {
            Privilege::from_bits(self.csr.mstatus >> mstatus::MPP_SHIFT)
        } else {
            self.privilege
        }
    }

    /// The paging mode of S- and U-mode; none is Bare.
    pub(super) fn paging(&self) -> Option<Paging> {
        Paging::from_bits(self.csr.satp >> 60)
    }

    fn time_offset(&self) -> u64 {
        self.timer.as_ref().map_or(0, |timer| timer.offset())
    }

    /// `time` at machine time `now` (ns).
    pub(super) fn time_at(&self, now: u64) -> u64 {
        ns_to_ticks(now, self.config.timebase_hz).wrapping_add(self.time_offset())
    }

    /// The machine time (ns) at which `time` reaches `stimecmp`, if that raises an interrupt and lies ahead
    /// of `now`.
    pub(super) fn stimer_deadline(&self, now: u64) -> Option<u64> {
        if self.csr.menvcfg & envcfg::STCE == 0 {
            return None;
        }
        let wait = self.csr.stimecmp.checked_sub(self.time_at(now)).filter(|&ticks| ticks > 0)?;
        let ticks = ns_to_ticks(now, self.config.timebase_hz).saturating_add(wait);
        Some(ticks_to_ns(ticks, self.config.timebase_hz)).filter(|&ns| ns != u64::MAX)
    }

    /// Looks at `time` again, and arms the timer for when that, or a counter, will be of interest next.
    pub(super) fn update_timer(&mut self, now: u64, retired: u64) {
        let enabled = self.csr.menvcfg & envcfg::STCE != 0;
        self.stimer_due = enabled && self.time_at(now) >= self.csr.stimecmp;
        let overflow = self.counters.overflow_in(retired);
        let overflow = overflow.map(|left| now.saturating_add(overflow_wait(left)));
        let deadline = [self.stimer_deadline(now), overflow].into_iter().flatten().min();
        if self.armed != deadline
            && let Some(timer) = &self.timer
        {
            timer.arm(deadline);
            self.armed = deadline;
        }
    }

    /// Whether the timer is to look at something at some time.
    pub(super) fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Whether somebody has this looked at when the timer is due.
    pub(super) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }
}

impl Privilege {
    /// The mode with these two low bits; the reserved 2 is taken for M-mode and never stored.
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::User,
            1 => Self::Supervisor,
            _ => Self::Machine,
        }
    }
}

/// Puts `hart` into its reset state: M-mode, registers zero. The caller sets the program counter.
pub fn reset(hart: &mut Hart) {
    let model = hart.isa.config.model;
    hart.isa.privilege = Privilege::Machine;
    hart.isa.csr = Riscv::reset_csrs(&model);
    hart.isa.counters = Riscv::reset_counters(&model, hart.state.retired);
    hart.isa.pmp = Pmp::default();
    hart.isa.monitor.clear();
    hart.state.slots.fill(0);
    hart.state.fp_flags = 0;
    hart.mmu.flush(Flush::ALL);
    trap::update_timer(hart);
    hart.mode_changed();
}
