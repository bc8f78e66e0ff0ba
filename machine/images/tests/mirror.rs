//! The whole way from a mirror to boot files, with a mirror that behaves and with ones that do not.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use images::{Arch, BootFiles, Error, Options, Progress, Result, Store};
use support::keys::{CREATED, Shape, TestKey};
use support::packages::{ar, deb, tar_of, xz};
use support::{
    Answer, BUSYBOX, BUSYBOX_DEB, KERNEL, KERNEL_DEB, Mirror, PACKAGES_DIR, TOOLS_DEB, gunzip, kernel_package,
};

fn cache() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    (dir, path)
}

fn image(store: &Store) -> Result<BootFiles> {
    store.image("debian", Arch::Riscv64, &mut ())
}

/// The error of fetching the image from this mirror; checks that the cache has nothing but leftovers then.
fn refused(mirror: &Mirror) -> Error {
    let (_dir, cache) = cache();
    let error = image(&mirror.store(&cache)).unwrap_err();
    assert!(!cache.join("debian-riscv64").exists());
    error
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[derive(Default)]
struct Record(Vec<String>);

impl Progress for Record {
    fn message(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn started(&mut self, what: &str, total: Option<u64>) {
        self.0.push(format!("{what} {}", total.unwrap()));
    }

    fn advanced(&mut self, bytes: u64) {
        self.0.push(format!("+{bytes}"));
    }

    fn finished(&mut self) {
        self.0.push("done".to_owned());
    }
}

#[test]
fn an_image_is_made_and_the_second_use_needs_no_network() {
    let mirror = Mirror::start();
    let (_dir, cache) = cache();
    let mut progress = Record::default();
    let files = mirror.store(&cache).image("debian", Arch::Riscv64, &mut progress).unwrap();
    assert_eq!(files.kernel_release, "6.12.9-riscv64");
    assert_eq!(fs::read(&files.kernel).unwrap(), KERNEL);
    let initrd = fs::read(&files.initrd).unwrap();
    let archive = gunzip(&initrd);
    for part in [
        BUSYBOX,
        b"virtio_blk\nvirtio_net\nvirtio_rng\n",
        b"lib/modules/6.12.9-riscv64/kernel/drivers/net/failover.ko\0",
        b"kernel/drivers/net/virtio_net.ko: kernel/drivers/net/failover.ko\n",
        b"alias test:fs/ext4 ext4\n",
    ] {
        assert!(contains(&archive, part), "{}", String::from_utf8_lossy(part));
    }
    assert!(!contains(&archive, b"unwanted"));
    assert_eq!(
        mirror.requests(),
        ["dists/trixie/InRelease", &mirror.find(&format!("{PACKAGES_DIR}/by-hash")), BUSYBOX_DEB, KERNEL_DEB]
    );
    let done = progress.0.iter().filter(|step| *step == "done").count();
    assert_eq!(done, 4, "{:?}", progress.0);
    assert!(progress.0.contains(&"unpacking busybox-static 1.37".to_owned()), "{:?}", progress.0);

    let (mirror_url, keyring) = (Some("http://127.0.0.1:1".to_owned()), Some("/nonexistent".into()));
    let offline = Store::open(Options { mirror: mirror_url, keyring, cache: Some(cache.clone()) }).unwrap();
    assert_eq!(image(&offline).unwrap(), files);

    // A changed file is noticed, and the image is made again, the same byte for byte.
    fs::write(&files.initrd, "changed").unwrap();
    assert!(matches!(image(&offline), Err(Error::Keyring { .. } | Error::Io { .. })));
    assert_eq!(image(&mirror.store(&cache)).unwrap(), files);
    assert_eq!(fs::read(&files.initrd).unwrap(), initrd);
}

#[test]
fn other_architectures_differ_by_data_only() {
    let mirror = Mirror::start();
    mirror.fill_for("arm64", &kernel_package("arm64", &[]));
    let (_dir, cache) = cache();
    let store = mirror.store(&cache);
    let files = store.image("debian", Arch::Arm64, &mut ()).unwrap();
    assert_eq!(files.kernel_release, "6.12.9-arm64");
    assert_eq!(fs::read(&files.kernel).unwrap(), KERNEL);
    assert!(contains(&gunzip(&fs::read(&files.initrd).unwrap()), b"6.12.9-arm64/kernel/fs/ext4.ko\0"));
    let error = store.image("debian", Arch::Amd64, &mut ()).unwrap_err();
    assert!(error.to_string().contains("riscv64, arm64"), "{error}");
    let error = store.image("debain", Arch::Arm64, &mut ()).unwrap_err();
    assert!(error.to_string().contains("the images are debian"), "{error}");
}

#[test]
fn without_by_hash_files_the_plain_index_is_used() {
    let mirror = Mirror::start();
    let index = mirror.take(&mirror.find(&format!("{PACKAGES_DIR}/by-hash")));
    mirror.put(&format!("{PACKAGES_DIR}/Packages.xz"), index);
    let (_dir, cache) = cache();
    image(&mirror.store(&cache)).unwrap();
}

#[test]
fn files_of_packages_are_kept() {
    let mirror = Mirror::start();
    let (_dir, cache) = cache();
    let store = mirror.store(&cache);
    let fetch = |store: &Store, patterns: &[&str]| {
        store.package_files(Arch::Riscv64, "trixie", "tools", patterns, &mut ())
    };
    let files = fetch(&store, &["usr/bin/*"]).unwrap();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["tool-a", "tool-b"]);
    assert_eq!(fs::read(&files[1]).unwrap(), b"B");
    mirror.requests();
    assert_eq!(fetch(&store, &["usr/bin/*"]).unwrap(), files);
    assert!(mirror.requests().is_empty());
    let one = store.package_file(Arch::Riscv64, "trixie", "tools", "usr/share/doc", &mut ()).unwrap();
    assert_eq!(fs::read(one).unwrap(), b"doc");

    let error = fetch(&store, &["usr/bin/*", "usr/lib/*"]).unwrap_err();
    assert!(error.to_string().contains("has no file `usr/lib/*`"), "{error}");
    let error = store.package_file(Arch::Riscv64, "trixie", "tool", "x", &mut ()).unwrap_err();
    assert!(error.to_string().contains("has no package tool for riscv64"), "{error}");
    let error = store.package_file(Arch::Arm64, "trixie", "tools", "x", &mut ()).unwrap_err();
    assert!(error.to_string().contains("has no main/binary-arm64"), "{error}");
    for name in ["../x", "", ".", "a/b", "A"] {
        assert!(store.package_file(Arch::Riscv64, "trixie", name, "x", &mut ()).is_err(), "{name}");
    }
    assert!(mirror.requests().iter().all(|path| !path.contains("..")));
}

#[test]
fn a_changed_package_is_refused_and_the_next_try_goes_on() {
    let mirror = Mirror::start();
    let good = mirror.take(KERNEL_DEB);
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    mirror.put(KERNEL_DEB, bad);
    let (_dir, cache) = cache();
    let store = mirror.store(&cache);
    let error = image(&store).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert!(!cache.join("debian-riscv64").exists());

    mirror.put(KERNEL_DEB, good);
    mirror.requests();
    image(&store).unwrap();
    assert_eq!(
        mirror.requests(),
        ["dists/trixie/InRelease", KERNEL_DEB],
        "the good files are not fetched twice"
    );
}

#[test]
fn files_of_another_size_are_refused() {
    let mirror = Mirror::start();
    let good = mirror.take(BUSYBOX_DEB);
    mirror.put(BUSYBOX_DEB, [&good[..], b"more"].concat());
    assert!(matches!(refused(&mirror), Error::TooLarge { .. }));

    mirror.put(BUSYBOX_DEB, &good[..good.len() - 1]);
    let error = refused(&mirror);
    assert!(error.to_string().contains("it ended after"), "{error}");

    mirror.answer(BUSYBOX_DEB, Answer::Half(good));
    mirror.requests();
    assert!(matches!(refused(&mirror), Error::Fetch { .. }));
    let tries = mirror.requests().iter().filter(|path| *path == BUSYBOX_DEB).count();
    assert_eq!(tries, 3);
}

#[test]
fn a_server_in_trouble_is_asked_again_but_a_missing_file_is_not() {
    let mirror = Mirror::start();
    let good = mirror.take(BUSYBOX_DEB);
    mirror.answer(BUSYBOX_DEB, Answer::Status(503, 1, Box::new(Answer::Content(good))));
    let (_dir, cache) = cache();
    image(&mirror.store(&cache)).unwrap();

    mirror.take(KERNEL_DEB);
    mirror.requests();
    let error = refused(&mirror);
    assert!(matches!(error, Error::NotFound { status: 404, .. }), "{error}");
    assert_eq!(mirror.requests().iter().filter(|path| *path == KERNEL_DEB).count(), 1);
}

#[test]
fn a_mirror_that_cannot_be_reached_or_used_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_dir, cache) = cache();
    let error = |mirror: &str| {
        let options = Options { mirror: Some(mirror.to_owned()), keyring: None, cache: Some(cache.clone()) };
        image(&Store::open(options).unwrap()).unwrap_err()
    };
    let unreachable = error(&format!("http://{closed}/debian")).to_string();
    assert!(unreachable.contains(&closed.to_string()) && unreachable.contains("--mirror"), "{unreachable}");
    for bad in ["ftp://mirror.example/debian", "mirror.example", ""] {
        assert!(matches!(error(bad), Error::BadMirror { .. }), "{bad}");
    }
}

