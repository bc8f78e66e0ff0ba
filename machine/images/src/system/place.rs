//! The directory beside a disk that a system is installed on.
//!
//! ```text
//! FILE                    the disk, which appears when the installation is complete
//! FILE.ferry/lock         held by the process that installs
//! FILE.ferry/disk         the disk while the installation goes on
//! FILE.ferry/medium       what it is installed from
//! FILE.ferry/install.log  what the machine that installs says
//! FILE.ferry/manifest     the last to be written: what is installed, and the hashes of the files below
//! FILE.ferry/kernel, FILE.ferry/initrd              what boots the system
//! FILE.ferry/id_ed25519, FILE.ferry/id_ed25519.pub  a key that may log in
//! ```
//!
//! An installation that is cut off leaves a directory whose disk is not where it belongs; nothing in it is of
//! any use then, and the next one begins by removing it. The manifest names the file system on the disk by its
//! UUID, so that the directory is not taken for that of another disk that was put in its place.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::KeyPair;
use crate::cache::{Builder, Entry, lock, remove_dir};
use crate::catalog::{INITRD, KERNEL, KERNEL_RELEASE, boot_files};
use crate::{Arch, BootFiles, Error, Result};

/// Changes when older directories can no longer be used.
const REVISION: &str = "ferry disk 1";
/// Names of files and facts.
const DISK: &str = "disk";
const MEDIUM: &str = "medium";
const LOG: &str = "install.log";
const LOCK: &str = "lock";
const KEY: &str = "id_ed25519";
const PUBLIC_KEY: &str = "id_ed25519.pub";
const IMAGE: &str = "Image";
const ARCH: &str = "Architecture";
const FILE_SYSTEM: &str = "File-System";

/// The directory of a disk, which may not be there.
#[derive(Debug)]
pub struct Place {
    disk: PathBuf,
    dir: PathBuf,
}

/// A system that is installed on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The image that it was made from.
    pub image: String,
    /// Its architecture, as Debian names it.
    pub arch: String,
    /// The UUID of its file system; see [`file_system_id`].
    pub file_system: String,
    /// What boots it.
    pub boot: BootFiles,
    /// A private key that root can log in with.
    pub key: PathBuf,
}

impl Place {
    /// The directory beside this disk.
    pub fn beside(disk: &Path) -> Place {
        let mut dir = disk.as_os_str().to_owned();
        dir.push(".ferry");
        Place { disk: disk.to_owned(), dir: dir.into() }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is installed, if the installation came to its end.
    ///
    /// # Errors
    /// Fails if files of an installed system are missing or damaged.
    pub fn installed(&self) -> Result<Option<Installed>> {
        if !self.dir.join("manifest").exists() {
            return Ok(None);
        }
        let entry = Entry::open(self.dir.clone(), REVISION)?;
        let fact = |name| {
            entry.fact(name).map(str::to_owned).ok_or_else(|| {
                Error::malformed(format!("directory {}", self.dir.display()), format!("it lacks `{name}`"))
            })
        };
        Ok(Some(Installed {
            image: fact(IMAGE)?,
            arch: fact(ARCH)?,
            file_system: fact(FILE_SYSTEM)?,
            boot: boot_files(&entry),
            key: entry.path(KEY),
        }))
    }

    /// Begins an installation: removes what an earlier one has left. `is_wanted` is asked once no other process
    /// can install any more; if it says no, nothing is done.
    ///
    /// # Errors
    /// Fails if another process installs here, or the directory cannot be written.
    pub fn begin(&self, is_wanted: impl FnOnce() -> bool) -> Result<Option<Begun>> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(&self.dir)(error));
            }
            _ => {}
        }
        let lock = lock(&self.dir.join(LOCK), || Err(Error::Installing { disk: self.disk.clone() }))?;
        if !is_wanted() {
            return Ok(None);
        }
        let mut was_begun = false;
        // The manifest goes first: it says that the others can be used.
        let names = ["manifest", DISK, MEDIUM, LOG, KERNEL, INITRD, KEY, PUBLIC_KEY];
        for path in names.map(|name| self.dir.join(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => {
                    result.map_err(Error::io(&path))?;
                    was_begun = true;
                }
            }
        }
        Ok(Some(Begun {
            place: Place { disk: self.disk.clone(), dir: self.dir.clone() },
            was_begun,
            _lock: lock,
        }))
    }
}

