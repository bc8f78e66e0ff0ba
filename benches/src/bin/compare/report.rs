//! What was measured, as Markdown, and what it means for the promises.

use std::fmt::Write;

use anyhow::Context;

use crate::args::{Args, Time};
use crate::boot::Boots;
use crate::build;
use crate::emulator::{self, Emulator, MEMORY_MIB};
use crate::programs::{Run, Runs};
use crate::stats::{Spread, geometric_mean};
use crate::tables::{Single, Targets};

/// All that was measured. What was not is empty.
pub struct Report {
    /// Under which circumstances, by name.
    facts: Vec<(&'static str, String)>,
    time: Time,
    /// In the order of the emulators: ferry, QEMU.
    pub boots: [Boots; 2],
    pub programs: Vec<Runs>,
}

/// A program's ratios.
struct Ratios {
    /// QEMU's time by ferry's.
    speedup: Spread,
    /// ferry's time by the native one.
    native: Spread,
}

/// A promise and what has become of it.
struct Promise {
    name: String,
    measured: String,
    promised: String,
    kept: bool,
}

impl Report {
    /// A report of nothing yet.
    pub fn new(args: &Args, emulators: &[Emulator; 2], kernel_release: &str) -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let cpus = read("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let load = read("/proc/loadavg")?;
        let load: Vec<&str> = load.split(' ').take(3).collect();
        let facts = vec![
            ("Host", format!("{} × {}", count, model.map_or("unknown CPU", |(_, model)| model))),
            ("Load before", load.join(" ")),
            (
                "Guest",
                format!(
                    "{}, {} CPU{}, {MEMORY_MIB} MiB, Linux {kernel_release}",
                    args.arch.name(),
                    args.cpus,
                    if args.cpus == 1 { "" } else { "s" }
                ),
            ),
            ("ferry", emulators[0].version()?),
            ("QEMU", emulators[1].version()?),
            ("Guest's compiler", emulator::version(&build::guest_compiler(args)).unwrap_or_default()),
            ("Host's compiler", emulator::version(&args.host_cc).unwrap_or_default()),
            ("Rounds", args.runs.to_string()),
        ];
        Ok(Self {
            facts,
            time: args.time(),
            boots: [Boots::default(), Boots::default()],
            programs: Vec::new(),
        })
    }

    /// The whole text, and whether all promises that could be checked are kept.
    pub fn markdown(&self, targets: &Targets) -> (String, bool) {
        let mut out = String::from("# ferry, QEMU, and the host\n\n");
        for (name, value) in &self.facts {
            line(&mut out, &format!("- {name}: {value}"));
        }
        let ratios: Vec<Option<(Ratios, Ratios)>> =
            self.programs.iter().map(|runs| self.ratios(runs)).collect();
        let mut promises = self.boot_table(&mut out, targets);
        if !self.programs.is_empty() {
            self.program_table(&mut out, &ratios, &targets.single);
            self.class_table(&mut out, &ratios);
            promises.extend(self.means(&ratios, targets));
            promises.extend(self.singles(&ratios, &targets.single));
        }
        line(&mut out, "\n## Promises (`benches/targets.toml`)\n");
        line(&mut out, "| | measured | promised | |\n|---|---|---|---|");
        for promise in &promises {
            let Promise { name, measured, promised, kept } = promise;
            line(&mut out, &format!("| {name} | {measured} | {promised} | {} |", verdict(*kept)));
        }
        (out, promises.iter().all(|promise| promise.kept))
    }

    /// Ratios of the times that count, and of the others.
    fn ratios(&self, runs: &Runs) -> Option<(Ratios, Ratios)> {
        let of = |time: fn(&Run) -> f64| {
            let by = |a: &[Run], b: &[Run]| Spread::of(a.iter().zip(b).map(|(a, b)| time(a) / time(b)));
            let [ferry, qemu] = &runs.emulated;
            Some(Ratios { speedup: by(qemu, ferry)?, native: by(ferry, &runs.native)? })
        };
        let (cpu, wall) = (of(|run| run.cpu)?, of(|run| run.wall)?);
        Some(match self.time {
            Time::Cpu => (cpu, wall),
            Time::Wall => (wall, cpu),
        })
    }

    fn time_of(&self, run: &Run) -> f64 {
        match self.time {
            Time::Cpu => run.cpu,
            Time::Wall => run.wall,
        }
    }

