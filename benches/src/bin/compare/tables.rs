//! The tables beside the sources: which programs there are, and what is promised.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use crate::args::Arch;

const PROGRAMS: &str = include_str!("../../../programs.toml");
const TARGETS: &str = include_str!("../../../targets.toml");

/// The programs by class, as `programs.toml` has them.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Programs(BTreeMap<String, Class>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    programs: Vec<String>,
    /// The instruction sets that it is for; all, if there are none.
    #[serde(default)]
    arches: Vec<String>,
    /// Its results are rounded as the compiler pleases: other code may give others.
    #[serde(default)]
    rounds_differently: bool,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub class: String,
    /// On the host, whose code is other code, its checksum may be another.
    pub rounds_differently: bool,
}

impl Programs {
    /// Reads the table.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(PROGRAMS).context("benches/programs.toml")
    }

    /// The programs for `arch` with `pattern` in their names.
    pub fn chosen(&self, arch: Arch, pattern: Option<&str>) -> Vec<Program> {
        let for_arch =
            |class: &&Class| class.arches.is_empty() || class.arches.iter().any(|a| a == arch.name());
        let classes = self.0.iter().filter(|(_, class)| for_arch(class));
        classes
            .flat_map(|(class_name, class)| {
                class.programs.iter().map(move |name| Program {
                    name: name.clone(),
                    class: class_name.clone(),
                    rounds_differently: class.rounds_differently,
                })
            })
            .filter(|program| pattern.is_none_or(|pattern| program.name.contains(pattern)))
            .collect()
    }
}

/// What is promised, as `targets.toml` has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    pub boot: AtMost,
    pub memory: AtMost,
    pub mean: Vec<Mean>,
    pub single: Single,
}

/// ferry's value by QEMU's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtMost {
    pub at_most: f64,
}

/// A geometric mean of QEMU's times by ferry's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    pub name: String,
    #[serde(default)]
    classes: Vec<String>,
    #[serde(default)]
    programs: Vec<String>,
    pub at_least: f64,
}

impl Mean {
    /// Whether it is over this program, among others.
    pub fn covers(&self, program: &Program) -> bool {
        self.classes.contains(&program.class) || self.programs.contains(&program.name)
    }
}

/// QEMU's time by ferry's, of each program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Single {
    pub at_least: f64,
    /// Good enough: ferry's time by the native one.
    pub unless_native_times: f64,
}

impl Targets {
    /// Reads the table.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(TARGETS).context("benches/targets.toml")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<Program> {
        let programs = Programs::load().unwrap();
        [Arch::Riscv64, Arch::Aarch64].iter().flat_map(|arch| programs.chosen(*arch, None)).collect()
    }

    #[test]
    fn the_table_has_the_programs_of_the_sources() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/guest");
        let mut defined = BTreeSet::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "c") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("\nPROGRAM(").skip(1).filter_map(|rest| rest.split_once(','));
                defined.extend(names.map(|(name, _)| name.to_owned()));
            }
        }
        let listed: BTreeSet<String> = all().into_iter().map(|program| program.name).collect();
        assert_eq!(listed, defined);
    }

    #[test]
    fn each_promise_is_about_something() {
        let targets = Targets::load().unwrap();
        for mean in &targets.mean {
            for class in &mean.classes {
                assert!(all().iter().any(|program| program.class == *class), "{}: class {class}", mean.name);
            }
            for name in &mean.programs {
                assert!(all().iter().any(|program| program.name == *name), "{}: program {name}", mean.name);
            }
            assert!(all().iter().any(|program| mean.covers(program)), "{} is about nothing", mean.name);
        }
    }

    #[test]
    fn programs_are_chosen_by_name_and_instruction_set() {
        let programs = Programs::load().unwrap();
        let names = |arch, pattern| -> Vec<String> {
            programs.chosen(arch, Some(pattern)).into_iter().map(|program| program.name).collect()
        };
        assert_eq!(names(Arch::Riscv64, "chase"), ["chase_64k", "chase_8m", "chase_64m"]);
        assert!(names(Arch::Riscv64, "simd").is_empty());
        assert!(!names(Arch::Aarch64, "simd").is_empty());
    }
}
