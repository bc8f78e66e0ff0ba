//! `ferry run`.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::bail;
use devices::backend::net;
use firmware::load::{self, Isa};
use images::{Options, Store};
use machine::{Accel, Arch, Console, Ended, Firmware, Machine, MachineConfig, NetConfig, TraceConfig};

use crate::args::{AccelArg, ConsoleArg, RunArgs};
use crate::install::OnDisk;
use crate::progress::Bars;
use crate::terminal::{RawTerminal, escape_filter};

/// The most that a guest's exit code can be here: 125 and up are ferry's and the shell's own.
const LARGEST_CODE: u16 = 124;

/// The board's serial console, as the kernel calls it.
const CONSOLE: &str = "ttyS0";

/// Runs a machine; its exit code.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let control = Arc::new(OnceLock::new());
    let config = configure(args, &control)?;
    let mut machine = Machine::new(config)?;
    // It is set once, here.
    let _ = control.set(machine.control());
    let terminal = match args.console {
        ConsoleArg::Stdio => RawTerminal::enter()?,
        _ => None,
    };
    let ended = machine.run();
    drop(machine);
    drop(terminal);
    Ok(match ended? {
        Ended::Off { code } => ExitCode::from(code.min(LARGEST_CODE) as u8),
        Ended::Quit => ExitCode::SUCCESS,
    })
}

/// The machine without what is particular to a guest.
fn board(args: &RunArgs) -> MachineConfig {
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.cpus = args.cpus;
    config.memory = args.memory;
    config.cpu = args.cpu.clone();
    config.firmware = args.firmware.clone();
    config.accel = match args.accel {
        AccelArg::Auto => Accel::Auto,
        AccelArg::Jit => Accel::Jit,
        AccelArg::Interp => Accel::Interp,
    };
    config.virtio_legacy = args.virtio_legacy;
    config.aclint = args.aclint;
    config
}

/// The machine that the arguments describe.
fn configure(args: &RunArgs, control: &Arc<OnceLock<machine::Control>>) -> anyhow::Result<MachineConfig> {
    let mut config = board(args);
    config.kernel = args.kernel.clone();
    config.initrd = args.initrd.clone();
    config.append = args.append.clone();
    config.dtb = args.dtb.clone();
    config.disks = args.disks.iter().map(|disk| disk.options.clone()).collect();
    config.net = args.net.clone().unwrap_or(NetConfig::None);
    config.no_reboot = args.no_reboot;
    config.gdb = args.gdb.clone();
    config.trace = trace(&args.traces)?;
    config.console = match &args.console {
        ConsoleArg::Stdio => Console::Stdio(Some(escape_filter(Arc::clone(control)))),
        ConsoleArg::File(path) => Console::File(path.clone()),
        ConsoleArg::Unix(path) => Console::Unix(path.clone()),
        ConsoleArg::None => Console::None,
    };
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
    if let Some(kernel) = &config.kernel {
        check_isa(kernel)?;
    }
    Ok(config)
}

/// The architecture is known from the kernel; only one is there so far.
fn check_isa(kernel: &std::path::Path) -> anyhow::Result<()> {
    match load::identify_file(kernel)?.isa {
        None | Some(Isa::Riscv64) => Ok(()),
        Some(isa) => bail!("{} is for {isa}: this version of ferry runs riscv64 guests", kernel.display()),
    }
}

fn use_image(name: &str, args: &RunArgs, config: &mut MachineConfig) -> anyhow::Result<()> {
    if args.kernel.is_some() || args.initrd.is_some() {
        bail!("the image {name} brings its own kernel: leave out its name to run --kernel and --initrd");
    }
    let options =
        Options { mirror: args.mirror.clone(), keyring: args.keyring.clone(), cache: args.cache_dir.clone() };
    let (store, arch) = (Store::open(options)?, images::Arch::Riscv64);
    let (files, root) = match args.disks.split_first() {
        None => (store.image(name, arch, &mut Bars::default())?, ""),
        Some((disk, _)) => {
            let on_disk = OnDisk { store: &store, image: name, arch, disk, console: CONSOLE };
            (on_disk.boot_files(|| board(args))?, "ro ferry.root=/dev/vda ")
        }
    };
    config.kernel = Some(files.kernel);
    config.initrd = Some(files.initrd);
    config.append = format!("console={CONSOLE} quiet {root}{}", config.append).trim_end().to_owned();
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