    /// The names of the time that counts and of the other.
    fn time_names(&self) -> [&'static str; 2] {
        match self.time {
            Time::Cpu => ["CPU", "elapsed"],
            Time::Wall => ["elapsed", "CPU"],
        }
    }

    fn boot_table(&self, out: &mut String, targets: &Targets) -> Vec<Promise> {
        let [ferry, qemu] = &self.boots;
        let pairs = [
            (
                "elapsed time, s",
                &ferry.wall,
                &qemu.wall,
                1.0,
                ("start to shell, elapsed time", &targets.boot),
            ),
            ("CPU time, s", &ferry.cpu, &qemu.cpu, 1.0, ("start to shell, CPU time", &targets.boot)),
            (
                "peak memory (PSS), MiB",
                &ferry.memory,
                &qemu.memory,
                f64::from(1 << 20),
                ("memory of a boot", &targets.memory),
            ),
        ];
        let mut promises = Vec::new();
        if ferry.wall.is_empty() {
            return promises;
        }
        line(
            out,
            "\n## Start to shell\n\n| | ferry | QEMU | ferry/QEMU | quartiles |\n|---|---|---|---|---|",
        );
        for (name, a, b, unit, (promise, target)) in pairs {
            let median = |values: &[f64]| Spread::of(values.iter().map(|value| value / unit));
            let ratio = Spread::of(a.iter().zip(b).map(|(a, b)| a / b));
            let (Some(a), Some(b), Some(ratio)) = (median(a), median(b), ratio) else { continue };
            line(
                out,
                &format!(
                    "| {name} | {:.2} | {:.2} | **{:.2}** | {:.2}–{:.2} |",
                    a.median, b.median, ratio.median, ratio.low, ratio.high
                ),
            );
            promises.push(Promise {
                name: format!("{promise}, ferry/QEMU"),
                measured: format!("{:.2}", ratio.median),
                promised: format!("≤ {:.2}", target.at_most),
                kept: ratio.median <= target.at_most,
            });
        }
        promises
    }

    fn program_table(&self, out: &mut String, ratios: &[Option<(Ratios, Ratios)>], single: &Single) {
        let [counted, other] = self.time_names();
        line(
            out,
            &format!(
                "\n## Programs\n\nTimes are {counted} time in milliseconds, medians. Ratios are medians of those within a \
                 round.\n\n| program | class | native | ferry | QEMU | QEMU/ferry | quartiles | by {other} time | \
                 ferry/native | |\n|---|---|---|---|---|---|---|---|---|---|"
            ),
        );
        for (runs, ratios) in self.programs.iter().zip(ratios) {
            let Some((ratios, others)) = ratios else { continue };
            let median = |runs: &[Run]| {
                let spread = Spread::of(runs.iter().map(|run| self.time_of(run) * 1e3));
                spread.map_or_else(String::new, |spread| format!("{:.0}", spread.median))
            };
            let [ferry, qemu] = &runs.emulated;
            let speedup = ratios.speedup;
            line(
                out,
                &format!(
                    "| {} | {} | {} | {} | {} | **{:.2}** | {:.2}–{:.2} | {:.2} | {:.2} | {} |",
                    runs.program.name,
                    runs.program.class,
                    median(&runs.native),
                    median(ferry),
                    median(qemu),
                    speedup.median,
                    speedup.low,
                    speedup.high,
                    others.speedup.median,
                    ratios.native.median,
                    verdict(is_fast(ratios, single))
                ),
            );
        }
    }

    fn class_table(&self, out: &mut String, ratios: &[Option<(Ratios, Ratios)>]) {
        let [counted, other] = self.time_names();
        line(
            out,
            &format!(
                "\n## Classes\n\nGeometric means, by {counted} time.\n\n| class | QEMU/ferry | by {other} time | \
                 ferry/native | QEMU/native |\n|---|---|---|---|---|"
            ),
        );
        let measured = self.programs.iter().zip(ratios).filter(|(_, ratios)| ratios.is_some());
        let mut classes: Vec<&str> = measured.map(|(runs, _)| &*runs.program.class).collect();
        classes.dedup();
        for class in classes {
            let of = |value: fn(&(Ratios, Ratios)) -> f64| {
                let all = self.programs.iter().zip(ratios).filter(|(runs, _)| runs.program.class == class);
                geometric_mean(all.filter_map(|(_, ratios)| Some(value(ratios.as_ref()?))))
                    .unwrap_or(f64::NAN)
            };
            let speedup = of(|(ratios, _)| ratios.speedup.median);
            let other = of(|(_, others)| others.speedup.median);
            let native = of(|(ratios, _)| ratios.native.median);
            line(
                out,
                &format!(
                    "| {class} | **{speedup:.2}** | {other:.2} | {native:.2} | {:.2} |",
                    native * speedup
                ),
            );
        }
    }

