//! The state of a processor beyond its registers.

use emu_core::exec::Vcpu;

use super::model::Model;
use super::pauth::Layout;
use super::{Context, Fpcr, pauth};
use crate::exclusive::Monitor;

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
    config: Config,
    pub(super) pstate: Pstate,
    pub(super) monitor: Monitor,
    /// `FPCR`; the accrued flags are in [`emu_core::exec::CpuState::fp_flags`].
    pub(super) fpcr: u64,
    /// `ELR_EL1` to `ELR_EL3`, and so on.
    pub(super) elr: [u64; 3],
    pub(super) spsr: [u64; 3],
    pub(super) esr: [u64; 3],
    pub(super) far: [u64; 3],
    pub(super) vbar: [u64; 3],
}

impl Aarch64 {
    /// A processor in its reset state.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            pstate: Pstate {
                el: 1,
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
            elr: [0; 3],
            spsr: [0; 3],
            esr: [0; 3],
            far: [0; 3],
            vbar: [0; 3],
        }
    }

    /// What is fixed about the processor.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// PSTATE.
    pub fn pstate(&self) -> &Pstate {
        &self.pstate
    }

    /// Where pointers have their authentication codes now, in the lower and in the upper half of the address space.
    pub(super) fn pointer_layouts(&self, _data: bool) -> [Layout; 2] {
        [Layout { bottom: 48, tbi: true }; 2]
    }

    /// The context that code is lifted for.
    pub fn context(&self) -> Context {
        Context {
            el: self.pstate.el,
            fp_on: true,
            fpcr: Fpcr::from_register(self.fpcr),
            pauth: 15,
            illegal: self.pstate.il,
            ..Context::default()
        }
    }
}
