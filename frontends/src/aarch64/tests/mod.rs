//! Tests of the system level, on processors without code where they can be: what instructions do is called directly.

mod debug;
mod exception;
mod fuzz;
mod interrupt;
mod maintenance;
mod mmu;
mod pmu;
mod sysreg;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use emu_core::device::{IrqLine, IrqSink};
use emu_core::exec::{Exception, Isa, Stop};
use emu_core::testing::{Random, seeds, vcpu};

use super::bits::{hcr, scr, spsr};
use super::gic::{CpuInterface, Requester};
use super::helper::Helper;
use super::pauth::Algorithm;
use super::state::{Aarch64, Config, Cpu, Wiring};
use super::syndrome::{UNDEFINED, class, syndrome, target};
use super::sysreg::{Reg, sysreg_read_debug, sysreg_write_debug};
use super::timer::Alarm;
use super::{Model, exception as exceptions};

const RAM: u64 = 0x4000_0000;
const RAM_LEN: u64 = 0x40_0000;
/// Memory that cannot be written.
const ROM: u64 = 0x1_0000;

fn config(model: &str) -> Config {
    Config {
        model: *Model::named(model).unwrap(),
        pauth: Algorithm::Fast,
        mpidr: 2,
        conduit: None,
        el2: true,
        el3: true,
    }
}

fn cpu_of(config: Config, wiring: Wiring, count: usize) -> Cpu {
    vcpu(Aarch64::connected(config, wiring), count, &[(ROM, 0x1_0000, false), (RAM, RAM_LEN, true)])
}

/// A processor with everything, in its reset state.
fn cpu() -> Cpu {
    cpu_of(config("max"), Wiring::default(), 1)
}

/// The same in Non-secure state at exception level `el`; what EL2 and EL3 could trap is let through.
fn cpu_at(el: u8) -> Cpu {
    let mut cpu = cpu();
    set(&mut cpu, Reg::SCR_EL3, scr::NS | scr::HCE | scr::API | scr::APK | scr::EN_SCXT | scr::HX_EN);
    set(&mut cpu, Reg::HCR_EL2, hcr::API | hcr::APK | hcr::EN_SCXT);
    set(&mut cpu, Reg::CNTHCTL_EL2, 3);
    set(&mut cpu, Reg::OSLAR_EL1, 0);
    enter(&mut cpu, el);
    cpu
}

/// Puts `cpu` to another exception level without an exception or return.
fn enter(cpu: &mut Cpu, el: u8) {
    exceptions::select_sp(cpu, el, el > 0);
    cpu.mode_changed();
}

fn get(cpu: &Cpu, register: Reg) -> u64 {
    sysreg_read_debug(cpu, register.encoding()).unwrap_or_else(|| panic!("no {register:?}"))
}

/// Writes a register, whatever the rules of access say. `OSLAR_EL1` can only be written.
fn set(cpu: &mut Cpu, register: Reg, value: u64) {
    if register == Reg::OSLAR_EL1 {
        return super::debug::write_lock(cpu, register, value);
    }
    assert!(sysreg_write_debug(cpu, register.encoding(), value), "no {register:?} to write");
}

fn call(cpu: &mut Cpu, helper: Helper, args: [u64; 3]) -> Result<u64, Stop> {
    Aarch64::call(cpu, helper as u16, args)
}

/// The general register in the syndromes of accesses.
const RT: u64 = 9;

/// `MRS`.
fn mrs(cpu: &mut Cpu, register: Reg) -> Result<u64, Stop> {
    call(cpu, Helper::Mrs, [u64::from(register.encoding()) | RT << 16, 0, 0])
}

/// `MSR`.
fn msr(cpu: &mut Cpu, register: Reg, value: u64) -> Result<u64, Stop> {
    call(cpu, Helper::Msr, [u64::from(register.encoding()) | RT << 16, value, 0])
}

/// A system instruction.
fn sys(cpu: &mut Cpu, instruction: Reg, value: u64) -> Result<u64, Stop> {
    call(cpu, Helper::Sys, [u64::from(instruction.encoding()) | RT << 16, value, 0])
}

fn undefined() -> Result<u64, Stop> {
    Err(Stop::Exception(Exception::new(UNDEFINED.into(), 0)))
}

/// What a trapped access raises, which is routed to `el` if that is 2 or 3.
fn trapped(register: Reg, el: u8, write: bool) -> Result<u64, Stop> {
    let encoding = u32::from(register.encoding());
    let field = |shift: u32, bits: u32| encoding >> shift & ((1 << bits) - 1);
    let iss = field(14, 2) << 20
        | field(0, 3) << 17
        | field(11, 3) << 14
        | field(7, 4) << 10
        | (RT as u32) << 5
        | field(3, 4) << 1
        | u32::from(!write);
    Err(Stop::Exception(Exception::new(target(syndrome(class::SYSTEM, iss), el), 0)))
}

/// A wire that remembers its level.
#[derive(Clone, Default)]
struct Wire(Arc<AtomicU64>);

impl IrqSink for Wire {
    fn set_line(&self, line: u32, level: bool) {
        if level {
            self.0.fetch_or(1 << line, Ordering::SeqCst);
        } else {
            self.0.fetch_and(!(1 << line), Ordering::SeqCst);
        }
    }
}

impl Wire {
    fn line(&self, line: u32) -> IrqLine {
        IrqLine::new(Arc::new(self.clone()), line)
    }

    fn levels(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The deadline that the alarm is set to; zero if none.
#[derive(Clone, Default)]
struct Armed(Arc<AtomicU64>);

impl Alarm for Armed {
    fn arm(&self, deadline: Option<u64>) {
        self.0.store(deadline.unwrap_or(0), Ordering::SeqCst);
    }
}

/// A controller whose registers all exist and read as who asks.
struct Mirror;

impl Mirror {
    fn seen(by: Requester) -> u64 {
        u64::from(by.el) | u64::from(by.secure) << 8 | u64::from(by.shifted) << 9 | u64::from(by.virt) << 10
    }
}

impl CpuInterface for Mirror {
    fn read(&self, register: u16, by: Requester) -> Option<u64> {
        (register != Reg::ICC_AP1R3_EL1.encoding()).then(|| Self::seen(by))
    }

    fn write(&self, register: u16, _: Requester, _: u64) -> Option<()> {
        (register != Reg::ICC_AP1R3_EL1.encoding()).then_some(())
    }
}
