//! Breakpoints, watchpoints, the OS lock.

use emu_core::exec::Access;
use emu_core::ir::{MemAttr, Ty, View};

use super::super::syndrome::{DEBUG_EXCEPTION, WNR};
use super::*;

/// `MDSCR_EL1.MDE`, and `KDE` for what EL1 does itself.
const ON: u64 = 1 << 15 | 1 << 13;
const AT: u64 = RAM + 0x2000;

fn debugged() -> Cpu {
    let mut cpu = cpu_at(1);
    call(&mut cpu, Helper::MsrImmediate, [0o37, 0xf, 0]).unwrap();
    set(&mut cpu, Reg::MDSCR_EL1, ON);
    cpu
}

fn fetch(cpu: &mut Cpu, va: u64) -> Result<(), Exception> {
    Aarch64::translate(cpu, va, 4, Access::Fetch, View::Current).map(|_| ())
}

#[test]
fn breakpoints() {
    let mut cpu = debugged();
    set(&mut cpu, Reg::DBGBVR0_EL1, AT);
    set(&mut cpu, Reg::DBGBCR0_EL1, 1 | 3 << 1 | 0xf << 5);
    let hit = Err(Exception::new(syndrome(class::BREAKPOINT, DEBUG_EXCEPTION).into(), AT));
    assert_eq!(fetch(&mut cpu, AT), hit);
    assert_eq!(fetch(&mut cpu, AT + 4), Ok(()));
    // Off: by itself, for EL1, by the lock, by PSTATE.D, by MDE.
    set(&mut cpu, Reg::DBGBCR0_EL1, 3 << 1 | 0xf << 5);
    assert_eq!(fetch(&mut cpu, AT), Ok(()));
    set(&mut cpu, Reg::DBGBCR0_EL1, 1 | 2 << 1 | 0xf << 5);
    assert_eq!(fetch(&mut cpu, AT), Ok(()));
    set(&mut cpu, Reg::DBGBCR0_EL1, 1 | 3 << 1 | 0xf << 5);
    set(&mut cpu, Reg::OSLAR_EL1, 1);
    assert_eq!(fetch(&mut cpu, AT), Ok(()));
    set(&mut cpu, Reg::OSLAR_EL1, 0);
    assert_eq!(fetch(&mut cpu, AT), hit);
    call(&mut cpu, Helper::MsrImmediate, [0o36, 8, 0]).unwrap();
    assert_eq!(fetch(&mut cpu, AT), Ok(()));
    call(&mut cpu, Helper::MsrImmediate, [0o37, 8, 0]).unwrap();
    set(&mut cpu, Reg::MDSCR_EL1, 0);
    assert_eq!(fetch(&mut cpu, AT), Ok(()));
}

#[test]
fn watchpoints() {
    let mut cpu = debugged();
    set(&mut cpu, Reg::DBGWVR1_EL1, AT);
    // Stores to the upper four bytes.
    set(&mut cpu, Reg::DBGWCR1_EL1, 1 | 3 << 1 | 2 << 3 | 0xf0 << 5);
    let mut store = |va: u64| cpu.store(Ty::I32, MemAttr::PLAIN, va, 0);
    let hit = Exception::new(syndrome(class::WATCHPOINT, DEBUG_EXCEPTION | WNR).into(), AT + 4);
    assert_eq!(store(AT), Ok(()));
    assert_eq!(store(AT + 4), Err(hit.into()));
    assert_eq!(store(AT + 8), Ok(()));
    assert!(cpu.load(Ty::I32, MemAttr::PLAIN, AT + 4).is_ok());
    // All of a range of 4 KiB, loads.
    set(&mut cpu, Reg::DBGWCR1_EL1, 1 | 3 << 1 | 1 << 3 | 0xff << 5 | 12 << 24);
    assert!(cpu.load(Ty::I32, MemAttr::PLAIN, AT + 0xff0).is_err());
    assert!(cpu.load(Ty::I32, MemAttr::PLAIN, AT + 0x1000).is_ok());
}
