//! `ferry run`.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use images::{Options, Store};
use machine::{
    Accel, Arch, Console, Ended, Firmware, GicVersion, Isa, Machine, MachineConfig, NetConfig, TraceConfig,
    net,
};

use crate::args::{AccelArg, ArchArg, ConsoleArg, GicArg, RunArgs};
use crate::install::{self, OnDisk};
use crate::progress::Bars;
use crate::signals::Signals;
use crate::terminal::{RawTerminal, escape_filter};

/// The most that a guest's exit code can be here: 125 and up are ferry's and the shell's own.
const LARGEST_CODE: u16 = 124;

/// Runs a machine; its exit code.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let control = Arc::new(OnceLock::new());
    let config = configure(args, &control)?;
    let mut machine = Machine::new(config)?;
    // It is set once, here.
    let _ = control.set(machine.control());
    let signals = Signals::watch(machine.control()).context("cannot watch for signals")?;
    let (serial, virtio) = consoles(args);
    let interactive = serial == &ConsoleArg::Stdio || virtio == Some(&ConsoleArg::Stdio);
    let terminal =
        if interactive { RawTerminal::enter().context("cannot set up the terminal")? } else { None };
    let ended = machine.run();
    let asked = args.stats.then(|| machine.control());
    let translations = machine.end();
    drop(terminal);
    // It may take a moment, and everything else is in its place by now.
    translations.keep();
    if let Some(control) = asked {
        eprint!("{}", control.stats());
    }
    let ended = ended?;
    // Whoever sent a signal sees its effect.
    signals.obey();
    Ok(match ended {
        Ended::Off { code } => ExitCode::from(code.min(LARGEST_CODE) as u8),
        Ended::Quit => ExitCode::SUCCESS,
    })
}

/// The serial and the virtio console. What nobody has asked for elsewhere is on the terminal.
fn consoles(args: &RunArgs) -> (&ConsoleArg, Option<&ConsoleArg>) {
    let virtio = args.virtio_console.as_ref();
    let rest = if virtio == Some(&ConsoleArg::Stdio) { &ConsoleArg::None } else { &ConsoleArg::Stdio };
    (args.console.as_ref().unwrap_or(rest), virtio)
}

/// The machine without what is particular to a guest.
fn board(args: &RunArgs, arch: Arch) -> MachineConfig {
    let mut config = MachineConfig::new(arch);
    config.cpus = args.cpus;
    config.memory = args.memory;
    config.cpu = args.cpu.clone();
    config.firmware = args.firmware.clone();
    config.accel = match args.accel {
        AccelArg::Auto => Accel::Auto,
        AccelArg::Jit => Accel::Jit,
        AccelArg::Interp => Accel::Interp,
        AccelArg::Lockstep => Accel::Lockstep,
    };
    config.code_bytes = args.jit_cache;
    config.cache = Some(args.cache.clone()).filter(|directory| directory.as_os_str() != "off");
    config.regions = args.jit_regions.into();
    config.windows = args.windows.into();
    config.dump_region = args.dump_region;
    config.drop_code = args.jit_drop;
    config.virtio_legacy = args.virtio_legacy;
    config.aclint = args.aclint;
    config.gic = args.gic_version.map(|version| match version {
        GicArg::V2 => GicVersion::V2,
        GicArg::V3 => GicVersion::V3,
    });
    config.virtualization = args.virtualization;
    config.secure = args.secure;
    config
}

/// The machine that the arguments describe.
fn configure(args: &RunArgs, control: &Arc<OnceLock<machine::Control>>) -> anyhow::Result<MachineConfig> {
    let mut config = board(args, arch(args)?);
    config.kernel = args.kernel.clone();
    config.initrd = args.initrd.clone();
    config.append = args.append.clone();
    config.dtb = args.dtb.clone();
    config.disks = args.disks.iter().map(|disk| disk.options.clone()).collect();
    config.net = args.net.clone().unwrap_or(NetConfig::None);
    config.no_reboot = args.no_reboot;
    config.gdb = args.gdb.clone();
    config.trace = trace(&args.traces)?;
    let console = |console: &ConsoleArg| match console {
        ConsoleArg::Stdio => Console::Stdio(Some(escape_filter(Arc::clone(control)))),
        ConsoleArg::File(path) => Console::File(path.clone()),
        ConsoleArg::Unix(path) => Console::Unix(path.clone()),
        ConsoleArg::None => Console::None,
    };
    let (serial, virtio) = consoles(args);
    config.console = console(serial);
    config.virtio_console = virtio.map(console);
    match &args.image {
        Some(name) => use_image(name, args, &mut config)?,
        None => {
            if args.mirror.is_some() || args.keyring.is_some() || args.cache_dir.is_some() {
                bail!(
                    "--mirror, --keyring and --cache-dir go with a named image, such as `ferry run debian`"
                );
            }
            if args.disks.iter().any(|disk| disk.size.is_some()) {
                bail!("size= goes with a named image; `ferry disk create` makes other disks");
            }
            if config.kernel.is_none() && !matches!(config.firmware, Firmware::File(_)) {
                bail!("nothing to run: name an image, such as `ferry run debian`, or give --kernel FILE");
            }
        }
    }
    Ok(config)
}

