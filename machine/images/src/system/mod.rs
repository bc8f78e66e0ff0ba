//! Systems that are installed on a disk.
//!
//! [`System`] is all that an installation needs, fetched and verified. What installs it is a machine with the
//! system's own kernel, the empty disk, and a second one, the [`medium`], that has the packages and the script
//! that does the work. A [`Place`] is the directory beside the disk that says how far an installation has come
//! and keeps the kernel; [`Follower`] reads off the machine's console how it goes.

mod follow;
mod medium;
mod place;
mod ssh;

use std::io::Write;

pub use follow::Follower;
pub use medium::Settings;
pub use place::{Begun, Installed, Place, SUPERBLOCK, file_system_id};
pub use ssh::{KeyPair, public_keys};

use crate::cache::{Builder, Entry};
use crate::catalog::{Recipe, boot_files};
use crate::debian::Suite;
use crate::debian::packages::{Package, Priority};
use crate::debian::resolve::Resolver;
use crate::hash::Sha256Hex;
use crate::{Arch, BootFiles, Error, Progress, Result};

/// A system, ready to be installed.
#[derive(Debug)]
pub struct System {
    entry: Entry,
    image: &'static str,
    arch: Arch,
    suite: &'static str,
}

/// Names of an entry's files and facts.
const MODULES: &str = "modules.tar";
const MIRROR: &str = "Mirror";
const FORMATTER: &str = "Formatter";
const BASE: &str = "Base";
const PACKAGES: &str = "packages";

/// The name of a package's file in the entry, and on the medium.
fn package_file(name: &str) -> String {
    format!("{PACKAGES}/{name}.deb")
}

/// Changes whenever the same packages would give another entry.
pub(crate) fn revision(recipe: &Recipe) -> String {
    Sha256Hex::of(format!("system {}", recipe.revision()).as_bytes()).to_string()
}

/// Fetches the packages, and writes them, the kernel with its modules, and the initramfs.
pub(crate) fn build(
    recipe: &Recipe,
    suite: &Suite,
    arch: Arch,
    builder: &mut Builder,
    progress: &mut dyn Progress,
) -> Result<()> {
    let index = suite.packages(arch, builder, progress, |_| true)?;
    let resolver = Resolver::new(&index);
    let installation = &recipe.installation;
    let names = |closure: &[&Package]| {
        closure.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let essential: Vec<&str> = index.all().filter(|p| p.essential).map(|p| p.name.as_str()).collect();
    let required = index.all().filter(|p| p.priority == Priority::Required).map(|p| p.name.as_str());
    let wanted: Vec<&str> =
        essential.iter().copied().chain(required).chain(installation.packages.iter().copied()).collect();
    let all = resolver.closure(&wanted, &[])?;
    let base = resolver.closure(&essential, &all)?;
    let formatter = resolver.closure(&[installation.formatter], &all)?;
    builder.note(MIRROR, suite.mirror());
    builder.note(FORMATTER, &names(&formatter));
    builder.note(BASE, &names(&base));
    suite.fetch_all(&all, builder, progress)?;
    for package in &all {
        builder.add_download(&package_file(&package.name), package.size, &package.sha256)?;
    }

    let (modules, release) = recipe.build_boot(suite, arch, &index, builder, progress)?;
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in modules.files(installation.without_modules) {
        medium::append(&mut tar, &format!("modules/{release}/{path}"), content)
            .map_err(|e| Error::malformed("the kernel's modules", e.to_string()))?;
    }
    let tar = tar.into_inner().map_err(|e| Error::malformed("the kernel's modules", e.to_string()))?;
    builder.add_file(MODULES, false, &tar)
}

impl System {
    pub(crate) fn new(entry: Entry, image: &'static str, arch: Arch, suite: &'static str) -> Self {
        System { entry, image, arch, suite }
    }

    /// What boots the machine that installs the system, and later the system.
    pub fn boot(&self) -> BootFiles {
        boot_files(&self.entry)
    }

    /// The names of the packages.
    fn packages(&self) -> impl Iterator<Item = &str> {
        self.entry.names().filter_map(|path| {
            let name = path.strip_prefix(PACKAGES).ok()?.to_str()?;
            name.strip_suffix(".deb")
        })
    }

    /// A list of packages that was noted.
    fn noted(&self, fact: &str) -> Vec<&str> {
        self.entry.fact(fact).unwrap_or_default().split_whitespace().collect()
    }

    /// Writes the medium to install from, a tar archive as the disk's whole content; what follows the
    /// installation.
    ///
    /// # Errors
    /// Fails if `out` cannot be written, or a package cannot be unpacked.
    pub fn write_medium(
        &self,
        out: impl Write,
        settings: &Settings,
        progress: &mut dyn Progress,
    ) -> Result<Follower> {
        medium::write(self, out, settings, progress)
    }

    /// The kernel's command line in the machine that installs.
    pub fn install_append(&self) -> &'static str {
        medium::APPEND
    }
}
