//! Named guest images, made on this machine from packages of a Debian archive.
//!
//! [`Store::image`] gives a kernel and an initramfs that boot to a shell; [`Store::system`] all that it takes to
//! install a whole system on a disk (see [`system`]); [`Store::package_files`] gives single files of any package,
//! such as firmware. They fetch what they need from the machine's own Debian
//! mirror, verify it against the archive's signing keys, and keep the result in a cache, which is checked
//! each time it is used: the second use needs no network.
//!
//! Everything that comes from outside is taken to be hostile until the signature, and bounded in size after
//! it: sizes, paths and counts are checked, and what is in an archive can only be put below its own place.

mod arch;
mod cache;
pub mod catalog;
mod debian;
mod error;
mod hash;
mod http;
mod initramfs;
mod parallel;
mod progress;
pub mod system;

use std::path::PathBuf;

pub use arch::Arch;
pub use catalog::Image;
pub use error::{Error, Result};
pub use initramfs::cpio::CpioWriter;
pub use progress::Progress;

use cache::{Cache, Entry};
use debian::keyring::Keyring;
use debian::{Suite, deb, sources};
use hash::Sha256Hex;
use system::System;

/// What a user may choose. By default everything is found on the machine.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// URL of a Debian archive, the directory that has `dists` and `pool`. By default the first main archive
    /// in `/etc/apt`.
    pub mirror: Option<String>,
    /// OpenPGP keys to trust, binary or armoured. By default the host's Debian keyring and the keys shipped
    /// with ferry.
    pub keyring: Option<PathBuf>,
    /// The cache directory. By default `ferry` in the user's (`$XDG_CACHE_HOME`, `~/.cache`).
    pub cache: Option<PathBuf>,
}

/// Gives images and files of packages from the cache, and fetches what is not there.
#[derive(Debug)]
pub struct Store {
    options: Options,
    cache: Cache,
}

/// What boots a guest.
///
/// The initramfs takes two words on the kernel's command line. `ferry.root=DEV` mounts that disk and goes on
/// with `/sbin/init` there. `ferry.run=COMMAND`, which must come last, runs the rest of the line instead of a
/// shell, prints the line `ferry.run: exit status N`, and powers off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel, in the form in which the distribution ships it.
    pub kernel: PathBuf,
    /// The initramfs for it, a gzip-compressed cpio archive.
    pub initrd: PathBuf,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
}

impl Store {
    /// Opens the cache. Neither a mirror nor keys are looked for until something must be fetched.
    ///
    /// # Errors
    /// Fails if there is no cache directory and none can be made.
    pub fn open(options: Options) -> Result<Store> {
        let root = match &options.cache {
            Some(root) => root.clone(),
            None => directories::BaseDirs::new().ok_or(Error::NoCacheDir)?.cache_dir().join("ferry"),
        };
        Ok(Store { cache: Cache::open(&root)?, options })
    }

    /// The boot files of the image of this name; [`catalog::IMAGES`] lists them.
    ///
    /// # Errors
    /// Fails if there is no such image for `arch`, or if it must be fetched and cannot be: no mirror, no
    /// network, a signature or hash that does not match, a full disk.
    pub fn image(&self, name: &str, arch: Arch, progress: &mut dyn Progress) -> Result<BootFiles> {
        let recipe = &catalog::find_for(name, arch)?.recipe;
        let entry = format!("{name}-{}", arch.debian_name());
        let entry = self.cache.entry(&entry, &recipe.revision(), progress, |builder, progress| {
            let suite = self.suite(recipe.suite, progress)?;
            recipe.build(&suite, arch, builder, progress)
        })?;
        Ok(catalog::boot_files(&entry))
    }

