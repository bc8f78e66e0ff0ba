//! The Power State Coordination Interface (DEN0022, version 1.1).

use emu_core::device::PowerRequest;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Call, NOT_SUPPORTED, Outcome, arch, exists};
use crate::lifecycle::{Lifecycle, RunState, Target};

pub(super) const FIRST: u32 = 0x8400_0000;
pub(super) const LAST: u32 = 0x8400_001f;

/// Function identifiers; those with addresses are the 64-bit ones.
pub mod function {
    /// PSCI_VERSION
    pub const VERSION: u32 = 0x8400_0000;
    /// CPU_SUSPEND
    pub const CPU_SUSPEND: u32 = 0xc400_0001;
    /// CPU_OFF
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// CPU_ON
    pub const CPU_ON: u32 = 0xc400_0003;
    /// AFFINITY_INFO
    pub const AFFINITY_INFO: u32 = 0xc400_0004;
    /// MIGRATE
    pub const MIGRATE: u32 = 0xc400_0005;
    /// MIGRATE_INFO_TYPE
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// SYSTEM_OFF
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// SYSTEM_RESET
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI_FEATURES
    pub const FEATURES: u32 = 0x8400_000a;
    /// SYSTEM_RESET2
    pub const SYSTEM_RESET2: u32 = 0xc400_0012;
}

use function::*;

/// The 32-bit form of a function with addresses.
const fn narrow(function: u32) -> u32 {
    function & !super::WIDE
}

pub(super) const FUNCTIONS: [u32; 14] = [
    VERSION,
    CPU_SUSPEND,
    narrow(CPU_SUSPEND),
    CPU_OFF,
    CPU_ON,
    narrow(CPU_ON),
    AFFINITY_INFO,
    narrow(AFFINITY_INFO),
    MIGRATE_INFO_TYPE,
    SYSTEM_OFF,
    SYSTEM_RESET,
    FEATURES,
    SYSTEM_RESET2,
    narrow(SYSTEM_RESET2),
];

const VERSION_1_1: i32 = 0x1_0001;
/// No trusted operating system, so nothing needs to move between CPUs.
const NO_TRUSTED_OS: i32 = 2;

/// Return codes (§5.2.2).
const SUCCESS: i32 = 0;
const INVALID_PARAMETERS: i32 = -2;
const ALREADY_ON: i32 = -4;
const ON_PENDING: i32 = -5;
const INVALID_ADDRESS: i32 = -9;

/// A power state (original format): the CPU gives its state up; which affinity levels take part; what state. The other
/// bits are zero.
const POWER_DOWN: u32 = 1 << 16;
const POWER_STATE_BITS: u32 = 0x0301_ffff;

/// SYSTEM_RESET2: a reset that the architecture defines.
const WARM_RESET: u32 = 0;

impl Call<'_> {
    pub(super) fn psci(self) -> Outcome {
        let wide = |function| self.function == function || self.function == narrow(function);
        match self.function {
            VERSION => Outcome::code(VERSION_1_1),
            CPU_OFF => {
                self.state.stop();
                Outcome::Stop
            }
            MIGRATE_INFO_TYPE => Outcome::code(NO_TRUSTED_OS),
            SYSTEM_OFF => Outcome::Power(PowerRequest::Off { code: 0 }),
            SYSTEM_RESET => Outcome::Power(PowerRequest::Reset),
            FEATURES => Outcome::code(match self.args[0] as u32 {
                function if FUNCTIONS.contains(&function) || function == arch::VERSION => SUCCESS,
                _ => NOT_SUPPORTED,
            }),
            _ if wide(CPU_SUSPEND) => self.cpu_suspend(),
            _ if wide(CPU_ON) => self.cpu_on(),
            _ if wide(AFFINITY_INFO) => self.affinity_info(),
            _ if wide(SYSTEM_RESET2) && self.args[0] as u32 == WARM_RESET => {
                Outcome::Power(PowerRequest::Reset)
            }
            _ if wide(SYSTEM_RESET2) => Outcome::code(INVALID_PARAMETERS),
            _ => {
                debug_assert!(!exists(self.function), "function {:#x} is listed", self.function);
                Outcome::code(NOT_SUPPORTED)
            }
        }
    }

    /// The CPU with an affinity, as arguments name it: the affinity fields of MPIDR_EL1, and nothing else.
    fn cpu(&self, affinity: u64) -> Option<(usize, &Lifecycle)> {
        let cpu = usize::try_from(affinity).ok()?;
        Some((cpu, self.smccc.cpus.get(cpu)?))
    }

    /// Whether a CPU can begin to execute at an address.
    fn is_entry(&self, address: u64) -> bool {
        address.is_multiple_of(4) && self.platform.memory().address_in_range(GuestAddress(address))
    }

    fn cpu_on(self) -> Outcome {
        let [target, address, opaque] = self.args;
        let Some((cpu, state)) = self.cpu(target) else { return Outcome::code(INVALID_PARAMETERS) };
        if !self.is_entry(address) {
            return Outcome::code(INVALID_ADDRESS);
        }
        Outcome::code(match state.start(Target { address, opaque }) {
            Ok(()) => {
                self.platform.wake(cpu);
                SUCCESS
            }
            Err(RunState::StartPending) => ON_PENDING,
            Err(_) => ALREADY_ON,
        })
    }

    fn cpu_suspend(self) -> Outcome {
        let [power_state, address, opaque] = self.args;
        let power_state = power_state as u32;
        if power_state & !POWER_STATE_BITS != 0 {
            return Outcome::code(INVALID_PARAMETERS);
        }
        let target = match power_state & POWER_DOWN {
            0 => None,
            _ if !self.is_entry(address) => return Outcome::code(INVALID_ADDRESS),
            _ => Some(Target { address, opaque }),
        };
        self.state.suspend(target);
        Outcome::Suspend
    }

    /// Affinity levels above zero are no more than their CPUs, and need not be known (§5.7).
    fn affinity_info(self) -> Outcome {
        let [target, level, _] = self.args;
        Outcome::code(match self.cpu(target) {
            Some((_, cpu)) if level as u32 == 0 => match cpu.state() {
                RunState::Stopped => 1,
                RunState::StartPending => 2,
                _ => 0,
            },
            _ => INVALID_PARAMETERS,
        })
    }
}
