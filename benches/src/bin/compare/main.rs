//! Compares ferry with QEMU: boots the same Debian guest under both, runs the benchmark programs of `guest/` in both and on
//! the host, and prints medians and ratios in Markdown, next to what `targets.toml` promises.
//!
//! A host is never quiet, so nothing here rests on one measurement: all are repeated, the ones that are compared are taken
//! right after each other, in an order that changes from round to round, ratios are taken within a round, and the median
//! of the rounds is what counts.

mod args;
mod boot;
mod build;
mod emulator;
mod process;
mod programs;
mod report;
mod session;
mod stats;
mod tables;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::Args;
use emulator::{Emulator, Guest};
use report::Report;
use tables::{Programs, Targets};

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(kept) if kept => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints; false if something promised is missed and that is to count.
fn compare(args: &Args) -> anyhow::Result<bool> {
    let targets = Targets::load()?;
    let chosen = Programs::load()?.chosen(args.arch, args.only.as_deref());
    let wants_boot = args.only.as_deref().is_none_or(|pattern| "boot".contains(pattern));
    anyhow::ensure!(
        wants_boot || !chosen.is_empty(),
        "no program is called anything with {:?}: benches/programs.toml has them, and `boot` is the boot",
        args.only.as_deref().unwrap_or_default()
    );

    let files = images::Store::open(images::Options::default())
        .and_then(|store| store.image("debian", args.arch.image(), &mut ()))
        .context("the guest: fetch it once with `ferry run debian`, or see there what is missing")?;
    let guest = Guest { arch: args.arch, cpus: args.cpus, kernel: files.kernel, initrd: files.initrd };
    let emulators =
        [Emulator::ferry(args.ferry.as_deref())?, Emulator::qemu(args.arch, args.qemu.as_deref())?];

    let mut report = Report::new(args, &emulators, &files.kernel_release)?;
    let mut measure = || -> anyhow::Result<()> {
        if wants_boot {
            report.boots = boot::measure(&emulators, &guest, args.runs)?;
        }
        if !chosen.is_empty() {
            programs::measure(args, &emulators, &guest, &chosen, &mut report.programs)?;
        }
        Ok(())
    };
    let measured = measure();
    // What was measured before something failed took its time, too.
    let (text, kept) = report.markdown(&targets);
    print!("{text}");
    measured.map(|()| kept || !args.check)
}
