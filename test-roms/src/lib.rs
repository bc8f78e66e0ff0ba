//! Bare-metal test programs for the riscv64 `virt` board, in source form (`riscv64/`) and built (`elf/`).
//!
//! Each ROM is a small ELF that is entered in M-mode at 0x8000_0000 by every hart, with the hart number in `a0` and the
//! address of the device tree in `a1` (no firmware). It checks one part of the architecture, following the
//! specification, prints nothing for a check that passes, and for one that fails its name, what was expected and what
//! was found. It ends through the test finisher: 0x5555 after `ROM name: N checks passed` on the UART, else 0x3333 with
//! a code in bits 31:16: 1 when checks failed, 2 when a trap came that no check expected.
//!
//! What a ROM checks depends on `riscv,isa-extensions` in the device tree: an extension that is named must work, one
//! that is not must be absent. Parameters come from `/chosen/bootargs`: [`Rom::append`] is what our machine gets.
//! `peer=qemu` leaves out the checks that QEMU 11 is known to fail; each is marked in the source.
//!
//! `build.sh` rebuilds the ELFs, `build.sh --check` compares them with their sources, `on-qemu.sh` runs them on QEMU.
//! Start with `riscv64/rt/rt.h`, which has the runtime that all ROMs share, then any of the ROMs.

use std::time::Duration;

/// One test program and how to run it.
#[derive(Clone, Copy, Debug)]
pub struct Rom {
    /// What it is called: the name of its source, without the extension, and what it prints.
    pub name: &'static str,
    /// The built program, an ELF64 executable with one segment at 0x8000_0000.
    pub elf: &'static [u8],
    /// The numbers of harts to run it with, one run for each.
    pub harts: &'static [usize],
    /// The kernel command line that it should get on our machine, with the CPU model that has everything.
    pub append: &'static str,
    /// The same for a run that takes longer, where there is more to do: `smp` then does the ten million operations on
    /// its LR/SC stack that the product promises.
    pub thorough: Option<&'static str>,
    /// How long one run with [`Rom::append`] may take on an interpreter on a busy host, before it counts as hung.
    pub timeout: Duration,
}

/// Guest RAM that every ROM is content with, in bytes.
pub const RAM_SIZE: u64 = 128 << 20;

macro_rules! rom {
    ($name:literal, harts: $harts:expr, append: $append:literal, $(thorough: $thorough:literal,)? seconds: $seconds:literal) => {
        Rom {
            name: $name,
            elf: include_bytes!(concat!("../elf/riscv64/", $name, ".elf")),
            harts: &$harts,
            append: $append,
            thorough: rom!(@option $($thorough)?),
            timeout: Duration::from_secs($seconds),
        }
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}

/// Every ROM for riscv64, in the order in which a new machine gets them right.
pub fn all() -> &'static [Rom] {
    const ROMS: &[Rom] = &[
        rom!("traps", harts: [1, 4], append: "", seconds: 60),
        rom!("csrs", harts: [1, 4], append: "", seconds: 60),
        rom!("delegation", harts: [1, 4], append: "", seconds: 60),
        rom!("pmp", harts: [1, 4], append: "pmp=64", seconds: 60),
        rom!("smepmp", harts: [1, 4], append: "", seconds: 60),
        rom!("paging", harts: [1, 4], append: "", seconds: 60),
        rom!("interrupts", harts: [1, 4], append: "", seconds: 60),
        rom!("smp", harts: [1, 2, 4], append: "", thorough: "ops=10000000", seconds: 120),
        rom!("memory", harts: [1, 4], append: "", seconds: 60),
        rom!("fp", harts: [1, 4], append: "", seconds: 60),
        rom!("counters", harts: [1, 4], append: "", seconds: 60),
    ];
    ROMS
}
