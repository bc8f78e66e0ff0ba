//! Systems for disks: from a mirror to the medium that they are installed from, and what is kept beside the disk.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use images::system::{KeyPair, Place, Settings, System};
use images::{Arch, Error, Options, Result, Store};
use support::packages::deb;
use support::{KERNEL, Mirror, kernel_package};

/// The packages that the image asks for by name, but `e2fsprogs`, which depends on one.
const NAMED: &[&str] = &[
    "apt",
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "login",
    "netbase",
    "openssh-server",
    "procps",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
];

fn mirror() -> Mirror {
    let mirror = Mirror::start();
    fill(&mirror, "Depends: libc6\n");
    mirror
}

/// Puts a whole system in, where `e2fsprogs` has these fields.
fn fill(mirror: &Mirror, e2fsprogs: &str) {
    let package = |name: &str| deb(&[(&*format!("./usr/share/{name}"), name.as_bytes())]);
    let mut packages = vec![
        ("base-files", "Essential: yes\nPre-Depends: awk\n", package("base-files")),
        ("base-passwd", "Essential: yes\nDepends: libc6\n", package("base-passwd")),
        ("gawk", "Provides: awk\n", package("gawk")),
        ("mawk", "Provides: awk\nPriority: required\n", package("mawk")),
        ("libc6", "", package("libc6")),
        ("tzdata", "Priority: required\n", package("tzdata")),
        ("unwanted", "Depends: tzdata\n", package("unwanted")),
        ("e2fsprogs", e2fsprogs, package("e2fsprogs")),
    ];
    packages.extend(NAMED.iter().map(|name| (*name, "", package(name))));
    mirror.fill_with("riscv64", &kernel_package("riscv64", &[]), &packages);
}

fn system(store: &Store) -> Result<System> {
    store.system("debian", Arch::Riscv64, &mut ())
}

/// The files on the medium, by their paths.
fn medium(system: &System, settings: &Settings) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = Vec::new();
    system.write_medium(&mut bytes, settings, &mut ()).unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        assert!(files.insert(path.clone(), content).is_none(), "{path} is there twice");
    }
    files
}

#[test]
fn a_medium_has_all_that_an_installation_needs() {
    let mirror = mirror();
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let system = system(&mirror.store(&cache)).unwrap();
    let settings = Settings { authorized_keys: vec!["ssh-rsa A a".into(), "ssh-rsa B b".into()] };
    let files = medium(&system, &settings);
    let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
    let list = |path: &str| text(path).lines().map(str::to_owned).collect::<Vec<_>>();

    assert_eq!(list("formatter"), ["packages/e2fsprogs.deb", "packages/libc6.deb"]);
    let base = ["base-files", "base-passwd", "libc6", "mawk"].map(|name| format!("packages/{name}.deb"));
    assert_eq!(list("base"), base);
    let mut rest: Vec<String> = NAMED.iter().map(|name| format!("packages/{name}.deb")).collect();
    rest.extend(["packages/e2fsprogs.deb".into(), "packages/tzdata.deb".into()]);
    rest.sort();
    assert_eq!(list("rest"), rest);
    let packages: Vec<&String> = files.keys().filter(|path| path.starts_with("packages/")).collect();
    assert_eq!(packages.len(), base.len() + rest.len());
    for path in packages {
        assert!(files[path].windows(9).any(|window| window == b"data.tar "), "{path} is compressed");
    }

    let modules: Vec<&str> = files.keys().filter_map(|path| path.strip_prefix("modules/")).collect();
    assert!(modules.contains(&"6.12.9-riscv64/kernel/fs/ext4.ko.xz"), "{modules:?}");
    assert!(modules.contains(&"6.12.9-riscv64/modules.builtin"), "{modules:?}");
    assert!(!modules.iter().any(|path| path.contains("sound")), "{modules:?}");

    // Whatever is listed is there, with the rights that it needs.
    let own = list("files.list");
    assert!(own.contains(&"600 root/.ssh/authorized_keys".to_owned()), "{own:?}");
    for line in &own {
        let (_, path) = line.split_once(' ').unwrap();
        assert!(path.ends_with('/') || files.contains_key(&format!("files/{path}")), "{line}");
    }
    assert_eq!(text("files/root/.ssh/authorized_keys"), "ssh-rsa A a\nssh-rsa B b\n");
    let sources = text("files/etc/apt/sources.list.d/debian.sources");
    let there = mirror.url.replace("127.0.0.1", "10.0.2.2");
    assert!(sources.contains(&format!("URIs: {there}\nSuites: trixie trixie-updates\n")), "{sources}");
    assert!(text("install.sh").starts_with("#!/bin/busybox sh\n"));

    // Nothing is fetched twice.
    let (offline, keyring) = (Some("http://127.0.0.1:1".to_owned()), Some("/nonexistent".into()));
    let offline = Store::open(Options { mirror: offline, keyring, cache: Some(cache) }).unwrap();
    let again = self::system(&offline).unwrap();
    assert_eq!(medium(&again, &settings), files);
}

