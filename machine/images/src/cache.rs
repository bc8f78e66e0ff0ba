//! A directory of finished results that are checked each time they are used.
//!
//! ```text
//! CACHE/lock                   held by the process that changes anything here
//! CACHE/downloads/             checked files of a build that has not ended yet
//! CACHE/building/              the entry being built
//! CACHE/ENTRY/manifest         what the entry is and the size, hash and name of each file in it
//! CACHE/ENTRY/...              its files
//! ```
//!
//! An entry appears by the renaming of its complete directory, so a process that dies leaves either the old
//! entry or the new one. One whose files do not match its manifest is built again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use crate::debian::control::{Paragraph, Paragraphs};
use crate::hash::{HashWriter, Sha256Hex};
use crate::http::Sink;
use crate::{Error, Progress, Result};

const MANIFEST: &str = "manifest";
/// Largest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// The cache directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A finished entry: its directory, and the facts its builder noted.
#[derive(Debug)]
pub struct Entry {
    dir: PathBuf,
    manifest: Paragraph,
    files: Vec<PathBuf>,
}

impl Entry {
    /// The finished entry in a directory: of this revision, all its files as they were made.
    pub fn open(dir: PathBuf, revision: &str) -> Result<Entry> {
        let what = format!("directory {}", dir.display());
        let malformed = |reason: String| Error::malformed(&what, reason);
        let path = dir.join(MANIFEST);
        let manifest = File::open(&path).map_err(Error::io(&path))?;
        if manifest.metadata().map_err(Error::io(&path))?.len() > MANIFEST_LIMIT {
            return Err(Error::too_large(what, MANIFEST_LIMIT));
        }
        let manifest = Paragraphs::new(io::BufReader::new(manifest), &what)
            .next()
            .transpose()?
            .ok_or_else(|| malformed("its manifest is empty".into()))?;
        if manifest.get("Revision") != Some(revision) {
            return Err(Error::Missing(format!("{what} is of another version of ferry")));
        }
        let mut files = Vec::new();
        for line in manifest.get("Files").unwrap_or_default().lines().filter(|line| !line.is_empty()) {
            let (hash, size, file) = parse_line(line)
                .ok_or_else(|| malformed(format!("its manifest has the malformed line `{line}`")))?;
            let path = dir.join(&file);
            let found = File::open(&path)
                .and_then(Sha256Hex::of_reader)
                .map_err(|e| malformed(format!("{}: {e}", file.display())))?;
            if found != (hash, size) {
                return Err(malformed(format!("{} has changed", file.display())));
            }
            files.push(file);
        }
        Ok(Entry { dir, manifest, files })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Its files, relative to it, in the order they were made.
    pub fn names(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// The paths of its files, in the order they were made.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.files.iter().map(|file| self.dir.join(file))
    }

    /// A fact noted by its builder.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.manifest.get(name)
    }
}

impl Cache {
    /// Uses this directory, which is made if it is missing; the directories above it must then be writable.
    pub fn open(root: &Path) -> Result<Cache> {
        make_dir(root)?;
        Ok(Cache { root: root.to_owned() })
    }

    /// The entry of this name and revision: the one that is there if it is whole, else what `build` makes.
    pub fn entry(
        &self,
        name: &str,
        revision: &str,
        progress: &mut dyn Progress,
        build: impl FnOnce(&mut Builder, &mut dyn Progress) -> Result<()>,
    ) -> Result<Entry> {
        let dir = self.root.join(name);
        if let Ok(entry) = Entry::open(dir.clone(), revision) {
            return Ok(entry);
        }
        let _lock = lock(&self.root.join("lock"), || {
            progress.message("waiting for another ferry that is using the cache");
            Ok(())
        })?;
        // Another process may have built it while this one waited for the lock.
        match Entry::open(dir.clone(), revision) {
            Ok(entry) => return Ok(entry),
            Err(reason) if dir.exists() => progress.message(&format!("making {name} again: {reason}")),
            Err(_) => {}
        }
        let building = self.root.join("building");
        remove_dir(&building)?;
        make_dir(&building)?;
        let mut builder = Builder::new(building, self.root.join("downloads"))?;
        build(&mut builder, progress)?;
        builder.finish(revision)?;
        remove_dir(&dir)?;
        fs::rename(&builder.dir, &dir).map_err(Error::io(&dir))?;
        remove_dir(&builder.downloads)?;
        Entry::open(dir, revision)
    }
}

/// Locks a file, which is made if it is missing, until what is returned is dropped. If another process has
/// the lock, `busy` decides whether to wait for it.
pub fn lock(path: &Path, busy: impl FnOnce() -> Result<()>) -> Result<File> {
    let options = &mut OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).map_err(Error::io(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            busy()?;
            file.lock().map_err(Error::io(path))?;
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
    }
    Ok(file)
}