/// The architecture that was asked for, or else what the kernel, or the firmware, or the system on a named image's disk
/// is for. A named image is for RISC-V if nothing else is said.
fn arch(args: &RunArgs) -> anyhow::Result<Arch> {
    match args.arch {
        Some(ArchArg::Riscv64) => return Ok(Arch::Riscv64),
        Some(ArchArg::Aarch64) => return Ok(Arch::Aarch64),
        None => {}
    }
    let firmware = match &args.firmware {
        Firmware::File(path) => Some(path),
        Firmware::Builtin | Firmware::None => None,
    };
    // A named image brings its own.
    let kernel = args.kernel.as_ref().filter(|_| args.image.is_none());
    let files: Vec<_> = kernel.into_iter().chain(firmware).collect();
    for file in &files {
        match machine::identify_file(file)?.isa {
            Some(Isa::Riscv64) => return Ok(Arch::Riscv64),
            Some(Isa::Aarch64) => return Ok(Arch::Aarch64),
            Some(isa) => bail!("{} is for {isa}: ferry runs riscv64 and aarch64 guests", file.display()),
            None => {}
        }
    }
    if let (Some(_), Some(disk)) = (&args.image, args.disks.first()) {
        match install::architecture(disk)? {
            Some(images::Arch::Arm64) => return Ok(Arch::Aarch64),
            Some(images::Arch::Riscv64) => return Ok(Arch::Riscv64),
            Some(images::Arch::Amd64) | None => {}
        }
    }
    match files.first() {
        Some(file) => bail!("cannot tell what architecture {} is for: give --arch", file.display()),
        None => Ok(Arch::Riscv64),
    }
}

fn use_image(name: &str, args: &RunArgs, config: &mut MachineConfig) -> anyhow::Result<()> {
    if args.kernel.is_some() || args.initrd.is_some() {
        bail!("the image {name} brings its own kernel: leave out its name to run --kernel and --initrd");
    }
    if args.disks.iter().skip(1).any(|disk| disk.size.is_some()) {
        bail!(
            "size= goes with the first disk, which {name} is installed on; `ferry disk create` makes others"
        );
    }
    let options =
        Options { mirror: args.mirror.clone(), keyring: args.keyring.clone(), cache: args.cache_dir.clone() };
    let (arch, console) = match config.arch {
        Arch::Riscv64 => (images::Arch::Riscv64, "ttyS0"),
        Arch::Aarch64 => (images::Arch::Arm64, "ttyAMA0"),
    };
    let store = Store::open(options)?;
    let (files, root) = match args.disks.split_first() {
        None => (store.image(name, arch, &mut Bars::default())?, ""),
        Some((disk, _)) => {
            let on_disk = OnDisk { store: &store, image: name, arch, disk, console };
            (on_disk.boot_files(|| board(args, config.arch))?, "ro ferry.root=/dev/vda ")
        }
    };
    config.kernel = Some(files.kernel);
    config.initrd = Some(files.initrd);
    config.append = format!("console={console} quiet {root}{}", config.append).trim_end().to_owned();
    if args.net.is_none() {
        config.net = NetConfig::User(net::Config::default());
    }
    Ok(())
}

/// One trace configuration of all that were given; they share a file.
fn trace(parts: &[TraceConfig]) -> anyhow::Result<TraceConfig> {
    let mut all = TraceConfig::default();
    for part in parts {
        all.exec |= part.exec;
        all.exceptions |= part.exceptions;
        all.mmio |= part.mmio;
        match (&all.file, &part.file) {
            (Some(a), Some(b)) if a != b => {
                bail!("traces can go to one file only: {} or {}", a.display(), b.display())
            }
            (None, Some(_)) => all.file.clone_from(&part.file),
            _ => {}
        }
    }
    Ok(all)
}
