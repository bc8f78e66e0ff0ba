use super::*;
use crate::testing::{Lines, hammer};
use spec::*;

struct Rig {
    gpio: Arc<Pl061>,
    lines: Arc<Lines>,
}

/// The interrupt, in the numbering of the recorded lines; outputs are 0 to 7.
const IRQ: u32 = 8;

impl Rig {
    fn new() -> Self {
        let lines = Lines::new();
        let outputs = std::array::from_fn(|i| lines.line(i as u32));
        Self { gpio: Pl061::new(lines.line(IRQ), outputs), lines }
    }

    fn read(&self, offset: u64) -> u64 {
        self.gpio.read(offset, Width::Word).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        self.gpio.write(offset, Width::Word, value).unwrap();
    }

    fn irq(&self) -> bool {
        self.lines.level(IRQ)
    }
}

#[test]
fn outputs_drive_their_wires() {
    let rig = Rig::new();
    let id: Vec<u64> = (0..8).map(|i| rig.read(0xfe0 + 4 * i)).collect();
    assert_eq!(id, [0x61, 0x10, 0x04, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    rig.write(DATA + 0x3fc, 0xff);
    assert_eq!(rig.read(DATA + 0x3fc), 0, "all are inputs");
    rig.write(DIR, 0b11);
    rig.write(DATA + (0b01 << 2), 0xff);
    assert_eq!((rig.read(DATA + 0x3fc), rig.lines.level(0), rig.lines.level(1)), (1, true, false));
    assert_eq!(rig.read(DATA + (0b10 << 2)), 0, "the address is a mask");
    rig.gpio.set_line(0, false);
    assert!(rig.lines.level(0));
    rig.write(DIR, 0);
    assert!(!rig.lines.level(0));
    rig.gpio.set_line(8, true);
    assert_eq!(rig.gpio.read(DIR, Width::Byte), Ok(0));
    assert_eq!(rig.gpio.read(DIR, Width::Double), Err(AccessError::Width));
}

#[test]
fn interrupts_by_edge() {
    let rig = Rig::new();
    rig.write(IE, 1 << 3);
    rig.write(IEV, 1 << 3);
    rig.gpio.set_line(3, true);
    assert_eq!((rig.irq(), rig.read(MIS), rig.read(DATA + 0x3fc)), (true, 1 << 3, 1 << 3));
    rig.write(IC, 1 << 3);
    rig.gpio.set_line(3, false);
    assert!(!rig.irq(), "a falling edge");
    rig.write(IBE, 1 << 3);
    rig.gpio.set_line(3, true);
    rig.write(IC, 1 << 3);
    rig.gpio.set_line(3, false);
    assert!(rig.irq());
    rig.write(IE, 0);
    assert_eq!((rig.irq(), rig.read(RIS)), (false, 1 << 3));
    rig.write(IC, 0xff);
    rig.write(IBE, 0);
    rig.write(IEV, 0);
    rig.write(IE, 0xff);
    rig.gpio.set_line(3, true);
    assert!(!rig.irq(), "a rising edge");
    rig.gpio.set_line(3, false);
    assert!(rig.irq());
    rig.gpio.reset();
    assert!(!rig.irq());
}

#[test]
fn interrupts_by_level() {
    let rig = Rig::new();
    rig.write(IS, 0b1010);
    rig.write(IEV, 0b0010);
    rig.write(IE, 0b1010);
    assert_eq!((rig.irq(), rig.read(RIS)), (true, 0b1000), "line 3 is low");
    rig.gpio.set_line(3, true);
    rig.write(IC, 0xff);
    assert!(!rig.irq());
    rig.gpio.set_line(1, true);
    rig.write(IC, 0xff);
    assert!(rig.irq(), "a level is not cleared");
    rig.write(DIR, 0b0010);
    assert!(!rig.irq(), "outputs have no interrupts");
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    for seed in 0..20 {
        hammer(&*rig.gpio, SIZE, &[0x3fc, DIR, IS, IBE, IEV, IE, IC], 5_000, seed);
        rig.gpio.set_line(seed as u32 % 9, seed % 2 == 0);
    }
}
