//! The reset ROM of the riscv64 `virt` board: it hands each hart to the firmware.

/// Size of the ROM's contents in bytes.
pub const RESET_ROM_SIZE: usize = CODE.len() * 4 + 16 + 48;

/// Position independent. The data follows: where to jump at +0x18, the device tree's address at +0x20, the
/// [`FwDynamicInfo`] at +0x28.
const CODE: [u32; 6] = [
    0x0000_0297, // auipc t0, 0
    0x0282_8613, // addi  a2, t0, 0x28
    0xf140_2573, // csrr  a0, mhartid
    0x0202_b583, // ld    a1, 0x20(t0)
    0x0182_b283, // ld    t0, 0x18(t0)
    0x0002_8067, // jr    t0
];

/// What a dynamic firmware (OpenSBI `fw_dynamic`) is told through `a2`; the rest of it is the same for every
/// boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FwDynamicInfo {
    /// Where the firmware goes on in S-mode, zero if there is no kernel.
    pub next_address: u64,
}

impl FwDynamicInfo {
    const MAGIC: u64 = 0x4942_534f; // "OSBI"
    const VERSION: u64 = 2;
    const NEXT_MODE_S: u64 = 1;
    const NO_OPTIONS: u64 = 0;
    const BOOT_HART: u64 = 0;

    /// The structure as it lies in memory.
    pub fn words(&self) -> [u64; 6] {
        let Self { next_address } = *self;
        [Self::MAGIC, Self::VERSION, next_address, Self::NEXT_MODE_S, Self::NO_OPTIONS, Self::BOOT_HART]
    }
}

/// The ROM's contents: each hart jumps to `start` with its id in `a0`, `fdt` in `a1` and the address of
/// `info` in `a2`.
pub fn reset_rom(start: u64, fdt: u64, info: &FwDynamicInfo) -> [u8; RESET_ROM_SIZE] {
    let code = CODE.iter().flat_map(|word| word.to_le_bytes());
    let data = [start, fdt].into_iter().chain(info.words()).flat_map(u64::to_le_bytes);
    let mut rom = [0; RESET_ROM_SIZE];
    for (to, from) in rom.iter_mut().zip(code.chain(data)) {
        *to = from;
    }
    rom
}
