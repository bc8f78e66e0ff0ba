//! Which interrupts are taken, and where; timers.

use super::super::bits::sctlr;
use super::super::gic::pin;
use super::super::syndrome::{CONDITION, Interrupt};
use super::super::timer::Timer;
use super::*;
use emu_core::exec::HostRequest;

fn pending(cpu: &mut Cpu, pin: u32) -> Option<u64> {
    cpu.port().set_pins(0x3f, 1 << pin);
    Aarch64::pending_interrupt(cpu).map(|exception| exception.cause)
}

/// Lets interrupts in.
fn unmask(cpu: &mut Cpu) {
    call(cpu, Helper::MsrImmediate, [0o37, 0xf, 0]).unwrap();
}

#[test]
fn physical_interrupts() {
    for (el, secure, hypervisor, expected) in [
        (1, 0, 0, Some(1)),
        (1, 0, hcr::IMO, Some(2)),
        (1, scr::IRQ, 0, Some(3)),
        (2, 0, 0, None),
        (2, 0, hcr::IMO, Some(2)),
        (3, 0, hcr::IMO, None),
        (3, scr::IRQ, 0, Some(3)),
    ] {
        let mut cpu = cpu_at(el);
        let (scr, hcr) = (get(&cpu, Reg::SCR_EL3), get(&cpu, Reg::HCR_EL2));
        set(&mut cpu, Reg::SCR_EL3, scr | secure);
        set(&mut cpu, Reg::HCR_EL2, hcr | hypervisor);
        // Masked: only what goes to a higher level is taken.
        let higher = expected.filter(|&to| to > el).map(|to| Interrupt::Irq.cause(to));
        call(&mut cpu, Helper::MsrImmediate, [0o36, 0xf, 0]).unwrap();
        assert_eq!(pending(&mut cpu, pin::IRQ), higher, "masked at EL{el}");
        unmask(&mut cpu);
        let expected = expected.map(|to| Interrupt::Irq.cause(to));
        assert_eq!(pending(&mut cpu, pin::IRQ), expected, "at EL{el}, {secure:#x}, {hypervisor:#x}");
    }
}

#[test]
fn virtual_interrupts() {
    let mut cpu = cpu_at(1);
    unmask(&mut cpu);
    assert_eq!(pending(&mut cpu, pin::VIRQ), None, "no IMO");
    let base = get(&cpu, Reg::HCR_EL2);
    set(&mut cpu, Reg::HCR_EL2, base | hcr::IMO | hcr::FMO | hcr::AMO);
    assert_eq!(pending(&mut cpu, pin::VIRQ), Some(Interrupt::VirtualIrq.cause(1)));
    assert_eq!(pending(&mut cpu, pin::VFIQ), Some(Interrupt::VirtualFiq.cause(1)));
    for (bit, interrupt) in [
        (hcr::VI, Interrupt::VirtualIrq),
        (hcr::VF, Interrupt::VirtualFiq),
        (hcr::VSE, Interrupt::VirtualSError),
    ] {
        set(&mut cpu, Reg::HCR_EL2, base | hcr::IMO | hcr::FMO | hcr::AMO | bit);
        cpu.port().set_pins(0x3f, 0);
        let found = Aarch64::pending_interrupt(&mut cpu).map(|exception| exception.cause);
        assert_eq!(found, Some(interrupt.cause(1)));
    }
    Aarch64::raise(&mut cpu, Exception::new(Interrupt::VirtualSError.cause(1), 0));
    assert_eq!(get(&cpu, Reg::HCR_EL2) & hcr::VSE, 0, "it is pending once");
    enter(&mut cpu, 2);
    unmask(&mut cpu);
    assert_eq!(pending(&mut cpu, pin::VIRQ), None, "not at EL2");
}

