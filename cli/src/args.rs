//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use disk_formats::{DiskOptions, Format};
use machine::{Effort, NetConfig, TraceConfig};

use crate::parse;

/// Boots operating systems and firmware of another architecture.
#[derive(Parser)]
#[command(name = "ferry", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: the guest's own (0 when it powers off), 125 for errors of ferry itself.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a machine
    Run(Box<RunArgs>),
    /// Make, look at and change disk images
    #[command(subcommand)]
    Disk(DiskCommand),
    /// List the images that `ferry run` knows by name
    Images,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  ferry run debian                      a Debian kernel and a shell, fetched on first use
  ferry run debian --arch aarch64
  ferry run debian --disk root.qcow2    a whole Debian system, installed on that disk on first use
  ferry run debian --disk root.qcow2 --cpus 4 --net user,forward=tcp:127.0.0.1:2222-:22
  ferry run --kernel Image --initrd initrd.gz --append 'console=ttyS0'
  ferry run --kernel Image --append 'root=/dev/vda rw' --disk root.qcow2
  ferry run --firmware fw_dynamic.bin --kernel Image
  ferry run --firmware none --kernel test.elf --console stdio

On the console Ctrl-A x ends the machine, Ctrl-A h shows what else there is.";

/// A machine to run.
#[derive(Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// A named image (see `ferry images`)
    pub image: Option<String>,
    /// The guest's architecture [default: what the image or kernel is for]
    #[arg(long, value_enum)]
    pub arch: Option<ArchArg>,
    /// How many CPUs, 1 to 8
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub cpus: usize,
    /// How much memory: 512M, 2G
    #[arg(long, default_value = "1G", value_parser = parse::size, value_name = "SIZE")]
    pub memory: u64,
    /// The CPU model; a wrong name lists them [default: rv64 for riscv64, max for aarch64]
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// What runs before the kernel: `builtin`, `none`, or a firmware file
    #[arg(long, default_value = "builtin", value_parser = parse::firmware, value_name = "builtin|none|FILE")]
    pub firmware: machine::Firmware,
    /// The kernel: a Linux Image (also compressed), an ELF file, or a raw binary
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line; for a named image, added to its own
    #[arg(long, default_value = "", value_name = "STRING")]
    pub append: String,
    /// A device tree blob in place of the board's own
    #[arg(long, value_name = "FILE")]
    pub dtb: Option<PathBuf>,
    /// A disk; may be given several times. A named image is installed on the first one, and started from it. Backing files
    /// must be in the disk's own directory, or where `allow-backing=PATH` says. `size=` is for the disk that a named image
    /// is installed on
    #[arg(long = "disk", value_parser = parse::disk, value_name = "FILE[,format=raw|qcow2][,size=SIZE][,readonly][,snapshot][,allow-backing=PATH]")]
    pub disks: Vec<DiskArg>,
    /// The network: `none`, or `user` with ports forwarded to the guest [default: user for a named image]
    #[arg(long, value_parser = parse::net, value_name = "none|user[,forward=tcp:127.0.0.1:2222-:22]")]
    pub net: Option<NetConfig>,
    /// The serial console [default: stdio, unless the virtio console is there]
    #[arg(long, value_parser = parse::console, value_name = "stdio|file:PATH|unix:PATH|none")]
    pub console: Option<ConsoleArg>,
    /// A virtio console beside it (Linux: hvc0)
    #[arg(long, value_parser = parse::console, value_name = "stdio|file:PATH|unix:PATH|none")]
    pub virtio_console: Option<ConsoleArg>,
    /// What runs guest code
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub accel: AccelArg,
    /// How much memory for translated code: 256K to 1G
    #[arg(long, default_value = "256M", value_parser = parse::size, value_name = "SIZE")]
    pub jit_cache: u64,
    /// A directory in which translated code is kept, so that a guest that has run before starts faster; `off`: none is kept
    #[arg(long, default_value = "off", value_name = "off|DIR")]
    pub cache: PathBuf,
    /// Compile hot loops as a whole, on a thread beside the vCPUs. `eager`: at once, in them; finds mistakes in ferry
    #[arg(long, value_enum, default_value_t = EffortArg::On, hide_short_help = true)]
    pub jit_regions: EffortArg,
    /// Put long-running address spaces of the guest on the host's MMU. `eager`: all, at once; finds mistakes in ferry
    #[arg(long, value_enum, default_value_t = EffortArg::On, hide_short_help = true)]
    pub windows: EffortArg,
    /// Show the compiled loops that have the instruction at this virtual address: guest code, intermediate forms, host code
    #[arg(long, value_name = "PC", value_parser = parse::address, hide_short_help = true)]
    pub dump_region: Option<u64>,
    /// Drop translated code at random, every so many milliseconds: finds mistakes in ferry
    #[arg(long, value_name = "MS", value_parser = parse::period, hide_short_help = true)]
    pub jit_drop: Option<Duration>,
    /// End when the guest reboots
    #[arg(long)]
    pub no_reboot: bool,
    /// Give virtio devices the legacy register layout (version 1)
    #[arg(long)]
    pub virtio_legacy: bool,
    /// riscv64: an ACLINT with supervisor software interrupts in place of the CLINT
    #[arg(long)]
    pub aclint: bool,
    /// aarch64: the version of the interrupt controller [default: 3]
    #[arg(long, value_enum, value_name = "2|3")]
    pub gic_version: Option<GicArg>,
    /// aarch64: CPUs have EL2, in which the kernel is entered
    #[arg(long)]
    pub virtualization: bool,
    /// aarch64: CPUs have EL3, in which a firmware is entered
    #[arg(long)]
    pub secure: bool,
    /// Write down what the guest does, to standard error or a file
    #[arg(long = "trace", value_parser = parse::trace, value_name = "exec|exceptions|mmio[,FILE]")]
    pub traces: Vec<TraceConfig>,
    /// Say at the end, on standard error, what ran the guest and how; Ctrl-A s does at any time
    #[arg(long)]
    pub stats: bool,
    /// Wait for a debugger at this address, of the loopback interface if it names no host, or at a Unix socket
    #[arg(long, value_name = "[HOST]:PORT|/PATH")]
    pub gdb: Option<String>,
    /// For a named image: the Debian mirror [default: the one that this machine's apt uses]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// For a named image: the keys that sign the archive
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Where named images are kept [default: ferry in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// A disk as a user asks for it.
#[derive(Clone, Debug)]
pub struct DiskArg {
    /// The image.
    pub options: DiskOptions,
    /// The size in bytes of a disk that is to be made.
    pub size: Option<u64>,
}

/// The architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchArg {
    /// 64-bit RISC-V
    Riscv64,
    /// 64-bit Arm
    Aarch64,
}

