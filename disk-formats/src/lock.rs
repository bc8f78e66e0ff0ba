//! Locks that keep two users from one image, in the form that QEMU uses.
//!
//! QEMU maps each permission of a block device user to two bytes of the file (`block/file-posix.c`,
//! documented in `docs/system/images`, "Disk image file locking"): byte 100 + *n* is locked by whoever
//! uses permission *n*, byte 200 + *n* by whoever does not let others use it. All locks are open file
//! description read locks, so any number of users can hold the same byte. Each user takes its own locks
//! first and then looks whether the opposite byte of any of them is taken: of two users that collide at
//! least one sees the other.
#![allow(unsafe_code, reason = "open file description locks exist only as a raw fcntl")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What a user does with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads; others may read too, nobody may write.
    Shared,
    /// Reads and writes; nobody else may.
    Exclusive,
}

const USED: i64 = 100;
const UNSHARED: i64 = 200;

/// A permission: its number and QEMU's name for it.
type Permission = (i64, &'static str);
const CONSISTENT_READ: Permission = (0, "consistent read");
const WRITE: Permission = (1, "write");
const RESIZE: Permission = (3, "resize");

/// Nobody lets others write or resize.
const WITHHELD: &[Permission] = &[WRITE, RESIZE];

impl Access {
    fn used(self) -> &'static [Permission] {
        match self {
            Access::Shared => &[CONSISTENT_READ],
            Access::Exclusive => &[CONSISTENT_READ, WRITE, RESIZE],
        }
    }
}

/// How long to wait for another user to go: one that has just been killed, or that is about to execute
/// another program and has not yet closed what the two do not share.
const PATIENCE: Duration = Duration::from_millis(200);
const INTERVAL: Duration = Duration::from_millis(10);

/// Takes the locks for `access`, or names the permission that another user denies.
///
/// The locks last until the last descriptor of this open file is closed.
pub(crate) fn acquire(file: &File, access: Access) -> io::Result<Option<&'static str>> {
    let start = Instant::now();
    loop {
        let denied = try_acquire(file, access)?;
        if denied.is_none() {
            return Ok(None);
        }
        // Given up meanwhile, so that of two that collide one can succeed.
        for (n, _) in access.used() {
            set(file, USED + n, libc::F_UNLCK)?;
        }
        for (n, _) in WITHHELD {
            set(file, UNSHARED + n, libc::F_UNLCK)?;
        }
        if start.elapsed() > PATIENCE {
            return Ok(denied);
        }
        std::thread::sleep(INTERVAL);
    }
}

fn try_acquire(file: &File, access: Access) -> io::Result<Option<&'static str>> {
    for (n, _) in access.used() {
        set(file, USED + n, libc::F_RDLCK)?;
    }
    for (n, _) in WITHHELD {
        set(file, UNSHARED + n, libc::F_RDLCK)?;
    }
    for (n, name) in access.used() {
        if is_taken(file, UNSHARED + n)? {
            return Ok(Some(name));
        }
    }
    for (n, name) in WITHHELD {
        if is_taken(file, USED + n)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn byte(kind: libc::c_int, at: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: 1,
        l_pid: 0, // open file description locks demand it
    }
}

fn set(file: &File, at: i64, kind: libc::c_int) -> io::Result<()> {
    let lock = byte(kind, at);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_OFD_SETLK only reads the
    // `flock` that the pointer leads to, which lives until after the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_taken(file: &File, at: i64) -> io::Result<bool> {
    let mut lock = byte(libc::F_WRLCK, at);
    // SAFETY: as above, but F_OFD_GETLK also writes the `flock`, to which nothing else refers meanwhile.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if result == 0 {
        Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        use Access::{Exclusive, Shared};
        for (first, second, refused) in [
            (Shared, Shared, false),
            (Shared, Exclusive, true),
            (Exclusive, Shared, true),
            (Exclusive, Exclusive, true),
        ] {
            let image = tempfile::NamedTempFile::new().unwrap();
            let one = image.reopen().unwrap();
            let two = image.reopen().unwrap();
            assert_eq!(acquire(&one, first).unwrap(), None);
            assert_eq!(acquire(&two, second).unwrap().is_some(), refused, "{first:?} then {second:?}");
            drop((one, two));
            assert_eq!(acquire(&image.reopen().unwrap(), Exclusive).unwrap(), None, "freed on close");
        }
    }
}