#[test]
fn a_changed_index_is_refused() {
    let mirror = Mirror::start();
    let path = mirror.find(&format!("{PACKAGES_DIR}/by-hash"));
    let mut index = mirror.take(&path);
    let last = index.len() - 1;
    index[last] ^= 1;
    mirror.put(&path, index);
    assert!(matches!(refused(&mirror), Error::Mismatch { .. }));
}

#[test]
fn an_index_without_a_trusted_signature_is_refused() {
    let mirror = Mirror::start();
    let signed = String::from_utf8(mirror.take("dists/trixie/InRelease")).unwrap();
    mirror.put("dists/trixie/InRelease", signed.replace("Suite: stable", "Suite: Stable"));
    assert!(matches!(refused(&mirror), Error::Signature { .. }));
    mirror.put("dists/trixie/InRelease", "Suite: stable\nCodename: trixie\n");
    assert!(matches!(refused(&mirror), Error::Malformed { .. }));
    let other = TestKey::new(2, &Shape::default());
    mirror.put("dists/trixie/InRelease", other.sign("Codename: trixie", CREATED + 1));
    assert!(matches!(refused(&mirror), Error::Signature { .. }));

    // The key is not Debian's, so the keys that are trusted by default must refuse it.
    mirror.put("dists/trixie/InRelease", signed);
    let (_dir, cache) = cache();
    let options = Options { mirror: Some(mirror.url.clone()), keyring: None, cache: Some(cache) };
    assert!(matches!(image(&Store::open(options).unwrap()), Err(Error::Signature { .. })));
}