#[test]
fn a_package_that_comes_back_is_not_fetched_again() {
    let mirror = mirror();
    let dir = tempfile::tempdir().unwrap();
    let store = mirror.store(&dir.path().join("cache"));
    let missing = "pool/udev_1.deb";
    let udev = mirror.take(missing);
    let error = system(&store).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    mirror.put(missing, udev);
    let before = mirror.requests();
    system(&store).unwrap();
    let after = mirror.requests();
    let packages = |requests: &[String]| {
        requests.iter().filter(|path| path.starts_with("pool/")).cloned().collect::<Vec<_>>()
    };
    let (before, after) = (packages(&before), packages(&after));
    assert!(after.contains(&missing.to_owned()));
    assert!(after.iter().all(|path| path == missing || !before.contains(path)), "{before:?}, then {after:?}");
}

#[test]
fn damaged_and_missing_packages_are_refused() {
    let mirror = mirror();
    let dir = tempfile::tempdir().unwrap();
    let store = mirror.store(&dir.path().join("cache"));
    let good = mirror.take("pool/login_1.deb");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    mirror.put("pool/login_1.deb", bad);
    assert!(matches!(system(&store).unwrap_err(), Error::Mismatch { .. }));
    mirror.put("pool/login_1.deb", good);
    fill(&mirror, "Depends: libext2fs\n");
    let error = system(&store).unwrap_err().to_string();
    assert!(error.contains("e2fsprogs depends on libext2fs"), "{error}");
}

/// What an installation leaves, without the installation.
fn install(system: &System, disk: &Path, content: &str, replaces: bool) -> Result<()> {
    let begun = Place::beside(disk).begin(|| true)?.expect("to be wanted");
    fs::write(begun.medium(), "medium").unwrap();
    fs::write(begun.disk(), content).unwrap();
    begun.finish(system, "abcd", &KeyPair::generate()?, || replaces)
}

#[test]
fn what_boots_a_disk_is_kept_beside_it() {
    let mirror = mirror();
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let system = system(&mirror.store(&cache)).unwrap();
    let disk = dir.path().join("d.qcow2");
    install(&system, &disk, "the disk", false).unwrap();
    fs::remove_dir_all(&cache).unwrap();

    let place = Place::beside(&disk);
    let installed = place.installed().unwrap().unwrap();
    assert_eq!(fs::read(&disk).unwrap(), b"the disk");
    assert_eq!(fs::read(&installed.boot.kernel).unwrap(), KERNEL);
    assert_eq!(installed.boot.kernel_release, "6.12.9-riscv64");
    assert_eq!(installed.file_system, "abcd");
    assert!(installed.is("debian", Arch::Riscv64) && !installed.is("debian", Arch::Arm64));
    assert!(fs::read_to_string(&installed.key).unwrap().contains("OPENSSH PRIVATE KEY"));
    assert_eq!(fs::metadata(&installed.key).unwrap().permissions().mode() & 0o777, 0o600);
    let mut left: Vec<_> = fs::read_dir(place.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["id_ed25519", "id_ed25519.pub", "initrd", "kernel", "lock", "manifest"]);

    fs::write(&installed.boot.kernel, "another").unwrap();
    let error = place.installed().unwrap_err().to_string();
    assert!(error.contains("kernel has changed"), "{error}");
}

#[test]
fn a_file_that_is_in_the_way_is_kept() {
    let mirror = mirror();
    let dir = tempfile::tempdir().unwrap();
    let system = system(&mirror.store(&dir.path().join("cache"))).unwrap();
    let disk = dir.path().join("d.qcow2");
    fs::write(&disk, "data").unwrap();
    let error = install(&system, &disk, "the disk", false).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(fs::read(&disk).unwrap(), b"data");
    install(&system, &disk, "the disk", true).unwrap();
    assert_eq!(fs::read(&disk).unwrap(), b"the disk");
}