fn parse_line(line: &str) -> Option<(Sha256Hex, u64, PathBuf)> {
    let mut words = line.splitn(3, ' ');
    let hash = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    Some((hash, size, below(words.next()?)?))
}

/// The path, if it leads to something below where it is put.
fn below(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    (stays && path.file_name().is_some()).then_some(path)
}

/// Makes an entry. A lock is held while it exists, so that nothing else changes its directories.
#[derive(Debug)]
pub struct Builder {
    dir: PathBuf,
    downloads: PathBuf,
    facts: String,
    files: String,
}

impl Builder {
    /// Makes an entry in `dir`, which exists; what is fetched for it is kept in `downloads` until the entry is
    /// complete.
    pub fn new(dir: PathBuf, downloads: PathBuf) -> Result<Builder> {
        make_dir(&downloads)?;
        Ok(Builder { dir, downloads, facts: String::new(), files: String::new() })
    }

    /// Notes a fact; `value` is one line.
    pub fn note(&mut self, name: &str, value: &str) {
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.facts.push_str(&format!("{name}: {value}\n"));
    }

    /// Adds a file; `name` may have directories.
    pub fn add_file(&mut self, name: &str, executable: bool, content: &[u8]) -> Result<()> {
        let path = self.place(name)?;
        let write = || {
            let mode = if executable { 0o700 } else { 0o600 };
            let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&path)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(Error::io(&path))?;
        self.list(name, content.len() as u64, &Sha256Hex::of(content));
        Ok(())
    }

    /// Adds a file that was downloaded.
    pub fn add_download(&mut self, name: &str, size: u64, hash: &Sha256Hex) -> Result<()> {
        let path = self.place(name)?;
        let downloaded = self.downloads.join(hash.to_string());
        let keep = || {
            File::open(&downloaded)?.sync_all()?;
            fs::rename(&downloaded, &path)
        };
        keep().map_err(Error::io(&downloaded))?;
        self.list(name, size, hash);
        Ok(())
    }

    /// Where a file of this name goes; the directories above it are made.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let is_listable = !name.contains(char::is_control) && name == name.trim();
        let relative =
            below(name).filter(|path| is_listable && path != Path::new(MANIFEST)).ok_or_else(|| {
                Error::malformed(format!("file name `{}`", name.escape_default()), "it cannot be kept")
            })?;
        let path = self.dir.join(relative);
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        Ok(path)
    }

    fn list(&mut self, name: &str, size: u64, hash: &Sha256Hex) {
        self.files.push_str(&format!(" {hash} {size} {name}\n"));
    }

    /// Gives a file of this size and hash: the one of an earlier build that was cut off, or what `fetch`
    /// writes. `what` names it in errors.
    pub fn download(
        &self,
        size: u64,
        hash: &Sha256Hex,
        what: &str,
        fetch: impl FnOnce(&mut dyn Sink) -> Result<()>,
    ) -> Result<File> {
        let path = self.downloads.join(hash.to_string());
        if let Ok(mut file) = File::open(&path)
            && Sha256Hex::of_reader(&file).is_ok_and(|found| found == (*hash, size))
        {
            file.rewind().map_err(Error::io(&path))?;
            return Ok(file);
        }
        let part = path.with_extension("part");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .map_err(Error::io(&part))?;
        let mut sink = FileSink(HashWriter::new(file));
        if let Err(error) = fetch(&mut sink) {
            // What cannot be used should not fill the disk.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        let (found_hash, found_size, mut file) = sink.0.finish();
        check(what, size, hash, found_size, &found_hash)?;
        file.rewind().map_err(Error::io(&part))?;
        fs::rename(&part, &path).map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Writes the manifest, which makes the entry complete.
    pub fn finish(&self, revision: &str) -> Result<()> {
        let text = format!("Revision: {revision}\n{}Files:\n{}", self.facts, self.files);
        let path = self.dir.join(MANIFEST);
        let write = || {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(Error::io(&path))
    }
}

/// Compares what came with what the signed index lists.
pub fn check(what: &str, size: u64, hash: &Sha256Hex, found_size: u64, found: &Sha256Hex) -> Result<()> {
    let mismatch = |expected, found| Err(Error::Mismatch { what: what.to_owned(), expected, found });
    if found_size != size {
        return mismatch(format!("{size} bytes"), format!("{found_size} bytes"));
    }
    if found != hash {
        return mismatch(format!("SHA-256 {hash}"), format!("SHA-256 {found}"));
    }
    Ok(())
}

struct FileSink(HashWriter<File>);

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for FileSink {
    fn restart(&mut self) -> io::Result<()> {
        self.0.restart(|file| {
            file.rewind()?;
            file.set_len(0)
        })
    }
}

/// Makes a directory and those above it, for this user alone; those that exist stay as they are.
pub fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(path))
}

/// Removes a directory with all that is in it, if it is there.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
