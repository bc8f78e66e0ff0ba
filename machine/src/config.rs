//! What a machine is made of: the settings that a command line, a test or a configuration file fills in.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

pub use devices::backend::chardev::InputFilter;
use emu_core::mem::WindowConfig;
use jit::{Dump, JitConfig, RegionConfig};

use crate::error::Error;

/// The guest's instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// RISC-V, 64 bits, on the `virt` board.
    Riscv64,
    /// Arm, 64 bits, on the `virt` board.
    Aarch64,
}

impl Arch {
    /// The name users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// The Arm interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv2, with a GICv2m frame for messages.
    V2,
    /// GICv3, with an ITS.
    V3,
}

/// What runs before, or instead of, an operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// ferry's own firmware interface (SBI, PSCI): the kernel is entered as an operating system.
    Builtin,
    /// Nothing: the image is entered with all privileges.
    None,
    /// A firmware image, entered with all privileges, that finds the kernel itself.
    File(PathBuf),
}

/// Whether something is done for speed that takes time itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Where it pays.
    On,
    /// Never.
    Off,
    /// Everywhere and at once; to find mistakes in this emulator.
    Eager,
}

/// What runs guest code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// The fastest that works here.
    #[default]
    Auto,
    /// Translated code.
    Jit,
    /// The interpreter.
    Interp,
    /// Translated code and the interpreter, on a machine each, which are compared every few blocks: to find mistakes in
    /// this emulator. One CPU; no disks, no network, no input.
    Lockstep,
}

/// The guest's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetConfig {
    /// Address translation in this process.
    User(devices::backend::net::Config),
    /// No network card.
    None,
}

/// Where the host's side of a console is.
pub enum Console {
    /// Standard input and output; the filter sees what is typed first.
    Stdio(Option<InputFilter>),
    /// Output goes to a file.
    File(PathBuf),
    /// A Unix socket that a terminal program connects to.
    Unix(PathBuf),
    /// Nowhere.
    None,
    /// A backend of the caller's own, for tests.
    Backend(std::sync::Arc<dyn devices::backend::chardev::CharBackend>),
}

/// What to write down while the guest runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceConfig {
    /// Every instruction with the registers it changes.
    pub exec: bool,
    /// Every exception and interrupt.
    pub exceptions: bool,
    /// Every access to a device.
    pub mmio: bool,
    /// Where to; standard error if none is given.
    pub file: Option<PathBuf>,
}

impl TraceConfig {
    /// Whether anything is traced.
    pub fn any(&self) -> bool {
        self.exec || self.exceptions || self.mmio
    }
}

/// A machine to build.
pub struct MachineConfig {
    /// Its instruction set.
    pub arch: Arch,
    /// How many CPUs: 1 to 8.
    pub cpus: usize,
    /// Bytes of memory, a multiple of 2 MiB.
    pub memory: u64,
    /// The CPU model; the default one if none is given.
    pub cpu: Option<String>,
    /// What runs first.
    pub firmware: Firmware,
    /// The kernel, or with [`Firmware::None`] the program.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
    /// A device tree in place of the board's own.
    pub dtb: Option<PathBuf>,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<disk_formats::DiskOptions>,
    /// The network.
    pub net: NetConfig,
    /// The console: the serial port.
    pub console: Console,
    /// A virtio console beside it, if there is one.
    pub virtio_console: Option<Console>,
    /// What runs guest code.
    pub accel: Accel,
    /// Bytes of memory for translated code: 256 KiB to 1 GiB.
    pub code_bytes: u64,
    /// Compiling hot loops as a whole, by an optimising compiler on a thread beside the vCPUs. Eager: by the vCPUs themselves,
    /// and what is not faster is kept.
    pub regions: Effort,
    /// Putting address spaces of the guest that have run for some milliseconds on the host's MMU. Eager: with room for little.
    pub windows: Effort,
    /// The directory where translations are kept for later runs; nothing is kept if there is none.
    pub cache: Option<PathBuf>,
    /// Shows, on standard error, the regions that have the instruction at this virtual address, as they are compiled.
    pub dump_region: Option<u64>,
    /// How often translations are dropped that nothing is wrong with, chosen at random; to find mistakes in this emulator.
    pub drop_code: Option<Duration>,
    /// A guest that reboots ends instead.
    pub no_reboot: bool,
    /// virtio devices have the legacy register layout (version 1).
    pub virtio_legacy: bool,
    /// The interrupt block at 0x200_0000 is an ACLINT with supervisor software interrupts, instead of a CLINT.
    pub aclint: bool,
    /// The interrupt controller of an Arm board; GICv3 if none is given.
    pub gic: Option<GicVersion>,
    /// An Arm board's CPUs have EL2, in which a kernel is entered.
    pub virtualization: bool,
    /// An Arm board has Secure state and EL3.
    pub secure: bool,
    /// What to trace.
    pub trace: TraceConfig,
    /// Where to wait for a debugger.
    pub gdb: Option<String>,
    /// Nothing of the host's reaches the guest, neither time nor random numbers: it does the same in each run.
    pub(crate) repeatable: bool,
}

