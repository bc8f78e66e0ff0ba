//! Makes the benchmark programs, for the guest and for the host, and a RAM disk that has them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};
use images::CpioWriter;

use crate::args::{Arch, Args};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest");
/// The programs are one executable; where it is in the guest.
pub const IN_GUEST: &str = "/bench/suite";
/// Static, so that the guest needs no libraries; for the host the same, so that both have a C library of one kind.
const FLAGS: &[&str] = &["-O2", "-std=gnu17", "-static", "-pthread"];

/// The executables.
pub struct Suites {
    pub guest: PathBuf,
    pub host: PathBuf,
}

/// The compiler for the guest.
pub fn guest_compiler(args: &Args) -> PathBuf {
    args.guest_cc.clone().unwrap_or_else(|| format!("{}-linux-gnu-gcc", args.arch.name()).into())
}

/// Compiles what is not up to date, into a directory beside this program.
pub fn suites(args: &Args) -> anyhow::Result<Suites> {
    let directory = std::env::current_exe().context("where this program is")?.with_file_name("bench-suites");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let guest = directory.join(args.arch.name());
    let package = match args.arch {
        Arch::Riscv64 => "gcc-riscv64-linux-gnu and libc6-dev-riscv64-cross",
        Arch::Aarch64 => "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
    };
    compile(&guest_compiler(args), &guest, package, "--guest-cc")?;
    let host = directory.join("host");
    compile(&args.host_cc, &host, "gcc and libc6-dev", "--host-cc")?;
    Ok(Suites { guest, host })
}

fn compile(compiler: &Path, output: &Path, packages: &str, option: &str) -> anyhow::Result<()> {
    let (sources, newest) = sources()?;
    // The compiler is part of what it is made from.
    let note = output.with_extension("compiler");
    let made_by = std::fs::read_to_string(&note).unwrap_or_default();
    let made = output.metadata().and_then(|meta| meta.modified());
    if made.is_ok_and(|made| made > newest) && made_by == compiler.to_string_lossy() {
        return Ok(());
    }
    eprintln!("compiling {}", output.display());
    let status = Command::new(compiler).args(FLAGS).args(sources).arg("-lm").arg("-o").arg(output).status();
    let status = status.with_context(|| {
        format!(
            "cannot run the C compiler {}: install Debian's {packages}, or name another with {option}",
            compiler.display()
        )
    })?;
    if !status.success() {
        bail!("{} cannot compile benches/guest: Debian's {packages} can", compiler.display());
    }
    std::fs::write(&note, compiler.to_string_lossy().as_bytes())
        .with_context(|| format!("cannot write {}", note.display()))
}

/// The C files, and when any of them or of their headers was changed last.
fn sources() -> anyhow::Result<(Vec<PathBuf>, SystemTime)> {
    let mut files = Vec::new();
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(SOURCES).with_context(|| format!("cannot read {SOURCES}"))? {
        let entry = entry?;
        newest = newest.max(entry.metadata()?.modified()?);
        if entry.path().extension().is_some_and(|extension| extension == "c") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok((files, newest))
}

/// The RAM disk at `initrd` with the guest's programs added, at `output`: Linux unpacks one archive after the other.
pub fn add_to_initrd(initrd: &Path, suite: &Path, output: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut bytes = read(initrd)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut cpio = CpioWriter::new(bytes);
    cpio.directory("bench", 0o755)?;
    cpio.file(IN_GUEST.trim_start_matches('/'), 0o755, &read(suite)?)?;
    std::fs::write(output, cpio.finish()?).with_context(|| format!("cannot write {}", output.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Programs;

    #[test]
    fn each_program_runs_on_the_host_and_gives_the_same_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let suite = directory.path().join("suite");
        compile(Path::new("cc"), &suite, "gcc and libc6-dev", "--host-cc").unwrap();
        for arch in [Arch::Riscv64, Arch::Aarch64] {
            for program in Programs::load().unwrap().chosen(arch, None) {
                let run = || {
                    let output = Command::new(&suite).args([&program.name, "3"]).output().unwrap();
                    assert!(output.status.success(), "{output:?}");
                    let text = String::from_utf8(output.stdout).unwrap();
                    let report = text.lines().last().unwrap_or_default();
                    assert!(report.starts_with(&format!("{} ", program.name)), "{text}");
                    report.rsplit_once("sum=").map(|(_, sum)| sum.to_owned())
                };
                let sum = run();
                assert!(sum.is_some() && sum == run(), "{}", program.name);
            }
        }
    }

    #[test]
    fn a_missing_compiler_is_named_with_what_to_install() {
        let output = Path::new("/nowhere/suite");
        let error = compile(Path::new("no-such-gcc"), output, "gcc-for-that", "--guest-cc").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no-such-gcc") && text.contains("gcc-for-that") && text.contains("--guest-cc"));
    }
}