/// The interrupt controllers of Arm machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GicArg {
    /// GICv2 with a GICv2m frame
    #[value(name = "2")]
    V2,
    /// GICv3 with an ITS
    #[value(name = "3")]
    V3,
}

/// How much is done for speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EffortArg {
    On,
    Off,
    Eager,
}

impl From<EffortArg> for Effort {
    fn from(arg: EffortArg) -> Self {
        match arg {
            EffortArg::On => Self::On,
            EffortArg::Off => Self::Off,
            EffortArg::Eager => Self::Eager,
        }
    }
}

/// The accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelArg {
    /// The fastest that works here
    Auto,
    /// Guest code is translated to host code
    Jit,
    /// Guest code is interpreted
    Interp,
    /// Both, on a machine each, and compared every few blocks: finds mistakes in ferry
    Lockstep,
}

/// Where the console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleArg {
    /// Standard input and output.
    Stdio,
    /// A file, output only.
    File(PathBuf),
    /// A Unix socket.
    Unix(PathBuf),
    /// Nowhere.
    None,
}

/// What to do with disk images.
#[derive(Subcommand)]
pub enum DiskCommand {
    /// Make an image
    Create {
        /// The file; it must not exist
        path: PathBuf,
        /// The disk's size: 8G [default: that of the backing image]
        #[arg(value_parser = parse::size, required_unless_present = "backing")]
        size: Option<u64>,
        /// The format
        #[arg(long, default_value_t = Format::Qcow2)]
        format: Format,
        /// An image that shows through where this one has no data, relative to this one's directory
        #[arg(long, value_name = "FILE")]
        backing: Option<PathBuf>,
        /// The backing image's format [default: found out]
        #[arg(long, value_name = "FORMAT")]
        backing_format: Option<Format>,
        /// The size of a cluster
        #[arg(long, default_value = "64K", value_parser = parse::size, value_name = "SIZE")]
        cluster_size: u64,
    },
    /// Show what an image says of itself
    Info {
        /// The image
        path: PathBuf,
        /// Its format [default: found out]
        #[arg(long)]
        format: Option<Format>,
    },
    /// Copy a disk into a new image
    Convert {
        /// The image to copy
        source: PathBuf,
        /// The new image; it must not exist
        target: PathBuf,
        /// The source's format [default: found out]
        #[arg(long)]
        source_format: Option<Format>,
        /// A file, or a directory with all below it, where the source's backing files may be, besides its own
        /// directory; may be given several times
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// The new image's format
        #[arg(long, default_value_t = Format::Qcow2)]
        format: Format,
    },
    /// Check the structure of a QCOW2 image; exits with 1 if it has errors or leaks
    Check {
        /// The image
        path: PathBuf,
        /// Its format [default: found out]
        #[arg(long)]
        format: Option<Format>,
    },
    /// Change the size of a disk
    Resize {
        /// The image
        path: PathBuf,
        /// The new size
        #[arg(value_parser = parse::size)]
        size: u64,
        /// The image's format [default: found out]
        #[arg(long)]
        format: Option<Format>,
        /// Let the disk become smaller; what lies beyond its new end is lost
        #[arg(long)]
        shrink: bool,
    },
}
