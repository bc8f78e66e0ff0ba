//! The firmware configuration interface of QEMU ("QEMU Firmware Configuration (fw_cfg) Device", docs/specs/fw_cfg of QEMU
//! 11), as memory-mapped registers.

/// Bytes of register space.
pub const SIZE: u64 = 0x18;
/// Data: the next one to eight bytes of the selected item, first byte first.
pub const DATA: u64 = 0x00;
/// Selects an item: 16 bits, big endian.
pub const SELECTOR: u64 = 0x08;
/// The address of a DMA request: 64 bits, big endian, in one access or two, of which the second starts it.
pub const DMA: u64 = 0x10;
/// The second of two accesses: the low half.
pub const DMA_LOW: u64 = DMA + 4;
/// What reading [`DMA`] gives, big endian: "QEMU CFG".
pub const DMA_SIGNATURE: u64 = 0x5145_4d55_2043_4647;

/// Item keys.
pub mod key {
    /// "QEMU".
    pub const SIGNATURE: u16 = 0x00;
    /// Features, 32 bits: [`super::FEATURES`].
    pub const ID: u16 = 0x01;
    /// How many CPUs there are, 16 bits.
    pub const NB_CPUS: u16 = 0x05;
    /// The kernel's size, 32 bits.
    pub const KERNEL_SIZE: u16 = 0x08;
    /// The size of the initial RAM disk, 32 bits.
    pub const INITRD_SIZE: u16 = 0x0b;
    /// How many CPUs there may ever be, 16 bits.
    pub const MAX_CPUS: u16 = 0x0f;
    /// The kernel.
    pub const KERNEL_DATA: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD_DATA: u16 = 0x12;
    /// The size of the command line with its final zero, 32 bits.
    pub const CMDLINE_SIZE: u16 = 0x14;
    /// The command line with its final zero.
    pub const CMDLINE_DATA: u16 = 0x15;
    /// The directory of files.
    pub const FILE_DIR: u16 = 0x19;
    /// The first file.
    pub const FILE_FIRST: u16 = 0x20;
    /// The bits of a key that select; the others say that it is written, or of an architecture's own.
    pub const MASK: u16 = 0x3fff;
    /// The item is to be written.
    pub const WRITE: u16 = 0x4000;
    /// The item is an architecture's own.
    pub const ARCH: u16 = 0x8000;
}

/// [`key::ID`]: registers and DMA.
pub const FEATURES: u32 = 0b11;
/// Bytes of a file's name in the directory, with its final zero.
pub const NAME_LEN: usize = 56;

/// A DMA request in guest memory: control and length (32 bits each) and address (64 bits), all big endian.
pub mod dma {
    /// Bytes of a request.
    pub const LEN: usize = 16;
    /// Control, written by the device: it failed.
    pub const ERROR: u32 = 1 << 0;
    /// Control: reads from the item to memory.
    pub const READ: u32 = 1 << 1;
    /// Control: passes over bytes of the item.
    pub const SKIP: u32 = 1 << 2;
    /// Control: selects the item whose key is in bits 31:16 first.
    pub const SELECT: u32 = 1 << 3;
    /// Control: writes to the item.
    pub const WRITE: u32 = 1 << 4;
}
