//! Arm Generic Interrupt Controllers: [`v2`], [`v3`] with its [`its`], and message frames ([`v2m`]).
//!
//! What the versions have in common is written once: interrupts and their competition in `state` and `block`, the
//! priority logic of CPU interfaces in `interface`, the list registers of the virtual one in `virt`, the registers
//! with a bit or a byte for each interrupt in `distributor`. The versions add how CPUs are named and the registers
//! through which CPUs take interrupts.
//!
//! Specifications: *Arm Generic Interrupt Controller Architecture version 2.0*, IHI 0048B.b; *Arm Generic Interrupt
//! Controller Architecture Specification, GIC architecture version 3 and version 4*, IHI 0069H.
//!
//! Input lines are level-sensitive wires; an interrupt that software configures as edge-triggered becomes pending
//! when its line rises. One lock guards all: what happens under it is short, the longest step a look at every
//! block of 32 interrupts.
//!
//! A device does not know who accesses it. So registers that differ by CPU or by Security state are separate
//! devices ([`emu_core::device::Mmio`]), one for each view; the board maps each CPU's on that CPU's bus.

mod block;
mod distributor;
mod group;
mod interface;
pub mod its;
mod lpi;
pub mod spec;
mod state;
#[cfg(test)]
mod tests;
pub mod v2;
pub mod v2m;
pub mod v3;
mod virt;

use std::sync::Arc;

use emu_core::device::{IrqLine, IrqSink};
use parking_lot::Mutex;

use state::{PRIVATE, State};

/// The most CPUs that a GIC takes.
pub const MAX_CPUS: usize = 8;
/// The most shared interrupts (INTIDs 32 to 991).
pub const MAX_SPIS: u32 = 960;

/// An output to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Output {
    /// A physical IRQ.
    Irq = 0,
    /// A physical FIQ.
    Fiq = 1,
    /// A virtual IRQ.
    Virq = 2,
    /// A virtual FIQ.
    Vfiq = 3,
    /// A Non-secure Group 1 interrupt of a GICv3 with two Security states: the CPU knows whether it is an IRQ or an
    /// FIQ where it is.
    Group1NonSecure = 4,
    /// A Secure Group 1 interrupt, likewise.
    Group1Secure = 5,
}

impl Output {
    /// All outputs.
    pub const ALL: [Self; 6] =
        [Self::Irq, Self::Fiq, Self::Virq, Self::Vfiq, Self::Group1NonSecure, Self::Group1Secure];
}

/// The wires to one CPU.
pub struct Outputs([IrqLine; Output::ALL.len()]);

impl Outputs {
    /// The wires that `line` gives for each output.
    pub fn from_fn(line: impl FnMut(Output) -> IrqLine) -> Self {
        Self(Output::ALL.map(line))
    }
}

/// Which GIC it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// GICv2, as the GIC-400.
    V2,
    /// GICv3.
    V3,
}

impl Version {
    fn is_v3(self) -> bool {
        self == Self::V3
    }
}

/// What a board chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicConfig {
    /// The version.
    pub version: Version,
    /// How many shared interrupts there are: a multiple of 32, at most [`MAX_SPIS`].
    pub spis: u32,
    /// There are two Security states.
    pub security: bool,
    /// The PPI by which the virtual CPU interface asks for maintenance; none if there is no virtual CPU interface.
    pub maintenance: Option<u32>,
}

/// Which Security state an access is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Secure, or any access where there is one Security state.
    Secure,
    /// Non-secure.
    NonSecure,
}

/// A GIC's state behind its lock.
struct Gic {
    config: Arc<GicConfig>,
    cpus: usize,
    state: Mutex<State>,
}

impl Gic {
    fn new(config: GicConfig, outputs: Vec<Outputs>) -> Arc<Self> {
        let (cpus, spis) = (outputs.len(), config.spis);
        assert!((1..=MAX_CPUS).contains(&cpus), "{cpus} CPUs");
        assert!(spis > 0 && spis <= MAX_SPIS && spis.is_multiple_of(32), "{spis} shared interrupts");
        let config = Arc::new(config);
        let state = Mutex::new(State::new(&config, outputs));
        Arc::new(Self { config, cpus, state })
    }

    /// Whether an access sees Non-secure interrupts only.
    fn restricted(state: &State, security: Security) -> bool {
        security == Security::NonSecure && !state.single_state
    }

    /// The wire to the private peripheral interrupt `intid` (16 to 31) of `cpu`.
    fn ppi(self: &Arc<Self>, cpu: usize, intid: u32) -> IrqLine {
        IrqLine::new(Arc::new(PrivateInputs { gic: Arc::clone(self), cpu }), intid)
    }
}

/// The input lines of shared interrupts: line n is INTID 32 + n.
impl IrqSink for Gic {
    fn set_line(&self, line: u32, level: bool) {
        if line < self.config.spis {
            self.state.lock().set_level(0, PRIVATE + line, level);
        }
    }
}

/// The input lines of one CPU's private peripheral interrupts, by INTID.
struct PrivateInputs {
    gic: Arc<Gic>,
    cpu: usize,
}

impl IrqSink for PrivateInputs {
    fn set_line(&self, line: u32, level: bool) {
        if (16..PRIVATE).contains(&line) {
            self.gic.state.lock().set_level(self.cpu, line, level);
        }
    }
}
