//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Compares ferry with QEMU and with the host: the same guest, the same programs, side by side.
#[derive(Parser)]
#[command(name = "compare")]
#[command(
    after_help = "Exit codes: 0 when all was measured, 1 with --check when a promise is missed, 2 for errors."
)]
pub struct Args {
    /// The guest's instruction set
    #[arg(long, value_enum, default_value_t = Arch::Riscv64)]
    pub arch: Arch,
    /// QEMU [default: qemu-system-ARCH on the PATH]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// ferry [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub ferry: Option<PathBuf>,
    /// How often each measurement is taken
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub runs: u32,
    /// Only what has this in its name: a program, or `boot`
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// How many CPUs the guest has
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub cpus: usize,
    /// What ratios are of: CPU time that the emulator took, or elapsed time in the guest
    /// [default: cpu for a guest with one CPU, else wall]
    #[arg(long, value_enum)]
    pub time: Option<Time>,
    /// The C compiler for the guest [default: ARCH-linux-gnu-gcc]
    #[arg(long, value_name = "PATH")]
    pub guest_cc: Option<PathBuf>,
    /// The C compiler for the host
    #[arg(long, default_value = "cc", value_name = "PATH")]
    pub host_cc: PathBuf,
    /// Fail if something promised is missed
    #[arg(long)]
    pub check: bool,
}

impl Args {
    /// What ratios are of.
    pub fn time(&self) -> Time {
        self.time.unwrap_or(if self.cpus == 1 { Time::Cpu } else { Time::Wall })
    }
}

/// The guest's instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// 64-bit RISC-V
    Riscv64,
    /// 64-bit Arm
    Aarch64,
}

impl Arch {
    /// The name that compilers and QEMU have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name that packages have for it.
    pub fn image(self) -> images::Arch {
        match self {
            Self::Riscv64 => images::Arch::Riscv64,
            Self::Aarch64 => images::Arch::Arm64,
        }
    }

    /// The console that the kernel is to use.
    pub fn console(self) -> &'static str {
        match self {
            Self::Riscv64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// QEMU's options for the machine and CPU that are most like ferry's.
    pub fn qemu_machine(self) -> &'static [&'static str] {
        match self {
            Self::Riscv64 => &["-M", "virt"],
            Self::Aarch64 => &["-M", "virt,gic-version=3", "-cpu", "max"],
        }
    }
}

/// A way to measure time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Time {
    /// CPU time: of the emulator's process, or natively of the program. Steady on a busy host
    Cpu,
    /// Elapsed time, as the program measures it
    Wall,
}
