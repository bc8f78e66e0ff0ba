use super::*;
use crate::testing::{Lines, hammer};
use crate::uart::testing::Wire;
use spec::*;

struct Rig {
    uart: Arc<Pl011>,
    wire: Arc<Wire>,
    lines: Arc<Lines>,
}

impl Rig {
    fn new() -> Self {
        let (lines, wire) = (Lines::new(), Arc::<Wire>::default());
        let uart = Pl011::new(lines.line(0), Arc::clone(&wire) as Arc<dyn CharBackend>);
        Self { uart, wire, lines }
    }

    /// As a driver has it: FIFOs on, everything enabled.
    fn open() -> Self {
        let rig = Self::new();
        rig.write(LCR_H, lcr_h::FEN | 0x60);
        rig.write(CR, 0x301);
        rig
    }

    fn read(&self, offset: u64) -> u16 {
        self.uart.read(offset, Width::Half).unwrap() as u16
    }

    fn write(&self, offset: u64, value: u16) {
        self.uart.write(offset, Width::Half, value.into()).unwrap();
    }

    fn irq(&self) -> bool {
        self.lines.level(0)
    }
}

#[test]
fn registers_at_reset() {
    let rig = Rig::new();
    assert_eq!((rig.read(FR), rig.read(CR), rig.read(IFLS)), (0x97, 0x300, 0x12));
    assert_eq!([RIS, MIS, IMSC, RSR_ECR].map(|at| rig.read(at)), [0; 4]);
    let id: Vec<u16> = (0..8).map(|i| rig.read(0xfe0 + 4 * i)).collect();
    assert_eq!(id, [0x11, 0x10, 0x14, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    for (offset, kept) in
        [(IBRD, 0xffff), (FBRD, 0x3f), (LCR_H, 0xff), (IFLS, 0x3f), (IMSC, 0x7ff), (DMACR, 7)]
    {
        rig.write(offset, 0xffff);
        assert_eq!(rig.read(offset), kept, "{offset:#x}");
    }
    assert_eq!(rig.uart.read(FR, Width::Word), Ok(0x97));
    assert_eq!(rig.uart.read(FR, Width::Double), Err(AccessError::Width));
    assert_eq!(rig.uart.read(FR + 1, Width::Byte), Err(AccessError::Width));
    rig.uart.reset();
    assert_eq!((rig.read(IMSC), rig.read(IBRD)), (0, 0));
}

#[test]
fn sends_at_once_and_says_so() {
    let rig = Rig::open();
    assert_eq!(rig.read(RIS), 0, "nothing has been sent");
    rig.write(IMSC, int::TX);
    rig.write(DR, b'a'.into());
    assert_eq!((rig.irq(), rig.read(MIS), rig.read(FR) & fr::TXFE), (true, int::TX, fr::TXFE));
    rig.write(ICR, int::TX);
    assert!(!rig.irq());
    rig.write(DR, b'b'.into());
    assert!(rig.irq());
    assert_eq!(*rig.wire.output.lock(), b"ab");
}

#[test]
fn a_backend_without_room_is_a_full_transmitter() {
    let rig = Rig::open();
    *rig.wire.full.lock() = true;
    rig.write(IMSC, int::TX);
    for byte in 0..8 {
        rig.write(DR, byte);
    }
    assert_eq!((rig.read(FR) & (fr::BUSY | fr::TXFF | fr::TXFE), rig.irq()), (fr::BUSY, true), "half full");
    for byte in 8..18 {
        rig.write(DR, byte);
    }
    assert_eq!((rig.read(FR) & (fr::BUSY | fr::TXFF), rig.irq()), (fr::BUSY | fr::TXFF, false));
    rig.uart.output_ready();
    assert!(!rig.irq());
    *rig.wire.full.lock() = false;
    rig.uart.output_ready();
    assert_eq!((rig.read(FR) & (fr::BUSY | fr::TXFE), rig.irq()), (fr::TXFE, true));
    assert_eq!(*rig.wire.output.lock(), (0..16).collect::<Vec<u8>>(), "two were lost");
}

#[test]
fn receives_by_level_and_by_time() {
    let rig = Rig::open();
    rig.write(IMSC, int::RX | int::RT);
    assert_eq!(rig.uart.receive(b"abc"), 3);
    assert_eq!((rig.irq(), rig.read(RIS), rig.read(FR) & fr::RXFE), (true, int::RT, 0));
    assert_eq!(rig.uart.receive(b"defghijklmnopqrst"), 13);
    assert_eq!((rig.read(RIS), rig.read(FR) & fr::RXFF), (int::RT | int::RX, fr::RXFF));
    let got: Vec<u8> = (0..9).map(|_| rig.read(DR) as u8).collect();
    assert_eq!((got.as_slice(), rig.read(RIS)), (&b"abcdefghi"[..], int::RT));
    assert_eq!((*rig.wire.asked.lock(), rig.irq()), (0, true));
    (0..7).for_each(|_| assert_ne!(rig.read(DR), 0));
    assert_eq!((*rig.wire.asked.lock(), rig.irq(), rig.read(FR) & fr::RXFE), (1, false, fr::RXFE));
    assert_eq!(rig.read(DR), 0, "nothing there");
    rig.uart.receive(b"u");
    rig.write(ICR, int::RT);
    assert!(!rig.irq());
    rig.uart.receive(b"v");
    assert!(rig.irq());
    // Without FIFOs one byte is all.
    rig.write(LCR_H, 0);
    assert_eq!(
        (rig.read(RIS) & !int::TX, rig.read(FR) & fr::RXFE),
        (0, fr::RXFE),
        "switching them clears them"
    );
    assert_eq!(rig.uart.receive(b"xy"), 1);
    assert_eq!(rig.read(RIS) & (int::RX | int::RT), int::RX | int::RT);
    assert_eq!((rig.read(DR), *rig.wire.asked.lock()), (b'x'.into(), 2));
}

#[test]
fn loopback() {
    let rig = Rig::open();
    rig.write(CR, 0x301 | cr::LBE);
    assert_eq!(rig.uart.receive(b"line"), 0, "the line is cut off");
    for byte in 0..17 {
        rig.write(DR, byte);
    }
    assert_eq!((rig.read(RIS) & int::OE, rig.read(RSR_ECR)), (int::OE, RSR_OE));
    assert_eq!((rig.read(DR), rig.read(DR)), (DR_OE, 1));
    assert_eq!(rig.read(RSR_ECR), 0);
    assert!(rig.wire.output.lock().is_empty());
    rig.write(CR, 0x301);
    assert_eq!(*rig.wire.asked.lock(), 1);
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    for seed in 0..20 {
        *rig.wire.full.lock() = seed % 3 == 0;
        hammer(&*rig.uart, SIZE, &[DR, FR, LCR_H, CR, IMSC, ICR], 10_000, seed);
        rig.uart.receive(&[1; 40]);
        rig.uart.output_ready();
        assert!(rig.uart.state.lock().line.receiver.len() <= FIFO_LEN);
    }
}