#[test]
fn timers_drive_their_lines_and_the_alarm() {
    let (wire, armed) = (Wire::default(), Armed::default());
    let wiring = Wiring {
        timers: Some(Timer::ALL.map(|timer| wire.line(timer.interrupt()))),
        alarm: Some(Box::new(armed.clone())),
        ..Wiring::default()
    };
    let mut cpu = cpu_of(config("max"), wiring, 1);
    for (timer, control, compare) in [
        (Timer::Physical, Reg::CNTP_CTL_EL0, Reg::CNTP_CVAL_EL0),
        (Timer::Virtual, Reg::CNTV_CTL_EL0, Reg::CNTV_CVAL_EL0),
        (Timer::HypPhysical, Reg::CNTHP_CTL_EL2, Reg::CNTHP_CVAL_EL2),
        (Timer::HypVirtual, Reg::CNTHV_CTL_EL2, Reg::CNTHV_CVAL_EL2),
        (Timer::Secure, Reg::CNTPS_CTL_EL1, Reg::CNTPS_CVAL_EL1),
    ] {
        let line = 1 << timer.interrupt();
        msr(&mut cpu, compare, 0).unwrap();
        msr(&mut cpu, control, 3).unwrap();
        assert_eq!((wire.levels(), mrs(&mut cpu, control)), (0, Ok(7)), "{timer:?} is masked");
        msr(&mut cpu, control, 1).unwrap();
        assert_eq!((wire.levels(), mrs(&mut cpu, control)), (line, Ok(5)), "{timer:?}");
        // A later time arms the alarm; at a counter of one gigahertz it is that many nanoseconds.
        msr(&mut cpu, compare, 1 << 50).unwrap();
        assert_eq!((wire.levels(), armed.0.load(Ordering::SeqCst)), (0, 1 << 50), "{timer:?}");
        msr(&mut cpu, control, 0).unwrap();
        assert_eq!(armed.0.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn waits_for_a_word_end_by_events_and_traps() {
    for count in [1, 2] {
        let mut cpu = cpu_of(config("max"), Wiring::default(), count);
        cpu.enter_guest();
        let yields = Err(Stop::Host(HostRequest::Yield));
        let wait = |cpu: &mut Cpu, value| call(cpu, Helper::WfeWhile, [RAM, value, 4]);
        assert_eq!(wait(&mut cpu, 0xffff_ffff_0000_0000), yields, "only the word's own bits count");
        let changed = if count == 1 { yields } else { Ok(0) };
        assert_eq!(wait(&mut cpu, 1), changed);
        for event in [Helper::Sev, Helper::Sevl] {
            call(&mut cpu, event, [0; 3]).unwrap();
            assert_eq!((wait(&mut cpu, 0), wait(&mut cpu, 0)), (Ok(0), yields), "{event:?}");
        }
        // A reservation from before does not outlive it.
        call(&mut cpu, Helper::LoadExclusive, [RAM, 4, 0]).unwrap();
        assert_eq!(wait(&mut cpu, 0), yields);
        assert_eq!(call(&mut cpu, Helper::StoreExclusive, [RAM, 1, 4]), Ok(1));
        cpu.leave_guest();
    }
    let mut cpu = cpu_at(0);
    let trap = |el| Err(Stop::Exception(Exception::new(target(syndrome(class::WFX, CONDITION | 1), el), 0)));
    set(&mut cpu, Reg::SCTLR_EL1, 0);
    assert_eq!(call(&mut cpu, Helper::WfeWhile, [RAM, 0, 4]), trap(1));
    set(&mut cpu, Reg::SCTLR_EL1, sctlr::NTWE);
    let base = get(&cpu, Reg::HCR_EL2);
    set(&mut cpu, Reg::HCR_EL2, base | hcr::TWE);
    assert_eq!(call(&mut cpu, Helper::WfeWhile, [RAM, 0, 4]), trap(2));
    set(&mut cpu, Reg::HCR_EL2, base);
    assert_eq!(call(&mut cpu, Helper::WfeWhile, [RAM, 0, 4]), Err(Stop::Host(HostRequest::Yield)));
}
