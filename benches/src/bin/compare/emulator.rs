//! The two emulators, and the guest that they run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::args::Arch;
use crate::session::Session;

/// Bytes of the guest's memory, in MiB.
pub const MEMORY_MIB: u32 = 1024;

/// What an emulator is to boot.
#[derive(Clone)]
pub struct Guest {
    pub arch: Arch,
    pub cpus: usize,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// An emulator.
pub struct Emulator {
    /// Its name, for people.
    pub name: &'static str,
    path: PathBuf,
    /// How the name of its program begins; `path` may be a script that starts it.
    program: String,
    arguments: fn(&Guest) -> Vec<OsString>,
}

impl Emulator {
    /// ferry: the one at `path`, or the one beside this program.
    pub fn ferry(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::current_exe().context("where this program is")?.with_file_name("ferry"),
        };
        if !path.is_file() {
            bail!(
                "there is no {}: build it with `cargo build --release --bin ferry`, or say where it is with --ferry",
                path.display()
            );
        }
        let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name: "ferry", path, program, arguments: ferry_arguments })
    }

    /// QEMU: the one at `path`, or the one on the PATH.
    pub fn qemu(arch: Arch, path: Option<&Path>) -> anyhow::Result<Self> {
        let program = format!("qemu-system-{}", arch.name());
        let found = match path {
            Some(path) => path.is_file().then(|| path.to_owned()),
            None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .map(|directory| directory.join(&program))
                .find(|path| path.is_file()),
        };
        let Some(path) = found else {
            let package = match arch {
                Arch::Riscv64 => "qemu-system-riscv (in older releases qemu-system-misc)",
                Arch::Aarch64 => "qemu-system-arm",
            };
            let place =
                path.map_or_else(|| "on the PATH".to_owned(), |path| format!("at {}", path.display()));
            bail!(
                "there is no {program} {place}: install Debian's {package}, or say where it is with --qemu"
            );
        };
        Ok(Self { name: "QEMU", path, program, arguments: qemu_arguments })
    }

    /// Starts it.
    pub fn start(&self, guest: &Guest) -> anyhow::Result<Session> {
        let mut command = Command::new(&self.path);
        command.args((self.arguments)(guest));
        Session::start(self.name, &self.program, command)
    }

    /// The first line that it gives as its version.
    pub fn version(&self) -> anyhow::Result<String> {
        version(&self.path)
    }
}

/// The first line that a program gives as its version.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn kernel_line(guest: &Guest) -> OsString {
    format!("console={} quiet", guest.arch.console()).into()
}

fn ferry_arguments(guest: &Guest) -> Vec<OsString> {
    let memory = format!("{MEMORY_MIB}M").into();
    let words = ["run", "--arch", guest.arch.name(), "--net", "none", "--console", "stdio", "--no-reboot"];
    let mut arguments: Vec<OsString> = words.map(OsString::from).into();
    let cpus = guest.cpus.to_string().into();
    let (kernel, initrd) = (guest.kernel.clone().into(), guest.initrd.clone().into());
    for (option, value) in [
        ("--cpus", cpus),
        ("--memory", memory),
        ("--kernel", kernel),
        ("--initrd", initrd),
        ("--append", kernel_line(guest)),
    ] {
        arguments.extend([option.into(), value]);
    }
    arguments
}

/// No network and no other devices than the board's own, as for ferry; the firmware is QEMU's default.
fn qemu_arguments(guest: &Guest) -> Vec<OsString> {
    let words = ["-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"];
    let mut arguments: Vec<OsString> = guest.arch.qemu_machine().iter().map(OsString::from).collect();
    arguments.extend(words.map(OsString::from));
    let cpus = guest.cpus.to_string().into();
    let (kernel, initrd) = (guest.kernel.clone().into(), guest.initrd.clone().into());
    for (option, value) in [
        ("-accel", "tcg,thread=multi".into()),
        ("-smp", cpus),
        ("-m", MEMORY_MIB.to_string().into()),
        ("-kernel", kernel),
        ("-initrd", initrd),
        ("-append", kernel_line(guest)),
    ] {
        arguments.extend([option.into(), value]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let nowhere = Path::new("/nowhere/at/all");
        let ferry = Emulator::ferry(Some(nowhere)).err().unwrap().to_string();
        assert!(ferry.contains("/nowhere/at/all") && ferry.contains("cargo build"), "{ferry}");
        let qemu = Emulator::qemu(Arch::Aarch64, Some(nowhere)).err().unwrap().to_string();
        assert!(qemu.contains("qemu-system-aarch64") && qemu.contains("qemu-system-arm"), "{qemu}");
    }
}
