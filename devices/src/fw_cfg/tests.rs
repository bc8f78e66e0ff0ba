use super::*;
use crate::testing::{Random, hammer};
use emu_core::mem::RamBuilder;
use spec::*;

const RAM: u64 = 0x4000_0000;
const RAM_LEN: u64 = 1 << 20;

struct Rig {
    fw_cfg: Arc<FwCfg>,
    memory: GuestMemory,
}

impl Rig {
    fn new() -> Self {
        let ram = RamBuilder::new().region("dram", RAM, RAM_LEN, true).and_then(RamBuilder::build).unwrap();
        let memory = ram.guest_memory().unwrap();
        let items = Items::new(4)
            .kernel(Arc::new((0..=255).collect()))
            .command_line("console=ttyAMA0")
            .file("etc/first", b"one".to_vec())
            .file("opt/second", vec![7; 5000]);
        Self { fw_cfg: FwCfg::new(items, memory.clone()), memory }
    }

    fn select(&self, key: u16) {
        self.fw_cfg.write(SELECTOR, Width::Half, key.swap_bytes().into()).unwrap();
    }

    fn bytes(&self, key: u16, len: usize) -> Vec<u8> {
        self.select(key);
        (0..len).map(|_| self.fw_cfg.read(DATA, Width::Byte).unwrap() as u8).collect()
    }

    /// Puts a request at `at` and starts it; the control word that it leaves.
    fn dma(&self, at: u64, control: u32, len: u32, to: u64) -> u32 {
        let request = [&control.to_be_bytes()[..], &len.to_be_bytes(), &to.to_be_bytes()].concat();
        self.memory.write_slice(&request, GuestAddress(at)).unwrap();
        self.fw_cfg.write(DMA, Width::Double, at.swap_bytes()).unwrap();
        u32::from_be(self.memory.read_obj(GuestAddress(at)).unwrap())
    }

    fn memory(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}

#[test]
fn items_by_their_keys() {
    let rig = Rig::new();
    assert_eq!(rig.bytes(key::SIGNATURE, 6), b"QEMU\0\0");
    assert_eq!(rig.bytes(key::ID, 4), [3, 0, 0, 0]);
    assert_eq!(rig.bytes(key::NB_CPUS, 2), [4, 0]);
    assert_eq!(rig.bytes(key::KERNEL_SIZE, 4), [0, 1, 0, 0]);
    assert_eq!(rig.bytes(key::CMDLINE_SIZE, 4), [16, 0, 0, 0]);
    assert_eq!(rig.bytes(key::CMDLINE_DATA, 17), b"console=ttyAMA0\0\0");
    assert_eq!(rig.bytes(key::INITRD_SIZE, 4), [0; 4]);
    assert_eq!(rig.bytes(0x3fff, 2), [0; 2]);
    // Wider reads take more bytes, in the same order.
    rig.select(key::KERNEL_DATA);
    let read = |offset, width| rig.fw_cfg.read(offset, width).unwrap();
    assert_eq!(read(DATA, Width::Double), 0x0706_0504_0302_0100);
    assert_eq!((read(DATA, Width::Word), read(DATA + 4, Width::Half)), (0x0b0a_0908, 0x0d0c));
    assert_eq!(read(SELECTOR, Width::Half), 0);
    rig.fw_cfg.reset();
    assert_eq!(read(DATA, Width::Word), u64::from(u32::from_le_bytes(*b"QEMU")));
}

#[test]
fn files_by_the_directory() {
    let rig = Rig::new();
    let directory = rig.bytes(key::FILE_DIR, 4 + 2 * 64);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    assert_eq!(directory[4..12], [0, 0, 0, 3, 0, 0x20, 0, 0]);
    assert!(directory[12..].starts_with(b"etc/first\0"));
    assert_eq!(directory[68..76], [0, 0, 0x13, 0x88, 0, 0x21, 0, 0]);
    assert!(directory[76..].starts_with(b"opt/second\0"));
    assert_eq!(rig.bytes(0x20, 4), b"one\0");
}

#[test]
fn requests_in_memory() {
    let rig = Rig::new();
    assert_eq!(rig.fw_cfg.read(DMA, Width::Double), Ok(DMA_SIGNATURE.swap_bytes()));
    assert_eq!(rig.fw_cfg.read(DMA + 4, Width::Word), Ok(u64::from(u32::from_le_bytes(*b" CFG"))));
    let kernel = u32::from(key::KERNEL_DATA) << 16 | dma::SELECT;
    rig.memory.write_slice(&[0xff; 600], GuestAddress(RAM + 0x1000)).unwrap();
    assert_eq!(rig.dma(RAM, kernel | dma::READ, 10, RAM + 0x1000), 0);
    assert_eq!(rig.memory(RAM + 0x1000, 11), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff]);
    assert_eq!(rig.dma(RAM, dma::SKIP, 6, 0), 0);
    assert_eq!(rig.dma(RAM, dma::READ, 300, RAM + 0x1000), 0);
    let got = rig.memory(RAM + 0x1000, 301);
    assert_eq!(
        (got[0], got[239], got[240], got[299], got[300]),
        (16, 255, 0, 0, 0xff),
        "zeros behind the end"
    );
    assert_eq!(rig.dma(RAM, kernel, 0, 0), 0);
    assert_eq!(rig.fw_cfg.read(DATA, Width::Half), Ok(0x0100));
    // In two halves.
    let request =
        [&(kernel | dma::READ).to_be_bytes()[..], &[0, 0, 0, 1], &(RAM + 0x1000).to_be_bytes()].concat();
    rig.memory.write_slice(&request, GuestAddress(RAM + 0x100)).unwrap();
    rig.fw_cfg.write(DMA, Width::Word, 0).unwrap();
    rig.fw_cfg.write(DMA + 4, Width::Word, ((RAM + 0x100) as u32).swap_bytes().into()).unwrap();
    assert_eq!(rig.memory(RAM + 0x100, 4), [0; 4]);
}

#[test]
fn requests_that_fail() {
    let rig = Rig::new();
    let kernel = u32::from(key::KERNEL_DATA) << 16 | dma::SELECT;
    for (control, len, to) in [
        (kernel | dma::READ, 10, RAM + RAM_LEN - 9),
        (kernel | dma::READ, u32::MAX, RAM),
        (kernel | dma::READ, 1, 0),
        (kernel | dma::READ, 2, u64::MAX),
        (kernel | dma::WRITE, 4, RAM),
        (kernel | u32::from(key::WRITE) << 16 | dma::WRITE, 4, RAM),
    ] {
        assert_eq!(rig.dma(RAM + 0x100, control, len, to), dma::ERROR, "{control:#x} {len:#x} {to:#x}");
    }
    for address in [0, RAM + RAM_LEN - 8, u64::MAX] {
        rig.fw_cfg.write(DMA, Width::Double, address.swap_bytes()).unwrap();
    }
    assert_eq!(rig.dma(RAM, dma::SKIP, u32::MAX, 0), 0);
    assert_eq!(rig.fw_cfg.read(DATA, Width::Byte), Ok(0));
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    hammer(&*rig.fw_cfg, SIZE, &[DATA, SELECTOR, DMA], 100_000, 1);
    let mut random = Random(2);
    for _ in 0..5_000 {
        let control = (random.below(0x30) as u32) << 16 | random.below(32) as u32;
        let len = random.below(3) * random.below(100_000);
        let to = RAM.wrapping_add(random.value() % (2 * RAM_LEN));
        rig.dma(RAM, control, len as u32, to);
    }
}