    fn means(&self, ratios: &[Option<(Ratios, Ratios)>], targets: &Targets) -> Vec<Promise> {
        let mut promises = Vec::new();
        for mean in &targets.mean {
            let covered = self.programs.iter().zip(ratios).filter(|(runs, _)| mean.covers(&runs.program));
            let measured =
                geometric_mean(covered.filter_map(|(_, ratios)| Some(ratios.as_ref()?.0.speedup.median)));
            let Some(measured) = measured else { continue };
            promises.push(Promise {
                name: format!("{}, QEMU/ferry", mean.name),
                measured: format!("{measured:.2}"),
                promised: format!("≥ {:.2}", mean.at_least),
                kept: measured >= mean.at_least,
            });
        }
        promises
    }

    fn singles(&self, ratios: &[Option<(Ratios, Ratios)>], single: &Single) -> Vec<Promise> {
        let slow: Vec<&str> = self
            .programs
            .iter()
            .zip(ratios)
            .filter(|(_, ratios)| ratios.as_ref().is_some_and(|(ratios, _)| !is_fast(ratios, single)))
            .map(|(runs, _)| &*runs.program.name)
            .collect();
        vec![Promise {
            name: "each program, QEMU/ferry".into(),
            measured: if slow.is_empty() { "all".into() } else { format!("not {}", slow.join(", ")) },
            promised: format!(
                "≥ {:.2}, or at most {:.2} × native",
                single.at_least, single.unless_native_times
            ),
            kept: slow.is_empty(),
        }]
    }
}

fn is_fast(ratios: &Ratios, single: &Single) -> bool {
    ratios.speedup.median >= single.at_least || ratios.native.median <= single.unless_native_times
}

fn verdict(kept: bool) -> &'static str {
    if kept { "ok" } else { "**missed**" }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arch;
    use crate::tables::Programs;

    /// A report in which ferry takes one second for everything, QEMU `qemu` seconds and the host `native`.
    fn report(qemu: f64, native: f64) -> Report {
        let run = |seconds| vec![Run { wall: seconds, cpu: seconds }; 3];
        let boots = |seconds| Boots { wall: vec![seconds], cpu: vec![seconds], memory: vec![seconds * 1e8] };
        let programs = Programs::load().unwrap().chosen(Arch::Riscv64, None);
        Report {
            facts: Vec::new(),
            time: Time::Cpu,
            boots: [boots(1.0), boots(qemu)],
            programs: programs
                .into_iter()
                .map(|program| Runs { program, native: run(native), emulated: [run(1.0), run(qemu)] })
                .collect(),
        }
    }

    #[test]
    fn promises_are_judged() {
        let targets = Targets::load().unwrap();
        let (text, kept) = report(5.0, 0.5).markdown(&targets);
        assert!(kept && !text.contains("missed"), "{text}");
        // Fast enough for all but floating point.
        let (text, kept) = report(2.5, 0.5).markdown(&targets);
        assert!(!kept, "{text}");
        let missed: Vec<&str> = text.lines().filter(|line| line.contains("missed")).collect();
        assert_eq!(missed, ["| floating point, QEMU/ferry | 2.50 | ≥ 3.00 | **missed** |"]);
        // Slower than QEMU, but near enough to native.
        let mut slow = report(5.0, 0.5);
        slow.programs[0].emulated[1] = vec![Run { wall: 0.5, cpu: 0.5 }];
        let (text, _) = slow.markdown(&targets);
        let name = &slow.programs[0].program.name;
        assert!(text.contains(&format!("| not {name} |")), "{text}");
        slow.programs[0].native = vec![Run { wall: 0.9, cpu: 0.9 }];
        let (text, kept) = slow.markdown(&targets);
        assert!(kept, "{text}");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let mut report = report(1.0, 1.0);
        report.programs.clear();
        report.boots = [Boots::default(), Boots::default()];
        let (text, kept) = report.markdown(&Targets::load().unwrap());
        assert!(kept, "{text}");
    }
}
