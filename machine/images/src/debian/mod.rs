//! A Debian archive: from its signed index to the files in a package.
//!
//! Trust goes down a chain: a key of the [`keyring`] signs `InRelease`, which has the hash of `Packages.xz`,
//! which has the hash of each package. Nothing is parsed before the link above has vouched for it.

pub mod control;
pub mod deb;
pub mod keyring;
pub mod packages;
pub mod release;
pub mod resolve;
pub mod sources;
pub mod version;

use std::fs;
use std::io::BufReader;
use std::time::{SystemTime, UNIX_EPOCH};

use deb::xz_reader;
use keyring::Keyring;
use packages::{Package, Packages};
use release::Release;

use crate::cache::Builder;
use crate::http::Http;
use crate::parallel::{Outbox, for_each};
use crate::{Arch, Error, Progress, Result};

/// Largest `InRelease`, compressed index and package that are fetched, and index unpacked, in bytes.
const RELEASE_LIMIT: u64 = 1 << 20;
const INDEX_LIMIT: u64 = 256 << 20;
const INDEX_UNPACKED_LIMIT: u64 = 2 << 30;
const PACKAGE_LIMIT: u64 = 2 << 30;
/// How many packages are fetched at a time. What takes long with many small files is waiting for each.
const CONNECTIONS: usize = 4;

/// One suite of an archive, its index verified.
#[derive(Debug)]
pub struct Suite {
    http: Http,
    mirror: String,
    name: String,
    release: Release,
}

impl Suite {
    /// Fetches and verifies the index of a suite.
    pub fn open(mirror: &str, name: &str, keyring: &Keyring, progress: &mut dyn Progress) -> Result<Suite> {
        let http = Http::new();
        let url = format!("{mirror}/dists/{name}/InRelease");
        let mut signed = Vec::new();
        http.download(&url, RELEASE_LIMIT, None, &mut signed, progress)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let text = keyring.verify(&signed, now, &url)?;
        let release = Release::parse(&text, name, now, &url)?;
        Ok(Suite { http, mirror: mirror.to_owned(), name: name.to_owned(), release })
    }

    /// The archive's address.
    pub fn mirror(&self) -> &str {
        &self.mirror
    }

    /// Fetches the list of the packages for an architecture, and keeps those that `wanted` accepts by name.
    pub fn packages(
        &self,
        arch: Arch,
        builder: &Builder,
        progress: &mut dyn Progress,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Packages> {
        let dir = format!("main/binary-{}", arch.debian_name());
        let path = format!("{dir}/Packages.xz");
        let (size, hash) = self
            .release
            .file(&path)
            .ok_or_else(|| Error::Missing(format!("suite {} of {} has no {path}", self.name, self.mirror)))?;
        let base = format!("{}/dists/{}", self.mirror, self.name);
        let plain = format!("{base}/{path}");
        if size > INDEX_LIMIT {
            return Err(Error::too_large(plain, INDEX_LIMIT));
        }
        let file = builder.download(size, hash, &plain, |sink| {
            if self.release.by_hash {
                let url = format!("{base}/{dir}/by-hash/SHA256/{hash}");
                match self.http.download(&url, size, Some(size), sink, progress) {
                    Err(Error::NotFound { .. }) => {}
                    result => return result,
                }
            }
            self.http.download(&plain, size, Some(size), sink, progress)
        })?;
        let unpacked = std::io::Read::take(xz_reader(BufReader::new(file)), INDEX_UNPACKED_LIMIT);
        Packages::read(BufReader::new(unpacked), &plain, wanted)
    }

    /// Fetches a package, and returns the files in it whose path `wanted` accepts.
    pub fn package_files(
        &self,
        package: &Package,
        builder: &Builder,
        progress: &mut dyn Progress,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<deb::File>> {
        let file = self.fetch(package, builder, progress)?;
        progress.message(&format!("unpacking {} {}", package.name, package.version));
        let what = format!("package {} {}", package.name, package.version);
        deb::read_files(BufReader::new(file), &what, wanted)
    }

    /// Fetches packages, several at a time, into `builder`'s downloads.
    pub fn fetch_all(
        &self,
        packages: &[&Package],
        builder: &Builder,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let total = packages.iter().map(|package| package.size).sum();
        progress.started(&format!("{} packages", packages.len()), Some(total));
        let fetch = |package: &&Package, outbox: &Outbox<Event>| {
            let mut part = Part { outbox, done: 0, told: 0 };
            self.fetch(package, builder, &mut part)?;
            part.tell(package.size);
            Ok(())
        };
        for_each(packages, CONNECTIONS, fetch, |event| {
            match event {
                Event::Message(text) => progress.message(&text),
                Event::Advanced(bytes) => progress.advanced(bytes),
            }
            Ok(())
        })?;
        progress.finished();
        Ok(())
    }

    /// Fetches a package.
    fn fetch(&self, package: &Package, builder: &Builder, progress: &mut dyn Progress) -> Result<fs::File> {
        let url = format!("{}/{}", self.mirror, package.filename);
        if package.size > PACKAGE_LIMIT {
            return Err(Error::too_large(url, PACKAGE_LIMIT));
        }
        builder.download(package.size, &package.sha256, &url, |sink| {
            self.http.download(&url, package.size, Some(package.size), sink, progress)
        })
    }

    /// The error for a package that the suite lacks.
    pub fn missing(&self, package: &str, arch: Arch) -> Error {
        let arch = arch.debian_name();
        Error::Missing(format!("suite {} of {} has no package {package} for {arch}", self.name, self.mirror))
    }
}

/// What happens in one of several downloads.
enum Event {
    Message(String),
    Advanced(u64),
}

/// The progress of one of several downloads, as a part of the progress of all.
struct Part<'a> {
    outbox: &'a Outbox<Event>,
    done: u64,
    told: u64,
}

impl Part<'_> {
    /// Says that so many bytes are done, if that is more than was said before.
    fn tell(&mut self, done: u64) {
        if done > self.told {
            self.outbox.send(Event::Advanced(done - self.told));
            self.told = done;
        }
    }
}

impl Progress for Part<'_> {
    fn message(&mut self, text: &str) {
        self.outbox.send(Event::Message(text.to_owned()));
    }

    fn started(&mut self, _what: &str, _total: Option<u64>) {
        // It may be another try.
        self.done = 0;
    }

    fn advanced(&mut self, bytes: u64) {
        self.done += bytes;
        self.tell(self.done);
    }
}