/// Writes to standard error; nobody is told if that fails.
fn show(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

impl MachineConfig {
    /// One CPU, 1 GiB of memory, no devices but the board's own, no console.
    pub fn new(arch: Arch) -> Self {
        Self {
            arch,
            cpus: 1,
            memory: 1 << 30,
            cpu: None,
            firmware: Firmware::Builtin,
            kernel: None,
            initrd: None,
            append: String::new(),
            dtb: None,
            disks: Vec::new(),
            net: NetConfig::None,
            console: Console::None,
            virtio_console: None,
            accel: Accel::Auto,
            code_bytes: JitConfig::default().code_bytes as u64,
            regions: Effort::On,
            windows: Effort::On,
            cache: None,
            dump_region: None,
            drop_code: None,
            no_reboot: false,
            virtio_legacy: false,
            aclint: false,
            gic: None,
            virtualization: false,
            secure: false,
            trace: TraceConfig::default(),
            gdb: None,
            repeatable: false,
        }
    }

    /// How windows are used, if they are.
    pub(crate) fn window_config(&self) -> Option<WindowConfig> {
        match self.windows {
            _ if self.accel == Accel::Interp => None,
            Effort::Off => None,
            Effort::On => Some(WindowConfig::default()),
            Effort::Eager => Some(WindowConfig::EAGER),
        }
    }

    fn region_config(&self) -> Option<RegionConfig> {
        match self.regions {
            Effort::Off => None,
            Effort::Eager => Some(RegionConfig { threshold: 1, background: false }),
            // What is compared must not depend on how fast a worker is.
            Effort::On if self.accel == Accel::Lockstep => {
                Some(RegionConfig { background: false, ..RegionConfig::default() })
            }
            Effort::On => Some(RegionConfig::default()),
        }
    }

    /// How code is translated.
    ///
    /// # Errors
    /// A setting is out of range.
    pub(crate) fn jit(&self) -> Result<JitConfig, Error> {
        match usize::try_from(self.code_bytes) {
            Ok(code_bytes) if JitConfig::CODE_BYTES.contains(&code_bytes) => {
                let windows = self.windows != Effort::Off;
                let dump = self.dump_region.map(|pc| Dump { pc, write: show });
                // What is compared must not depend on when it is looked at.
                let sampled = self.accel != Accel::Lockstep && !self.repeatable;
                let (regions, keeps) = (self.region_config(), self.cache.is_some());
                Ok(JitConfig { code_bytes, regions, windows, sampled, dump, keeps })
            }
            _ => {
                let text =
                    format!("{} bytes for translated code: expected 256 KiB to 1 GiB", self.code_bytes);
                Err(Error::Config(text))
            }
        }
    }

    /// How the guest's CPUs are configured, for those who keep what depends on that.
    pub(crate) fn cpus_as_text(&self) -> String {
        let Self { arch, cpu, virtualization, secure, gic, .. } = self;
        format!("{arch:?} {cpu:?} {virtualization} {secure} {gic:?}")
    }

    /// Settings of Arm boards must not be set.
    ///
    /// # Errors
    /// One is.
    pub(crate) fn expect_no_arm_options(&self) -> Result<(), Error> {
        match self.gic.is_some() || self.virtualization || self.secure {
            true => Err(self.foreign("GIC version, virtualization and secure state are", "aarch64")),
            false => Ok(()),
        }
    }

    /// Settings of RISC-V boards must not be set.
    ///
    /// # Errors
    /// One is.
    pub(crate) fn expect_no_riscv_options(&self) -> Result<(), Error> {
        if self.aclint { Err(self.foreign("an ACLINT is", "riscv64")) } else { Ok(()) }
    }

    fn foreign(&self, what: &str, arch: &str) -> Error {
        Error::Config(format!("{what} for {arch} machines, and this one is {}", self.arch.name()))
    }
}

/// The CPU model that was asked for, of `models`; the first if none was.
///
/// # Errors
/// There is no model of that name.
pub(crate) fn choose_model<M>(
    config: &MachineConfig,
    models: &'static [M],
    name: impl Fn(&M) -> &'static str,
) -> Result<&'static M, Error> {
    let wanted = match &config.cpu {
        None => models.first(),
        Some(wanted) => models.iter().find(|model| name(model) == wanted.as_str()),
    };
    wanted.ok_or_else(|| {
        let names: Vec<_> = models.iter().map(name).collect();
        let wanted = config.cpu.as_deref().unwrap_or_default();
        Error::Config(format!("unknown CPU model {wanted:?}: expected one of {}", names.join(", ")))
    })
}
