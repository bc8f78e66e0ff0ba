//! The boot contracts of boards, as data.

/// A board's rules. All sizes and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How much memory the built-in firmware is taken to fill from the beginning of DRAM: it needs none, but
    /// what comes after it is linked for this address.
    pub builtin_firmware: u64,
    /// How a firmware file gets control.
    pub reset: Reset,
    /// Where a kernel without addresses of its own goes.
    pub kernel: KernelPlace,
    /// What has addresses of its own is entered where its file says, even as a kernel under a firmware. If not, such
    /// a kernel is entered at its lowest address, whatever the entry point.
    pub elf_entry: bool,
    /// The initrd goes half the memory's size above this, but at most [`Rules::initrd_offset_limit`].
    pub initrd_base: InitrdBase,
    /// See [`Rules::initrd_base`].
    pub initrd_offset_limit: u64,
    /// The boundary at which the device tree goes.
    pub fdt_align: u64,
    /// Where the device tree goes.
    pub fdt: FdtPlace,
}

/// How a firmware file, or a program that runs without one, gets control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It lies at the beginning of DRAM; the board's reset ROM jumps there.
    Rom {
        /// Address of the ROM.
        base: u64,
    },
    /// The CPUs begin in the firmware, which is the board's ROM; it finds the device tree at the beginning of DRAM
    /// and kernel and initrd by means of its own. A program that runs without a firmware lies in DRAM, and the CPUs
    /// begin in it.
    Direct {
        /// Address of the ROM.
        base: u64,
        /// Bytes of ROM.
        size: u64,
    },
}

/// Where a kernel without addresses of its own goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelPlace {
    /// At the next such boundary above the firmware.
    Above {
        /// The boundary.
        align: u64,
    },
    /// At the offset from the beginning of DRAM that its header asks for (Documentation/arch/arm64/booting.rst).
    TextOffset {
        /// An offset below this leaves no room for what must lie below the kernel:
        least: u64,
        /// then it goes this much higher.
        step: u64,
        /// The offset of a file without a header.
        raw: u64,
    },
}

/// What the usual place of the initrd is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitrdBase {
    /// The kernel's first byte.
    Kernel,
    /// The beginning of DRAM.
    Dram,
}

/// Where the device tree goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdtPlace {
    /// Below the end of DRAM.
    End,
    /// Behind the initrd, or where that would be; but at the beginning of DRAM for a firmware, which may change it and
    /// has this much room for that, and for a program with addresses of its own that leaves room there.
    BehindInitrd {
        /// Bytes that a firmware's device tree has.
        room: u64,
    },
}

/// The rules of the riscv64 `virt` board.
pub const RISCV_VIRT: Rules = Rules {
    builtin_firmware: 2 << 20,
    reset: Reset::Rom { base: 0x1000 },
    kernel: KernelPlace::Above { align: 2 << 20 },
    elf_entry: false,
    initrd_base: InitrdBase::Kernel,
    initrd_offset_limit: 512 << 20,
    fdt_align: 2 << 20,
    fdt: FdtPlace::End,
};

/// The rules of the aarch64 `virt` board.
pub const AARCH64_VIRT: Rules = Rules {
    builtin_firmware: 0,
    reset: Reset::Direct { base: 0, size: 64 << 20 },
    kernel: KernelPlace::TextOffset { least: 4 << 10, step: 2 << 20, raw: 0x8_0000 },
    elf_entry: true,
    initrd_base: InitrdBase::Dram,
    initrd_offset_limit: 128 << 20,
    fdt_align: 2 << 20,
    fdt: FdtPlace::BehindInitrd { room: 1 << 20 },
};