#[test]
fn an_index_of_another_suite_or_without_the_architecture_is_refused() {
    let mirror = Mirror::start();
    let date = "Date: Wed, 15 Nov 2023 00:00:00 UTC";
    mirror.put_release(&format!("Suite: oldstable\nCodename: bookworm\n{date}\nSHA256:\n"));
    assert!(refused(&mirror).to_string().contains("not of `trixie`"));
    let expired = "Valid-Until: Thu, 16 Nov 2023 00:00:00 UTC";
    mirror.put_release(&format!("Codename: trixie\n{date}\n{expired}\nSHA256:\n"));
    assert!(refused(&mirror).to_string().contains("valid until"));
    mirror.put_release(&format!("Codename: trixie\n{date}\nSHA256:\n"));
    assert!(refused(&mirror).to_string().contains("has no main/binary-riscv64/Packages.xz"));
    let huge = format!("{} {}", "00".repeat(32), u64::MAX);
    mirror
        .put_release(&format!("Codename: trixie\n{date}\nSHA256:\n {huge} main/binary-riscv64/Packages.xz"));
    assert!(matches!(refused(&mirror), Error::TooLarge { .. }));
    mirror.put_index("riscv64", "Package: tools\nVersion: 1\n");
    assert!(refused(&mirror).to_string().contains("has no package busybox-static"));
    mirror.put_index("riscv64", "not an index");
    assert!(matches!(refused(&mirror), Error::Malformed { .. }));
}

#[test]
fn kernel_packages_without_what_is_needed_are_refused() {
    let mirror = Mirror::start();
    let boot: &[(&str, &[u8])] = &[("./boot/vmlinux-6.12.9-riscv64", KERNEL)];
    let reason = |kernel: &[u8]| {
        mirror.fill_for("riscv64", kernel);
        refused(&mirror).to_string()
    };
    assert!(reason(&deb(&[])).contains("has no boot/vmlinu"));
    assert!(reason(&deb(boot)).contains("has no kernel module virtio_mmio"));
    let second: &[(&str, &[u8])] = &[("./boot/vmlinuz-other", b"x")];
    assert!(reason(&kernel_package("riscv64", second)).contains("more than one kernel"));
    assert!(reason(b"not a package").contains("not an ar archive"));
}

#[test]
fn a_package_cannot_write_outside_its_place() {
    let mirror = Mirror::start();
    let (dir, cache) = cache();
    // The path `../../../escaped` where the maker of the archive would not let it be put in.
    let mut tar = tar_of(&[("aa/aa/aa/escaped", b"x")]);
    let mut header: [u8; 512] = tar[..512].try_into().unwrap();
    for byte in header[..9].iter_mut().filter(|byte| **byte == b'a') {
        *byte = b'.';
    }
    let sum: u32 = header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar[..512].copy_from_slice(&header);
    let evil = ar(&[("debian-binary", b"2.0\n"), ("data.tar.xz", &xz(&tar))]);
    let index = format!(
        "Package: tools\nVersion: 1.0\nFilename: {TOOLS_DEB}\nSize: {}\nSHA256: {}\n",
        evil.len(),
        support::sha256(&evil)
    );
    mirror.put(TOOLS_DEB, evil);
    mirror.put_index("riscv64", &index);
    let result = mirror.store(&cache).package_files(Arch::Riscv64, "trixie", "tools", &["*/*/*/*"], &mut ());
    let error = result.unwrap_err().to_string();
    assert!(error.contains("leads out of the tree"), "{error}");
    assert_eq!(find(dir.path(), "escaped"), None);
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == name {
            return Some(path);
        }
        path.is_dir().then(|| find(&path, name)).flatten()
    })
}
