//! What can go wrong while an image is fetched, checked and built.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an image or a package's files could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `--mirror`, and the host's apt sources name no Debian archive reachable by HTTP.
    #[error("no Debian mirror is configured on this machine: pass --mirror URL")]
    NoMirror,

    /// The mirror's address is not one that can be fetched from.
    #[error("mirror `{url}` is not an http:// or https:// URL with a host")]
    BadMirror {
        /// The address as given.
        url: String,
    },

    /// Neither `XDG_CACHE_HOME` nor a home directory is known.
    #[error("no cache directory is known: set XDG_CACHE_HOME or HOME")]
    NoCacheDir,

    /// No image has this name.
    #[error("unknown image `{name}`: the images are {known}")]
    UnknownImage {
        /// The name asked for.
        name: String,
        /// The names there are, comma-separated.
        known: String,
    },

    /// The image exists, but not for this architecture.
    #[error("image `{image}` is not made for {arch}: it is made for {made_for}")]
    WrongArch {
        /// The image.
        image: &'static str,
        /// The architecture asked for.
        arch: &'static str,
        /// The architectures there are, comma-separated.
        made_for: String,
    },

    /// A name that is no architecture known here.
    #[error("unknown architecture `{0}`: expected riscv64, arm64 (aarch64) or amd64 (x86_64)")]
    UnknownArch(String),

    /// The server could not be reached, or did not deliver.
    #[error("cannot fetch {url}: {reason}; check the network or pass another --mirror URL")]
    Fetch {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },

    /// A download cannot be written to the cache.
    #[error("cannot keep {url} in the cache: {source}; make room there, or pass another --cache-dir")]
    Keep {
        /// What was downloaded.
        url: String,
        /// The system's error.
        source: io::Error,
    },

    /// The server has no such file.
    #[error("{url} does not exist on the mirror (HTTP status {status})")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The HTTP status, 400 to 499.
        status: u16,
    },

    /// A download or a part of it is larger than it may be.
    #[error("{what} is larger than {limit} {unit}, the most that is taken")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit.
        limit: u64,
        /// What the limit counts: `bytes` or `lines`.
        unit: &'static str,
    },

    /// A download is not the file that the signed index promises.
    #[error("{what} is not the file that the signed index lists: expected {expected}, got {found}")]
    Mismatch {
        /// The file.
        what: String,
        /// The size or SHA-256 the index has.
        expected: String,
        /// The size or SHA-256 of what came.
        found: String,
    },

    /// The index of the archive carries no signature that can be trusted.
    #[error("{what} is not signed by a trusted key: {reason}")]
    Signature {
        /// The signed file.
        what: String,
        /// What is wrong with each signature.
        reason: String,
    },

    /// A keyring file has no usable key.
    #[error("{} is no OpenPGP keyring that can be used: {reason}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The signed index is for another suite, from the future, or expired.
    #[error("{what}: {reason}")]
    Release {
        /// The index.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The archive has no such package or the package no such file.
    #[error("{0}")]
    Missing(String),

    /// A file that is not what its format says.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The file.
        what: String,
        /// What is wrong.
        reason: String,
    },

    /// Another process installs on the disk.
    #[error("another ferry is installing on {}: wait until it is done, or end it", disk.display())]
    Installing {
        /// The disk.
        disk: PathBuf,
    },

    /// The host's file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Malformed { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn too_large(what: impl Into<String>, limit: u64) -> Self {
        Error::TooLarge { what: what.into(), limit, unit: "bytes" }
    }

    /// An adapter for `map_err` that adds the path to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_owned(), source }
    }
}
