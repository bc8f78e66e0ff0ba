//! Translations that are kept from run to run: where they are, and whom they are taken from.
//!
//! ```text
//! DIRECTORY/key       32 random bytes, of this user and no other
//! DIRECTORY/NAME.ftc  a set of translations (jit::JitShared::save), and a MAC of it
//! DIRECTORY/.ferry-new-*  one that is being written
//! ```
//!
//! Translations are host code that this process will run, so they are taken from nobody but the user: the directory and what
//! is in it must be the user's, and writable by nobody else. The MAC says that a file was written by a ferry of this user, as it
//! is now, with this key. It covers the *identity* as well: what tells this program from others, and all that translations depend on but the
//! guest's code. A file is read as a whole before that is checked, and not looked at again.
//!
//! Whatever goes wrong here makes the guest start cold, no more: nothing but `tracing` hears of it. Several processes may have
//! one directory; files are replaced as a whole, and the last one stays.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jit::JitShared;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, fstat, futimens,
    linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};
use tracing::{debug, warn};

/// The name of the key.
const KEY: &str = "key";
/// How the names of sets end.
const SUFFIX: &str = ".ftc";
/// How the names of files begin that are being written.
const NEW: &str = ".ferry-new-";
/// How long that may take.
const NEW_LIMIT: Duration = Duration::from_secs(3600);
/// Bytes that a file can have that is worth being read.
const MOST_BYTES: u64 = 81 << 20;
/// Bytes that all sets may have together; beyond that the ones that were used longest ago go.
const MOST_IN_ALL: u64 = 512 << 20;
/// Bytes of a MAC, and of the key.
const MAC: usize = blake3::OUT_LEN;

/// What a machine that has ended leaves to later runs.
#[derive(Default)]
pub struct Translations(pub(crate) Option<Keeper>);

impl Translations {
    /// Writes it, if there is something, where [`crate::MachineConfig::cache`] says; that may take some time.
    pub fn keep(self) {
        if let Some(keeper) = self.0 {
            keeper.finish();
        }
    }
}

/// The translations of one machine, which are loaded beside it and saved when it ends.
pub(crate) struct Keeper {
    code: Arc<JitShared>,
    opened: JoinHandle<io::Result<Files>>,
}

impl Keeper {
    /// Begins to load translations for `code` from this directory; `configuration` says how the guest's CPUs are configured.
    /// If not `beside` the machine, that is done when this returns.
    pub(crate) fn start(
        directory: &Path,
        configuration: String,
        code: &Arc<JitShared>,
        beside: bool,
    ) -> io::Result<Self> {
        let (directory, loaded) = (directory.to_owned(), Arc::clone(code));
        let load = move || {
            let files = Files::open(&directory, &configuration, &loaded.fingerprint());
            let files = files.inspect_err(|error| {
                warn!("translations are not kept in {}: {error}", directory.display());
            })?;
            files.load_into(&loaded);
            Ok(files)
        };
        let opened = std::thread::Builder::new().name("translations".into()).spawn(load)?;
        while !beside && !opened.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { code: Arc::clone(code), opened })
    }

    /// Saves what is worth it. A machine that has ended before all was read has nothing to say.
    fn finish(self) {
        if !self.opened.is_finished() {
            return;
        }
        let Ok(Ok(files)) = self.opened.join() else { return };
        let Some(saved) = self.code.save() else { return };
        if let Err(error) = files.save(saved) {
            warn!("cannot keep translations: {error}");
        }
    }
}

/// Where the translations of a machine are kept.
struct Files {
    directory: OwnedFd,
    name: String,
    identity: blake3::Hash,
    key: [u8; MAC],
}

/// What is not as it must be.
fn refused(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what.into())
}

/// Fails unless the file is of this kind and this user's, and grants nobody else any of `others`.
fn check(stat: &Stat, kind: FileType, others: u32, name: &str) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(refused(format!("{name} is something else: remove it")));
    }
    if stat.st_uid != geteuid().as_raw() {
        return Err(refused(format!(
            "{name} is another user's: remove it, or name another directory with --cache"
        )));
    }
    match stat.st_mode & others {
        0 => Ok(()),
        _ => Err(refused(format!("other users have access to {name}: `chmod go= {name}`, or remove it"))),
    }
}

impl Files {
    fn open(path: &Path, configuration: &str, fingerprint: &str) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        check(&fstat(&directory)?, FileType::Directory, 0o022, &path.display().to_string())?;
        let key = key(&directory, path)?;
        let mut identity = blake3::Hasher::new();
        for part in [PROGRAM, configuration, fingerprint].map(str::as_bytes) {
            identity.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let identity = identity.finalize();
        let name = format!("{}{SUFFIX}", &identity.to_hex()[..32]);
        Ok(Self { directory, name, identity, key })
    }

    fn mac(&self, content: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(self.identity.as_bytes()).update(content).finalize()
    }

