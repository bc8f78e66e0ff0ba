//! Tests of the privileged architecture, on harts without code: what instructions do is called directly.

mod call;
mod code;
mod counters;
mod csr;
mod fuzz;
mod mmu;
mod model;
mod pmp;
mod trap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use emu_core::exec::{Exception, Isa, Stop};
use emu_core::testing::{Random, seeds, vcpu};

use super::bits::mstatus;
use super::csr::{Op, csr_read_debug, csr_write_debug, execute};
use super::helper::Helper;
use super::state::{Config, Hart, HartTimer, Riscv};
use super::{Model, Privilege};

pub(super) const RAM: u64 = 0x8000_0000;
pub(super) const RAM_LEN: u64 = 0x10_0000;
/// Memory that cannot be written.
pub(super) const ROM: u64 = 0x1000;

const M: Privilege = Privilege::Machine;
const S: Privilege = Privilege::Supervisor;
const U: Privilege = Privilege::User;
const MODES: [Privilege; 3] = [U, S, M];

/// The deadline that the hart has armed its timer for; zero if none.
#[derive(Clone, Default)]
pub(super) struct Armed(Arc<AtomicU64>);

impl HartTimer for Armed {
    fn offset(&self) -> u64 {
        0
    }

    fn arm(&self, deadline: Option<u64>) {
        self.0.store(deadline.unwrap_or(0), Ordering::SeqCst);
    }
}

impl Armed {
    pub(super) fn deadline(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn config(model: &str) -> Config {
    let model = *Model::named(model).unwrap();
    Config { model, hart_id: 3, timebase_hz: 10_000_000, firmware_calls: false }
}

/// Hart 0 of `harts`, in M-mode.
fn hart_of(config: Config, harts: usize, timer: Option<Box<dyn HartTimer>>) -> Hart {
    vcpu(Riscv::new(config, timer), harts, &[(ROM, 0x1000, false), (RAM, RAM_LEN, true)])
}

/// The only hart of a machine of model `max`, in M-mode.
fn hart() -> Hart {
    hart_of(config("max"), 1, None)
}

/// Lets S- and U-mode access all memory.
fn open_pmp(hart: &mut Hart) {
    set(hart, 0x3b0, u64::MAX);
    set(hart, 0x3a0, 0x1f);
}

/// Puts `hart` into another mode without a trap or return.
fn enter(hart: &mut Hart, privilege: Privilege) {
    super::trap::set_privilege(hart, privilege, hart.state.retired);
}

/// Reads a CSR as M-mode.
fn get(hart: &Hart, number: u16) -> u64 {
    csr_read_debug(hart, number).unwrap_or_else(|| panic!("no CSR {number:#x}"))
}

/// Writes a CSR as M-mode.
fn set(hart: &mut Hart, number: u16, value: u64) {
    assert!(csr_write_debug(hart, number, value), "no CSR {number:#x} to write");
}

/// Executes a CSR instruction, counting it.
fn csr(hart: &mut Hart, number: u16, op: Op) -> Option<u64> {
    let old = execute(hart, number, op);
    if old.is_some() {
        hart.state.retired += 1;
    }
    old
}

fn call(hart: &mut Hart, helper: Helper, args: [u64; 3]) -> Result<u64, Stop> {
    Riscv::call(hart, helper as u16, args)
}

/// What an illegal instruction with these bits raises.
fn illegal(bits: u64) -> Result<u64, Stop> {
    Err(Stop::Exception(Exception::new(2, bits)))
}

fn exception(cause: u64, value: u64) -> Result<u64, Stop> {
    Err(Stop::Exception(Exception::new(cause, value)))
}

/// Turns the floating-point unit on.
fn fp_on(hart: &mut Hart) {
    let status = get(hart, 0x300);
    set(hart, 0x300, status | 1 << mstatus::FS_SHIFT);
}
