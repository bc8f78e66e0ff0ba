//! Bare-metal test programs for the `virt` boards, in source form (`riscv64/`, `aarch64/`, `common/`) and built (`elf/`).
//!
//! Each ROM is a small ELF that checks one part of the architecture, following the specification. It prints nothing for a
//! check that passes, and for one that fails its name, what was expected and what was found; at the end
//! `ROM name: N checks passed` or `... FAILED`.
//!
//! - For riscv64 it is entered in M-mode at 0x8000_0000 by every hart, with the hart number in `a0` and the address of the
//!   device tree in `a1` (no firmware). It ends through the test finisher: 0x5555, or 0x3333 with a code in bits 31:16: 1 when
//!   checks failed, 2 when a trap came that no check expected. What it checks depends on `riscv,isa-extensions` in the
//!   device tree: an extension that is named must work, one that is not must be absent.
//! - For aarch64 it is entered at 0x4020_0000 with the device tree at 0x4000_0000: at EL1 or EL2 by one CPU, which starts the
//!   others by PSCI and switches the machine off at the end, or at EL3 by all, where nobody can be asked to switch it off.
//!   What it checks depends on the identification registers.
//!
//! Parameters come from `/chosen/bootargs`: [`Rom::append`] is what our machine gets. `peer=qemu` leaves out the checks that
//! QEMU 11 is known to fail; each is marked in the source.
//!
//! `build.sh` rebuilds the ELFs, `build.sh --check` compares them with their sources, `on-qemu.sh` runs them on QEMU.
//! Start with `rt/rt.h` of an architecture, which has the runtime that all its ROMs share, then any of the ROMs.

use std::time::Duration;

/// One test program and how to run it.
#[derive(Clone, Copy, Debug)]
pub struct Rom {
    /// The architecture: the name of the folder of its source.
    pub arch: &'static str,
    /// What it is called: the name of its source, without the extension, and what it prints.
    pub name: &'static str,
    /// The built program, an ELF64 executable with one segment.
    pub elf: &'static [u8],
    /// The exception levels at which it can be entered, for aarch64.
    pub levels: &'static [u8],
    /// The numbers of CPUs to run it with, one run for each.
    pub harts: &'static [usize],
    /// The kernel command line that it should get on our machine, with the CPU model that has everything.
    pub append: &'static str,
    /// The same for a run that takes longer, where there is more to do: `smp` then does the ten million operations on
    /// its LR/SC stack that the product promises, `windows` lets loops run for milliseconds between checks.
    pub thorough: Option<&'static str>,
    /// How long one run with [`Rom::append`] may take on an interpreter on a busy host, before it counts as hung.
    pub timeout: Duration,
}

/// Guest RAM that every ROM is content with, in bytes.
pub const RAM_SIZE: u64 = 128 << 20;

macro_rules! rom {
    (
        $arch:literal $name:literal, $(levels: $levels:expr,)? harts: $harts:expr, append: $append:literal,
        $(thorough: $thorough:literal,)? seconds: $seconds:literal
    ) => {
        Rom {
            arch: $arch,
            name: $name,
            elf: include_bytes!(concat!("../elf/", $arch, "/", $name, ".elf")),
            levels: rom!(@list $($levels)?),
            harts: &$harts,
            append: $append,
            thorough: rom!(@option $($thorough)?),
            timeout: Duration::from_secs($seconds),
        }
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
    (@list) => { &[] };
    (@list $value:expr) => { &$value };
}

/// Every ROM for riscv64, in the order in which a new machine gets them right.
pub const RISCV64: &[Rom] = &[
    rom!("riscv64" "traps", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "csrs", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "delegation", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "pmp", harts: [1, 4], append: "pmp=64", seconds: 60),
    rom!("riscv64" "smepmp", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "paging", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "interrupts", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "smp", harts: [1, 2, 4], append: "", thorough: "ops=10000000", seconds: 120),
    rom!("riscv64" "memory", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "fp", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "counters", harts: [1, 4], append: "", seconds: 60),
    rom!("riscv64" "windows", harts: [1, 4], append: "", thorough: "rounds=30000 every=1", seconds: 60),
];

/// The same for aarch64.
pub const AARCH64: &[Rom] = &[
    rom!("aarch64" "exceptions", levels: [1, 2, 3], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "paging", levels: [1, 2, 3], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "stage2", levels: [2, 3], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "interrupts", levels: [1, 2], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "pmu", levels: [1, 2, 3], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "psci", levels: [1, 2], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "secure", levels: [3], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "smp", levels: [1, 2], harts: [1, 2, 4], append: "", seconds: 120),
    rom!("aarch64" "vgic", levels: [2], harts: [1, 4], append: "", seconds: 60),
    rom!("aarch64" "windows", levels: [1, 2, 3], harts: [1, 4], append: "", thorough: "rounds=30000 every=1", seconds: 60),
];

/// Every ROM.
pub fn all() -> impl Iterator<Item = &'static Rom> {
    RISCV64.iter().chain(AARCH64)
}
