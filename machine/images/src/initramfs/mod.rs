//! Builds the first root file system of a Linux guest: busybox, kernel modules, and an `/init` of ours that
//! brings the machine up and gives a shell. What `/init` does is said at its top, in `init.sh`.

pub mod cpio;
pub mod modules;

use std::io::{self, Write};

use cpio::CpioWriter;
use flate2::{Compression, GzBuilder};
use modules::{Module, index_files};

/// The scripts that go in, with their paths and modes.
pub const SCRIPTS: &[(&str, u32, &str)] = &[
    ("init", 0o755, include_str!("init.sh")),
    ("etc/profile", 0o644, include_str!("profile.sh")),
    ("etc/run.sh", 0o755, include_str!("run.sh")),
    ("etc/udhcpc.sh", 0o755, include_str!("udhcpc.sh")),
];

const DIRECTORIES: &[&str] = &[
    "bin", "dev", "etc", "lib", "mnt", "newroot", "proc", "root", "run", "sbin", "sys", "tmp", "usr",
    "usr/bin", "usr/sbin", "var",
];

/// What differs between initramfs files.
#[derive(Debug)]
pub struct Contents<'a> {
    /// Named in the banner, as `Debian 13 (trixie)`.
    pub system: &'a str,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: &'a str,
    /// The statically linked busybox.
    pub busybox: &'a [u8],
    /// The modules to have, each after its dependencies.
    pub modules: &'a [Module],
    /// The modules that `/init` loads at once, by name; the others are loaded when the kernel asks for them.
    pub load: &'a [&'a str],
}

/// Writes the initramfs as a gzip-compressed cpio archive. Equal contents give equal bytes.
pub fn build(contents: &Contents<'_>) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let mut cpio = CpioWriter::new(gzip);
    for directory in DIRECTORIES {
        cpio.directory(directory, if *directory == "tmp" { 0o1777 } else { 0o755 })?;
    }
    // The kernel opens it before devtmpfs is there.
    cpio.char_device("dev/console", 0o600, (5, 1))?;
    for (path, mode, text) in SCRIPTS {
        cpio.file(path, *mode, text.as_bytes())?;
    }
    cpio.file("bin/busybox", 0o755, contents.busybox)?;
    cpio.symlink("bin/sh", "busybox")?;
    cpio.file("etc/system", 0o644, format!("{}\n", contents.system).as_bytes())?;
    cpio.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n")?;
    cpio.file("etc/group", 0o644, b"root:x:0:\n")?;
    cpio.file("etc/hosts", 0o644, b"127.0.0.1 localhost ferry\n::1 localhost\n")?;
    let load: String = contents
        .load
        .iter()
        .filter(|name| contents.modules.iter().any(|module| module.name == **name))
        .map(|name| format!("{name}\n"))
        .collect();
    cpio.file("etc/modules", 0o644, load.as_bytes())?;
    add_modules(&mut cpio, contents)?;
    cpio.finish()?.finish()
}

fn add_modules<W: Write>(cpio: &mut CpioWriter<W>, contents: &Contents<'_>) -> io::Result<()> {
    let root = format!("lib/modules/{}", contents.kernel_release);
    let paths: Vec<String> =
        contents.modules.iter().map(|module| format!("{root}/{}", module.path)).collect();
    let mut directories = vec!["lib/modules".to_owned(), root.clone()];
    for path in &paths {
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        directories.extend(parents.filter(|parent| parent.len() > root.len()).map(str::to_owned));
    }
    directories.sort();
    directories.dedup();
    for directory in &directories {
        cpio.directory(directory, 0o755)?;
    }
    for (module, path) in contents.modules.iter().zip(&paths) {
        cpio.file(path, 0o644, &module.content)?;
    }
    let (dep, alias) = index_files(contents.modules);
    cpio.file(&format!("{root}/modules.dep"), 0o644, dep.as_bytes())?;
    cpio.file(&format!("{root}/modules.alias"), 0o644, alias.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_archive_has_all_parts_and_parents_before_children() {
        let module = Module {
            name: "virtio_blk".into(),
            path: "kernel/drivers/block/virtio_blk.ko".into(),
            content: b"module".to_vec(),
            depends: vec![],
            aliases: vec!["virtio:d00000002v*".into()],
        };
        let contents = Contents {
            system: "test",
            kernel_release: "6.1-x",
            busybox: b"box",
            modules: &[module],
            load: &["virtio_mmio", "virtio_blk"],
        };
        let bytes = build(&contents).unwrap();
        assert_eq!(bytes, build(&contents).unwrap(), "must be deterministic");
        let mut archive = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut archive).unwrap();
        let entries = cpio::tests::read(&archive);
        let find =
            |path: &str| entries.iter().find(|entry| entry.0 == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(find("bin/busybox").3, b"box");
        assert_eq!(find("init").1, 0o100_755);
        assert_eq!(find("dev/console").2, (5, 1));
        assert_eq!(find("etc/modules").3, b"virtio_blk\n", "built-in modules are not loaded");
        assert_eq!(find("lib/modules/6.1-x/kernel/drivers/block/virtio_blk.ko").3, b"module");
        assert_eq!(find("lib/modules/6.1-x/modules.alias").3, b"alias virtio:d00000002v* virtio_blk\n");
        for (i, (path, ..)) in entries.iter().enumerate() {
            if let Some((parent, _)) = path.rsplit_once('/') {
                assert!(entries[..i].iter().any(|entry| entry.0 == parent), "{parent} comes before {path}");
            }
        }
    }
}
