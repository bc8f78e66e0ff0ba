//! `ferry disk check`.

use crate::error::{Error, ErrorKind, Op, Result};
use crate::file::HostFile;
use crate::lock::Access;
use crate::probe::{Format, Probe, probe};
use crate::qcow2::check::{self, CheckReport};
use std::path::Path;

/// Checks the structure of the QCOW2 image at `path` without changing it.
///
/// Backing files are not looked at; check them by themselves. Dirty images and images that are marked as
/// corrupt are checked too. Nothing is repaired: `qemu-img check -r all` does that, and the next opening for
/// writing if nothing but the refcounts of a dirty image is wrong.
///
/// # Errors
/// The image is in use for writing, cannot be read, has no structure to check (raw), uses features that
/// are not supported, or is so damaged that its main tables cannot be found.
pub fn check(path: &Path, format: Option<Format>) -> Result<CheckReport> {
    let host = HostFile::open(path, false, true, Op::Check)?;
    host.lock(Access::Shared, Op::Check)?;
    let raw = || ErrorKind::Invalid("a raw image has no structure that could be checked".into());
    match (format, probe(&host.head(Op::Check)?)) {
        (Some(Format::Raw), _) | (None, Probe::Raw) => Err(Error::new(path, Op::Check, raw())),
        (Some(Format::Qcow2), _) | (None, Probe::Qcow2) => {
            check::check(&host.file, host.len).map_err(|fault| fault.of(path, Op::Check))
        }
        (None, Probe::Foreign(name) | Probe::Compressed(name)) => {
            Err(Error::new(path, Op::Check, ErrorKind::UnsupportedFormat(name)))
        }
    }
}