/// An installation that was begun.
#[derive(Debug)]
pub struct Begun {
    place: Place,
    was_begun: bool,
    _lock: File,
}

impl Begun {
    /// Whether an earlier one was begun here and did not come to its end.
    pub fn was_begun(&self) -> bool {
        self.was_begun
    }

    /// Where the disk is while it is installed on.
    pub fn disk(&self) -> PathBuf {
        self.place.dir.join(DISK)
    }

    /// Where the medium is put.
    pub fn medium(&self) -> PathBuf {
        self.place.dir.join(MEDIUM)
    }

    /// Where to write what the machine says.
    pub fn log(&self) -> PathBuf {
        self.place.dir.join(LOG)
    }

    /// Ends the installation: keeps what boots the system, and puts the disk into its place. A file that is there
    /// already is replaced only if `replaces` says that it may be.
    ///
    /// # Errors
    /// Fails if something cannot be written, or if there is a file in the disk's place.
    pub fn finish(
        self,
        system: &super::System,
        file_system: &str,
        key: &KeyPair,
        replaces: impl FnOnce() -> bool,
    ) -> Result<()> {
        let dir = &self.place.dir;
        let _ = fs::remove_file(self.medium());
        let boot = system.boot();
        let mut builder = Builder::new(dir.clone(), dir.join("downloads"))?;
        builder.note(IMAGE, system.image);
        builder.note(ARCH, system.arch.debian_name());
        builder.note(FILE_SYSTEM, file_system);
        builder.note(KERNEL_RELEASE, &boot.kernel_release);
        for (name, path) in [(KERNEL, &boot.kernel), (INITRD, &boot.initrd)] {
            builder.add_file(name, false, &fs::read(path).map_err(Error::io(path))?)?;
        }
        builder.add_file(KEY, false, key.private.as_bytes())?;
        builder.add_file(PUBLIC_KEY, false, format!("{}\n", key.public).as_bytes())?;
        builder.finish(REVISION)?;
        remove_dir(&dir.join("downloads"))?;

        let (from, to) = (self.disk(), &self.place.disk);
        let put = || {
            File::open(&from)?.sync_all()?;
            File::open(dir)?.sync_all()?;
            if to.symlink_metadata().is_ok() && !replaces() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(&from, to)?;
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(Error::io(to))
    }
}

/// Offset in bytes of an ext4 file system's superblock in the disk, and its length.
pub const SUPERBLOCK: (u64, usize) = (1024, 1024);

/// The UUID of an ext4 file system as hexadecimal digits, by its superblock (Linux,
/// Documentation/filesystems/ext4/super.rst); none if it is none.
pub fn file_system_id(superblock: &[u8]) -> Option<String> {
    if superblock.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    Some(superblock.get(0x68..0x78)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Installed {
    /// Whether it is this image for this architecture.
    pub fn is(&self, image: &str, arch: Arch) -> bool {
        self.image == image && self.arch == arch.debian_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_superblock() {
        let mut superblock = vec![0; SUPERBLOCK.1];
        assert_eq!(file_system_id(&superblock), None);
        superblock[0x38..0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
        superblock[0x68..0x78].copy_from_slice(&[0xab; 16]);
        assert_eq!(file_system_id(&superblock), Some("ab".repeat(16)));
        assert_eq!(file_system_id(&superblock[..0x70]), None);
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::beside(&dir.path().join("d.qcow2"));
        assert_eq!(place.installed().unwrap(), None);
        let begun = place.begin(|| true).unwrap().unwrap();
        assert!(!begun.was_begun());
        assert!(begun.disk().starts_with(dir.path().join("d.qcow2.ferry")));
        fs::write(begun.disk(), "half").unwrap();
        fs::write(place.dir().join("of the user"), "x").unwrap();
        assert!(matches!(place.begin(|| true), Err(Error::Installing { .. })));
        drop(begun);
        assert!(place.begin(|| false).unwrap().is_none());
        assert!(place.dir().join(DISK).exists());
        let begun = place.begin(|| true).unwrap().unwrap();
        assert!(begun.was_begun() && !begun.disk().exists());
        assert!(place.dir().join("of the user").exists());
    }
}