    /// The system that an image of this name installs on a disk.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn system(&self, name: &str, arch: Arch, progress: &mut dyn Progress) -> Result<System> {
        let image = catalog::find_for(name, arch)?;
        let recipe = &image.recipe;
        let entry = format!("{name}-system-{}", arch.debian_name());
        let entry = self.cache.entry(&entry, &system::revision(recipe), progress, |builder, progress| {
            let suite = self.suite(recipe.suite, progress)?;
            system::build(recipe, &suite, arch, builder, progress)
        })?;
        Ok(System::new(entry, image.name, arch, recipe.suite))
    }

    /// The regular files of a package whose paths match one of `patterns`, in which `*` stands for any
    /// characters but `/`, as files in the cache; paths have no leading `/`. Executable files are executable
    /// there.
    ///
    /// # Errors
    /// As [`Store::image`]; also if the suite has no such package, or a pattern matches no file in it.
    pub fn package_files(
        &self,
        arch: Arch,
        suite: &str,
        package: &str,
        patterns: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>> {
        let entry = self.package_entry(arch, suite, package, patterns, progress)?;
        Ok(entry.files().collect())
    }

    /// One file of a package, by its path without a leading `/`.
    ///
    /// # Errors
    /// As [`Store::package_files`].
    pub fn package_file(
        &self,
        arch: Arch,
        suite: &str,
        package: &str,
        path: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf> {
        Ok(self.package_entry(arch, suite, package, &[path], progress)?.path(path))
    }

    fn package_entry(
        &self,
        arch: Arch,
        suite_name: &str,
        name: &str,
        patterns: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Entry> {
        for part in [suite_name, name] {
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
            if part.is_empty() || !part.bytes().all(is_plain) || part.starts_with('.') {
                return Err(Error::Missing(format!("`{part}` is no name of a suite or package")));
            }
        }
        let revision = Sha256Hex::of(patterns.join("\n").as_bytes()).to_string();
        let id = revision.get(..16).unwrap_or_default();
        let entry = format!("package-{name}-{suite_name}-{}-{id}", arch.debian_name());
        self.cache.entry(&entry, &revision, progress, |builder, progress| {
            let suite = self.suite(suite_name, progress)?;
            let packages = suite.packages(arch, builder, progress, |listed| listed == name)?;
            let package = packages.newest(name).ok_or_else(|| suite.missing(name, arch))?;
            builder.note("Package", &format!("{name} {}", package.version));
            let files = suite.package_files(package, builder, progress, |path| {
                patterns.iter().any(|pattern| deb::matches(pattern, path))
            })?;
            for pattern in patterns {
                if !files.iter().any(|file| deb::matches(pattern, &file.path)) {
                    return Err(Error::Missing(format!("package {name} has no file `{pattern}`")));
                }
            }
            files.iter().try_for_each(|file| builder.add_file(&file.path, file.executable, &file.content))
        })
    }

    /// Finds the mirror and the keys, and opens a suite.
    fn suite(&self, name: &str, progress: &mut dyn Progress) -> Result<Suite> {
        let mirror = match &self.options.mirror {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => sources::configured_mirror("/etc/apt".as_ref()).ok_or(Error::NoMirror)?,
        };
        if !http::is_http_url(&mirror) {
            return Err(Error::BadMirror { url: mirror });
        }
        let keyring = Keyring::open(self.options.keyring.as_deref())?;
        Suite::open(&mirror, name, &keyring, progress)
    }
}

// What the tests of this crate and those of its public interface both make.
#[cfg(test)]
#[path = "../tests/support/keys.rs"]
mod test_keys;
#[cfg(test)]
#[path = "../tests/support/packages.rs"]
mod test_packages;

#[cfg(test)]
mod tests {
    /// Calls a parser with hostile inputs: random bytes, and `valid` cut off, changed and repeated. The
    /// sequence is the same each time.
    pub fn hostile_bytes(valid: &[u8], parse: impl Fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % below.max(1)
        };
        parse(&[]);
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..random(200)).map(|_| random(256) as u8).collect();
            parse(&bytes);
        }
        for _ in 0..1000 {
            let mut bytes = valid.to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_within(at..),
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            // Extremes are likelier to hurt than other values.
                            *byte = [random(256) as u8, 0, 0xff, b'9'][random(4)];
                        }
                    }
                }
            }
            parse(&bytes);
        }
    }
}
