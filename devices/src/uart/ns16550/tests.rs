use super::*;
use crate::testing::{Lines, hammer};
use crate::uart::testing::Wire;
use spec::*;

struct Rig {
    uart: Arc<Ns16550>,
    wire: Arc<Wire>,
    lines: Arc<Lines>,
}

impl Rig {
    fn new() -> Self {
        let (lines, wire) = (Lines::new(), Arc::<Wire>::default());
        let uart = Ns16550::new(lines.line(0), Arc::clone(&wire) as Arc<dyn CharBackend>, 3_686_400);
        Self { uart, wire, lines }
    }

    fn with_fifos(trigger: u8) -> Self {
        let rig = Self::new();
        rig.write(IIR_FCR, fcr::ENABLE | trigger << 6);
        rig
    }

    fn read(&self, offset: u64) -> u8 {
        self.uart.read(offset, Width::Byte).unwrap() as u8
    }

    fn write(&self, offset: u64, value: u8) {
        self.uart.write(offset, Width::Byte, value.into()).unwrap();
    }

    fn irq(&self) -> bool {
        self.lines.level(0)
    }
}

#[test]
fn registers_at_reset_and_the_divisor_latch() {
    let rig = Rig::new();
    assert_eq!((0..8).map(|i| rig.read(i)).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0x60, 0xb0, 0]);
    rig.write(SCR, 0x5a);
    assert_eq!(rig.read(SCR), 0x5a);
    rig.write(LCR, lcr::DLAB | 3);
    rig.write(RBR_THR_DLL, 0x12);
    rig.write(IER_DLM, 0x34);
    assert_eq!((rig.read(RBR_THR_DLL), rig.read(IER_DLM)), (0x12, 0x34));
    rig.write(LCR, 3);
    assert_eq!((rig.read(RBR_THR_DLL), rig.read(IER_DLM)), (0, 0));
    assert!(rig.wire.output.lock().is_empty(), "the divisor is not data");
    rig.write(IER_DLM, 0xff);
    assert_eq!(rig.read(IER_DLM), 0x0f);
    rig.write(MCR, 0xff);
    assert_eq!(rig.read(MCR), 0x1f);
    rig.write(LSR, 0);
    assert_eq!(rig.read(LSR), 0x60);
    assert_eq!(rig.uart.read(8, Width::Byte), Err(AccessError::Unmapped));
    rig.uart.reset();
    assert_eq!((rig.read(SCR), rig.read(IER_DLM)), (0, 0));
}

#[test]
fn receives_one_byte_at_a_time_without_fifos() {
    let rig = Rig::new();
    assert_eq!(rig.uart.receive(b"ab"), 1);
    assert!(!rig.irq());
    rig.write(IER_DLM, ier::RDA);
    assert!(rig.irq());
    assert_eq!(rig.read(IIR_FCR), iir::RDA);
    assert_eq!(rig.read(LSR) & lsr::DATA_READY, 1);
    assert_eq!(rig.read(RBR_THR_DLL), b'a');
    assert_eq!((rig.irq(), *rig.wire.asked.lock()), (false, 1));
    assert_eq!(rig.uart.receive(b"b"), 1);
    assert_eq!((rig.irq(), rig.read(RBR_THR_DLL)), (true, b'b'));
    assert_eq!(*rig.wire.asked.lock(), 1, "nothing was refused the second time");
}

#[test]
fn fifo_trigger_and_timeout() {
    let rig = Rig::with_fifos(2);
    rig.write(IER_DLM, ier::RDA);
    assert_eq!(rig.read(IIR_FCR), iir::FIFOS | iir::NONE);
    assert_eq!(rig.uart.receive(b"1234567"), 7);
    assert_eq!((rig.irq(), rig.read(IIR_FCR)), (true, iir::FIFOS | iir::TIMEOUT));
    assert_eq!(rig.uart.receive(b"89abcdefghijk"), 9);
    assert_eq!(rig.read(IIR_FCR), iir::FIFOS | iir::RDA);
    let got: Vec<u8> = (0..16).map(|_| rig.read(RBR_THR_DLL)).collect();
    assert_eq!(got, b"123456789abcdefg");
    assert_eq!((rig.irq(), rig.read(LSR), *rig.wire.asked.lock()), (false, 0x60, 1));
    rig.uart.receive(b"x");
    rig.write(IIR_FCR, fcr::ENABLE | fcr::CLEAR_RECEIVER);
    assert_eq!((rig.irq(), rig.read(LSR)), (false, 0x60));
    rig.uart.receive(b"x");
    rig.write(IIR_FCR, 0);
    assert_eq!((rig.read(LSR), rig.read(IIR_FCR)), (0x60, iir::NONE), "disabling the FIFOs clears them");
}