    /// Lets the translations be found, if there are some.
    fn load_into(&self, code: &JitShared) {
        match self.read() {
            Ok(saved) => {
                if let Err(error) = code.load(saved) {
                    warn!("{error}; they are made again");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => debug!("no translations are kept"),
            Err(error) => warn!("the kept translations are of no use, and are made again: {error}"),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.directory, &self.name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        check(&stat, FileType::RegularFile, 0o022, &self.name)?;
        let len = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if len > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there are too many"));
        }
        let mut content = Vec::with_capacity(len as usize + 1);
        let file = File::from(file);
        (&file).take(MOST_BYTES).read_to_end(&mut content)?;
        let end = content.len().saturating_sub(MAC);
        let mac: Option<[u8; MAC]> = content.get(end..).and_then(|mac| mac.try_into().ok());
        content.truncate(end);
        // The comparison takes the same time wherever they differ.
        if mac.is_none_or(|mac| self.mac(&content) != blake3::Hash::from_bytes(mac)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "they are not what was written"));
        }
        // Those that are used longest ago go first.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Ok(content)
    }

    fn save(&self, content: Vec<u8>) -> io::Result<()> {
        let mac = self.mac(&content);
        let new = new_name()?;
        let written = create(&self.directory, &new).and_then(|mut file| {
            file.write_all(&content)?;
            file.write_all(mac.as_bytes())
        });
        let renamed =
            written.and_then(|()| Ok(renameat(&self.directory, &new, &self.directory, &self.name)?));
        if renamed.is_err() {
            let _ = unlinkat(&self.directory, &new, AtFlags::empty());
        }
        renamed?;
        self.tidy()
    }

    /// Removes what takes too much room, and what was left behind.
    fn tidy(&self) -> io::Result<()> {
        let mut sets = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(stat) = statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            // The directory may be one where the user has other files.
            let is_hex =
                |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if name.strip_prefix(NEW).is_some_and(|rest| is_hex(rest, 16)) {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                if u64::try_from(stat.st_mtime).is_ok_and(|at| at < now.saturating_sub(NEW_LIMIT).as_secs()) {
                    let _ = unlinkat(&self.directory, name, AtFlags::empty());
                }
            } else if name.strip_suffix(SUFFIX).is_some_and(|rest| is_hex(rest, 32)) && name != self.name {
                sets.push((stat.st_mtime, stat.st_mtime_nsec, stat.st_size.unsigned_abs(), name.to_owned()));
            }
        }
        sets.sort();
        // Another process may be doing the same.
        let own =
            statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_size);
        let mut left = MOST_IN_ALL.saturating_sub(own.unsigned_abs());
        for (.., size, name) in sets.into_iter().rev() {
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => {
                    left = 0;
                    let _ = unlinkat(&self.directory, &name, AtFlags::empty());
                }
            }
        }
        Ok(())
    }
}

/// What tells this program from others: a hash of the sources and of what has compiled them (`build.rs`).
const PROGRAM: &str = env!("FERRY_SOURCES");

/// The key in this directory, made if there is none.
fn key(directory: &OwnedFd, path: &Path) -> io::Result<[u8; MAC]> {
    let shown = path.join(KEY).display().to_string();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = || openat(directory, KEY, flags, Mode::empty());
    let file = match open() {
        Err(Errno::NOENT) => {
            make_key(directory)?;
            open()?
        }
        opened => opened?,
    };
    check(&fstat(&file)?, FileType::RegularFile, 0o077, &shown)?;
    let (mut key, mut file) = ([0; MAC], File::from(file));
    let whole = file.read_exact(&mut key).is_ok() && file.read(&mut [0])? == 0;
    if whole { Ok(key) } else { Err(refused(format!("{shown} is no key: remove it"))) }
}

/// Makes a key, unless another process has just done so. It is there as a whole or not at all.
fn make_key(directory: &OwnedFd) -> io::Result<()> {
    let mut key = [0; MAC];
    random_bytes(&mut key)?;
    let new = new_name()?;
    let written = create(directory, &new).and_then(|mut file| file.write_all(&key));
    let linked = written.and_then(|()| match linkat(directory, &new, directory, KEY, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    });
    let _ = unlinkat(directory, &new, AtFlags::empty());
    linked
}

/// A name for a file that is being written.
fn new_name() -> io::Result<String> {
    let mut random = [0; 8];
    random_bytes(&mut random)?;
    Ok(format!("{NEW}{:016x}", u64::from_le_bytes(random)))
}

/// Makes a file that there must not be yet, for this user alone.
fn create(directory: &impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?))
}

fn random_bytes(to: &mut [u8]) -> io::Result<()> {
    match getrandom(&mut *to, GetRandomFlags::empty())? {
        len if len == to.len() => Ok(()),
        _ => Err(io::Error::other("the host has too few random numbers")),
    }
}

#[cfg(test)]
mod tests;
