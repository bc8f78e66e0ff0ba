//! The disk that a system is installed from: a tar archive with the packages, the kernel's modules, the files
//! that are ours, and the script that installs them all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::thread;

use super::{BASE, FORMATTER, Follower, MIRROR, MODULES, System, package_file};
use crate::debian::deb;
use crate::parallel::for_each;
use crate::{Error, Progress, Result, http};

/// The script, which `/init` of the initramfs is told to run.
const SCRIPT: &str = include_str!("install.sh");
/// Puts the medium, which is the second disk, into memory and starts the script. A kernel that panics ends
/// the machine.
pub(super) const APPEND: &str = "panic=-1 ferry.run=mount -t tmpfs -o size=80% medium /mnt && \
                                 tar -x -f /dev/vdb -C /mnt && sh /mnt/install.sh";

/// What an installation can be told.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Keys that may log in as root, as lines of `authorized_keys` (sshd(8)).
    pub authorized_keys: Vec<String>,
}

/// A file of ours in the installed system: its mode, path and content. A path that ends with a slash is a
/// directory.
type OwnFile = (u32, &'static str, String);

const HOST_NAME: &str = "debian";

/// Writes the medium for `system`.
pub(super) fn write(
    system: &System,
    out: impl Write,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Follower> {
    let failed = |source| Error::Io { path: "the medium to install from".into(), source };
    let mut tar = tar::Builder::new(BufWriter::new(out));
    append(&mut tar, "install.sh", SCRIPT.as_bytes()).map_err(failed)?;
    let base: BTreeSet<&str> = system.noted(BASE).into_iter().collect();
    let all: Vec<&str> = system.packages().collect();
    let rest: Vec<&str> = all.iter().copied().filter(|name| !base.contains(name)).collect();
    let base: Vec<&str> = base.into_iter().collect();
    for (list, names) in [("formatter", &system.noted(FORMATTER)), ("base", &base), ("rest", &rest)] {
        let lines: String = names.iter().map(|name| package_file(name) + "\n").collect();
        append(&mut tar, list, lines.as_bytes()).map_err(failed)?;
    }
    let mut list = String::new();
    for (mode, path, content) in own_files(system, settings) {
        list += &format!("{mode:o} {path}\n");
        if !path.ends_with('/') {
            append(&mut tar, &format!("files/{path}"), content.as_bytes()).map_err(failed)?;
        }
    }
    append(&mut tar, "files.list", list.as_bytes()).map_err(failed)?;

    // What is unpacked here, on all of the host's processors, need not be in the guest.
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut done = 0;
    for_each(
        &all,
        threads,
        |name, outbox| {
            let path = system.entry.path(&package_file(name));
            let file = File::open(&path).map_err(Error::io(&path))?;
            outbox.send((*name, deb::unpacked(BufReader::new(file), &format!("package {name}"))?));
            Ok(())
        },
        |(name, package)| {
            append(&mut tar, &package_file(name), &package).map_err(failed)?;
            done += 1;
            progress.step("Unpacking", done, all.len() as u64);
            Ok(())
        },
    )?;
    progress.finished();

    let path = system.entry.path(MODULES);
    let modules = File::open(&path).map_err(Error::io(&path))?;
    append_archive(&mut tar, modules).map_err(failed)?;
    let finish = || tar.into_inner()?.flush();
    finish().map_err(failed)?;
    Ok(Follower::new(all.len() as u64))
}

/// Adds a file to a tar archive.
pub(super) fn append(tar: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content)
}

/// Adds all files of another archive, one of ours.
fn append_archive(tar: &mut tar::Builder<impl Write>, other: File) -> io::Result<()> {
    let mut other = tar::Archive::new(BufReader::new(other));
    for entry in other.entries()? {
        let mut entry = entry?;
        let (mut header, path) = (entry.header().clone(), entry.path()?.into_owned());
        tar.append_data(&mut header, path, &mut entry)?;
    }
    Ok(())
}

/// The files that make a system out of the packages.
fn own_files(system: &System, settings: &Settings) -> Vec<OwnFile> {
    let keys: String = settings.authorized_keys.iter().map(|key| format!("{key}\n")).collect();
    let hosts = format!(
        "127.0.0.1 localhost\n127.0.1.1 {HOST_NAME}\n::1 localhost ip6-localhost ip6-loopback\n\
         ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    );
    vec![
        (0o644, "etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 1\n".into()),
        (0o644, "etc/hostname", format!("{HOST_NAME}\n")),
        (0o644, "etc/hosts", hosts),
        (0o644, "etc/locale.conf", "LANG=C.UTF-8\n".into()),
        (
            0o644,
            "etc/systemd/network/80-ethernet.network",
            "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n".into(),
        ),
        (0o644, "etc/apt/sources.list.d/debian.sources", apt_sources(system)),
        // A host that is busy makes a slow machine: that is no reason to give up the console, or a service.
        (
            0o644,
            "etc/systemd/system.conf.d/patience.conf",
            "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n".into(),
        ),
        // Nobody reaches this machine by vsock, which the generator complains of on the console; an empty file
        // replaces it (systemd.generator(7)).
        (0o644, "etc/systemd/system-generators/systemd-ssh-generator", String::new()),
        (0o700, "root/.ssh/", String::new()),
        (0o600, "root/.ssh/authorized_keys", keys),
    ]
}

/// Where the installed system's apt finds packages: the mirror that this system came from.
fn apt_sources(system: &System) -> String {
    let suite = system.suite;
    let mirror = http::seen_from_guest(system.entry.fact(MIRROR).unwrap_or_default());
    let source = |uri: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp\n"
        )
    };
    let security = source("http://security.debian.org/debian-security", &format!("{suite}-security"));
    format!("{}\n{security}", source(&mirror, &format!("{suite} {suite}-updates")))
}
