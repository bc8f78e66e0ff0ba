//! Runs the programs: in a guest of each emulator, which stays up, and on the host.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::args::Args;
use crate::boot::order;
use crate::build::{self, IN_GUEST};
use crate::emulator::{Emulator, Guest};
use crate::process::CpuMeter;
use crate::session::Session;
use crate::tables::Program;

/// How long a program may take: no promise, but a sign that it never ends.
const LIMIT: Duration = Duration::from_secs(300);

/// One run of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Elapsed seconds, as the program has measured them.
    pub wall: f64,
    /// CPU seconds: of the emulator, or of the program on the host.
    pub cpu: f64,
}

/// All runs of a program, round by round.
#[derive(Clone, Debug)]
pub struct Runs {
    pub program: Program,
    pub native: Vec<Run>,
    /// In the order of the emulators.
    pub emulated: [Vec<Run>; 2],
}

/// Runs the chosen programs, `args.runs` times each, fewer if something fails.
pub fn measure(
    args: &Args,
    emulators: &[Emulator; 2],
    guest: &Guest,
    chosen: &[Program],
    all: &mut Vec<Runs>,
) -> anyhow::Result<()> {
    let suites = build::suites(args)?;
    let directory = tempfile::tempdir().context("a temporary directory")?;
    let initrd = directory.path().join("initrd");
    build::add_to_initrd(&guest.initrd, &suites.guest, &initrd)?;
    let guest = Guest { initrd, ..guest.clone() };
    let mut benches = [Bench::start(&emulators[0], &guest)?, Bench::start(&emulators[1], &guest)?];

    let runs = |program: &Program| Runs {
        program: program.clone(),
        native: Vec::new(),
        emulated: [Vec::new(), Vec::new()],
    };
    all.extend(chosen.iter().map(runs));
    for round in 0..args.runs {
        eprintln!("round {} of {}", round + 1, args.runs);
        for runs in &mut *all {
            let name = &runs.program.name;
            let (native, native_sum) = on_host(&suites.host, name)?;
            let mut outcomes = [None, None];
            for index in order(round) {
                outcomes[index] = Some(benches[index].run(name)?);
            }
            let [Some((on_ferry, ferry)), Some((on_qemu, qemu))] = outcomes else { continue };
            ensure!(ferry == qemu, "{name}: its checksum is {ferry} under ferry, {qemu} under QEMU");
            ensure!(
                runs.program.rounds_differently || ferry == native_sum,
                "{name}: its checksum is {ferry} in the guests, {native_sum} on the host"
            );
            runs.native.push(native);
            runs.emulated[0].push(on_ferry);
            runs.emulated[1].push(on_qemu);
        }
    }
    Ok(())
}

/// A guest that runs programs.
struct Bench {
    session: Session,
    meter: CpuMeter,
}

impl Bench {
    fn start(emulator: &Emulator, guest: &Guest) -> anyhow::Result<Self> {
        let mut session = emulator.start(guest)?;
        session.expect_shell()?;
        session.quieten()?;
        let meter = CpuMeter::new(session.pid);
        Ok(Self { session, meter })
    }

    /// Runs a program; what it took, and its checksum.
    fn run(&mut self, name: &str) -> anyhow::Result<(Run, String)> {
        self.session.send(&format!("{IN_GUEST} {name} 2>&1; echo end $?"))?;
        let beginning = format!("begin {name}");
        let mut cpu_at_begin = None;
        let mut report = None;
        let mut said = String::new();
        loop {
            let line = self.session.line(LIMIT).with_context(|| name.to_owned())?;
            // Each reading as soon as the line is there.
            if line == beginning {
                cpu_at_begin = Some(self.meter.read()?);
            } else if let Some(parsed) = Report::parse(name, &line) {
                report = Some((parsed, self.meter.read()?));
            } else if let Some(status) = line.strip_prefix("end ") {
                let (Some(before), Some((report, after)), "0") = (cpu_at_begin, report, status) else {
                    bail!("{name} has failed with status {status} in the guest: {said}");
                };
                let cpu = after.saturating_sub(before).as_secs_f64();
                return Ok((Run { wall: report.wall, cpu }, report.checksum));
            } else {
                said.push_str(&line);
                said.push('\n');
            }
        }
    }
}

/// Runs a program on the host; what it took, and its checksum.
fn on_host(suite: &Path, name: &str) -> anyhow::Result<(Run, String)> {
    let output = Command::new(suite).arg(name).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", suite.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().find_map(|line| Report::parse(name, line));
    match report.filter(|_| output.status.success()) {
        Some(report) => Ok((Run { wall: report.wall, cpu: report.cpu }, report.checksum)),
        None => bail!("{name} has failed on the host with {}: {text}", output.status),
    }
}

/// What a program reports of itself: see `guest/main.c`.
#[derive(Clone, Debug, PartialEq)]
struct Report {
    wall: f64,
    cpu: f64,
    checksum: String,
}

impl Report {
    /// None if this is no report of the program.
    fn parse(name: &str, line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(name)?.strip_prefix(' ')?.split(' ');
        let seconds = |word: &str| word.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0);
        let wall = seconds(words.next()?)?;
        let _score: f64 = words.next()?.parse().ok()?;
        let cpu = seconds(words.next()?.strip_prefix("cpu=")?)?;
        let checksum = words.next()?.strip_prefix("sum=")?.to_owned();
        words.next().is_none().then_some(Self { wall, cpu, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_from_other_lines() {
        let report = Report::parse("sort", "sort 0.250000 160 cpu=0.240000 sum=00ff");
        assert_eq!(report, Some(Report { wall: 0.25, cpu: 0.24, checksum: "00ff".into() }));
        for other in [
            "sorted 0.25 160 cpu=0.24 sum=00ff",
            "sort 0.25 160 cpu=0.24",
            "sort: no such file",
            "sort 0.0 inf cpu=0.0 sum=1",
            "sort nan 160 cpu=0.24 sum=00ff",
            "sort 0.25 160 cpu=0.24 sum=00ff x",
            "",
        ] {
            assert_eq!(Report::parse("sort", other), None, "{other}");
        }
    }
}