#[test]
fn the_thre_interrupt() {
    let rig = Rig::with_fifos(0);
    rig.write(IER_DLM, ier::THRE);
    assert!(rig.irq(), "enabling it while the transmitter is empty raises it");
    assert_eq!(rig.read(IIR_FCR) & 0xf, iir::THRE);
    assert!(!rig.irq(), "reading IIR clears it");
    assert_eq!(rig.read(IIR_FCR) & 0xf, iir::NONE);
    rig.write(IER_DLM, ier::THRE);
    assert!(!rig.irq(), "it was enabled already");
    rig.write(RBR_THR_DLL, b'x');
    assert!(rig.irq(), "the byte is gone at once");
    rig.uart.receive(b"y");
    rig.write(IER_DLM, ier::THRE | ier::RDA);
    assert_eq!(rig.read(IIR_FCR) & 0xf, iir::RDA, "received data comes first");
    assert_eq!(rig.read(RBR_THR_DLL), b'y');
    assert_eq!(rig.read(IIR_FCR) & 0xf, iir::THRE, "and did not clear it");
    assert_eq!(*rig.wire.output.lock(), b"x");
}

#[test]
fn a_backend_without_room_is_a_busy_transmitter() {
    let rig = Rig::with_fifos(0);
    *rig.wire.full.lock() = true;
    rig.write(IER_DLM, ier::THRE);
    rig.read(IIR_FCR);
    for byte in 0..20 {
        rig.write(RBR_THR_DLL, byte);
    }
    assert_eq!((rig.read(LSR), rig.irq()), (0, false));
    rig.uart.output_ready();
    assert_eq!(rig.read(LSR), 0);
    *rig.wire.full.lock() = false;
    rig.write(RBR_THR_DLL, 99);
    assert!(rig.wire.output.lock().is_empty(), "a byte must not overtake those that wait");
    rig.uart.output_ready();
    assert_eq!((rig.read(LSR), rig.irq()), (0x60, true));
    assert_eq!(*rig.wire.output.lock(), (0..16).collect::<Vec<u8>>());
    *rig.wire.full.lock() = true;
    rig.write(RBR_THR_DLL, 1);
    rig.write(IIR_FCR, fcr::ENABLE | fcr::CLEAR_TRANSMITTER);
    assert_eq!((rig.read(LSR), rig.irq()), (0x60, true));
}

#[test]
fn loopback_connects_both_sides() {
    let rig = Rig::with_fifos(0);
    rig.write(MCR, mcr::LOOP | mcr::RTS | mcr::OUT2);
    assert_eq!(rig.read(MSR), msr::CTS | msr::DCD | msr::DELTA_DSR);
    assert_eq!(rig.read(MSR), msr::CTS | msr::DCD, "reading clears the changes");
    rig.write(MCR, mcr::LOOP | mcr::OUT1);
    assert_eq!(rig.read(MSR), msr::RI | msr::DELTA_CTS | msr::DELTA_DCD);
    rig.write(IER_DLM, ier::MODEM);
    rig.write(MCR, mcr::LOOP);
    assert_eq!((rig.irq(), rig.read(IIR_FCR) & 0xf), (true, iir::MODEM));
    assert_eq!((rig.read(MSR), rig.irq()), (msr::TRAILING_RI, false));
    assert_eq!(rig.uart.receive(b"line"), 0, "the line is cut off");
    rig.write(IER_DLM, ier::RLS);
    for byte in 0..17 {
        rig.write(RBR_THR_DLL, byte);
    }
    assert_eq!((rig.irq(), rig.read(IIR_FCR) & 0xf), (true, iir::RLS));
    assert_eq!(rig.read(LSR), 0x60 | lsr::OVERRUN | lsr::DATA_READY);
    assert_eq!((rig.irq(), rig.read(LSR)), (false, 0x61), "reading clears the overrun");
    assert_eq!((0..16).map(|_| rig.read(RBR_THR_DLL)).collect::<Vec<_>>(), (0..16).collect::<Vec<u8>>());
    assert!(rig.wire.output.lock().is_empty());
    let asked = *rig.wire.asked.lock();
    rig.write(MCR, 0);
    assert_eq!(rig.read(MSR) & 0xf0, 0xb0);
    assert_eq!(asked, 1, "the refused line is asked again once the receiver is empty");
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    for seed in crate::testing::seeds(20) {
        *rig.wire.full.lock() = seed % 3 == 0;
        hammer(&*rig.uart, SIZE + 8, &[0, 1, 2], 10_000, seed);
        rig.uart.receive(&[1; 40]);
        rig.uart.output_ready();
        assert!(rig.uart.state.lock().line.receiver.len() <= FIFO_LEN);
    }
}
