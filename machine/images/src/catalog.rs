//! The images that can be named, and how each is made.

use crate::cache::{Builder, Entry};
use crate::debian::Suite;
use crate::debian::deb::File;
use crate::debian::packages::Packages;
use crate::hash::Sha256Hex;
use crate::initramfs::modules::ModuleTree;
use crate::initramfs::{self, Contents};
use crate::{Arch, BootFiles, Error, Progress, Result};

/// An image that can be fetched by its name.
#[derive(Debug)]
pub struct Image {
    /// What `ferry run` takes.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// The architectures there are.
    pub arches: &'static [Arch],
    pub(crate) recipe: Recipe,
}

/// All images.
pub static IMAGES: &[Image] = &[Image {
    name: "debian",
    description: "Debian 13 (trixie): a shell in memory, or with --disk a system that is installed on first use",
    arches: &[Arch::Riscv64, Arch::Arm64],
    recipe: Recipe {
        suite: "trixie",
        system: "Debian 13 (trixie)",
        kernel_prefix: "linux-image-",
        busybox: "busybox-static",
        load: &["virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "virtio_console"],
        on_demand: &["ext4", "crc32c_generic"],
        installation: Installation {
            packages: &[
                "apt",
                "ca-certificates",
                "dbus",
                "e2fsprogs",
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
            ],
            formatter: "e2fsprogs",
            without_modules: &[
                "drivers/bluetooth",
                "drivers/gpu/drm/amd",
                "drivers/gpu/drm/nouveau",
                "drivers/gpu/drm/radeon",
                "drivers/gpu/drm/xe",
                "drivers/hwmon",
                "drivers/iio",
                "drivers/infiniband",
                "drivers/leds",
                "drivers/media",
                "drivers/memstick",
                "drivers/mmc",
                "drivers/net/can",
                "drivers/net/ethernet",
                "drivers/net/wireless",
                "drivers/net/wwan",
                "drivers/nfc",
                "drivers/soundwire",
                "drivers/staging",
                "drivers/ufs",
                "drivers/w1",
                "net/bluetooth",
                "net/mac80211",
                "net/wireless",
                "sound",
            ],
        },
    },
}];

/// The image of this name.
pub fn find(name: &str) -> Result<&'static Image> {
    IMAGES.iter().find(|image| image.name == name).ok_or_else(|| Error::UnknownImage {
        name: name.to_owned(),
        known: IMAGES.iter().map(|image| image.name).collect::<Vec<_>>().join(", "),
    })
}

/// The image of this name, if there is one for this architecture.
pub(crate) fn find_for(name: &str, arch: Arch) -> Result<&'static Image> {
    let image = find(name)?;
    if image.arches.contains(&arch) {
        return Ok(image);
    }
    let made_for: Vec<_> = image.arches.iter().map(|arch| arch.debian_name()).collect();
    let (arch, made_for) = (arch.debian_name(), made_for.join(", "));
    Err(Error::WrongArch { image: image.name, arch, made_for })
}

/// A kernel and a busybox userland out of a Debian suite.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The suite, and its name for people.
    pub suite: &'static str,
    system: &'static str,
    /// The kernel's metapackage is this and Debian's name of the architecture; it depends on a package with
    /// the same beginning that has the kernel.
    kernel_prefix: &'static str,
    /// The package with a statically linked `busybox`.
    busybox: &'static str,
    /// Modules loaded at once, and those there for when the kernel asks. Built-in ones may be among them.
    load: &'static [&'static str],
    on_demand: &'static [&'static str],
    /// What is installed on a disk.
    pub installation: Installation,
}

/// What is installed on a disk, with the kernel of the same recipe.
#[derive(Debug)]
pub(crate) struct Installation {
    /// The packages, besides all that are essential or of priority `required`, and what they depend on.
    pub packages: &'static [&'static str],
    /// The package with the program that makes the file system.
    pub formatter: &'static str,
    /// Directories of the kernel's modules for hardware that no virtual machine has; they are left out, for
    /// they are the greater part of all that would be installed.
    pub without_modules: &'static [&'static str],
}

/// Names of an entry's files and facts.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const INITRD: &str = "initrd";
pub(crate) const KERNEL_RELEASE: &str = "Kernel-Release";

impl Recipe {
    /// Changes whenever the same packages would give other files.
    pub fn revision(&self) -> String {
        let parts = format!("{} {self:?} {:?}", env!("CARGO_PKG_VERSION"), initramfs::SCRIPTS);
        Sha256Hex::of(parts.as_bytes()).to_string()
    }

    /// Fetches the packages, and writes the kernel and the initramfs.
    pub fn build(
        &self,
        suite: &Suite,
        arch: Arch,
        builder: &mut Builder,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let packages = suite.packages(arch, builder, progress, |name| {
            name.starts_with(self.kernel_prefix) || name == self.busybox
        })?;
        self.build_boot(suite, arch, &packages, builder, progress)?;
        Ok(())
    }

    /// As [`Recipe::build`], out of an index; the kernel's modules, and its release.
    pub fn build_boot(
        &self,
        suite: &Suite,
        arch: Arch,
        packages: &Packages,
        builder: &mut Builder,
        progress: &mut dyn Progress,
    ) -> Result<(ModuleTree, String)> {
        let metapackage = format!("{}{}", self.kernel_prefix, arch.debian_name());
        let newest = |name: &str| packages.newest(name).ok_or_else(|| suite.missing(name, arch));
        let busybox = newest(self.busybox)?;
        let meta = newest(&metapackage)?;
        let kernel = packages.dependency(meta, self.kernel_prefix).ok_or_else(|| {
            Error::Missing(format!(
                "package {metapackage} depends on no kernel that suite {} has",
                self.suite
            ))
        })?;
        for package in [busybox, kernel] {
            builder.note("Package", &format!("{} {}", package.name, package.version));
        }

        let is_busybox = |path: &str| matches!(path, "usr/bin/busybox" | "bin/busybox");
        let busybox_files = suite.package_files(busybox, builder, progress, is_busybox)?;
        let busybox = busybox_files
            .first()
            .ok_or_else(|| Error::Missing(format!("package {} has no bin/busybox", self.busybox)))?;
        let kernel_files = suite.package_files(kernel, builder, progress, |path| {
            kernel_release(path).is_some() || module_path(path).is_some()
        })?;
        let (release, image, tree) = sort_kernel_files(kernel_files, &kernel.name)?;
        let names: Vec<&str> = self.load.iter().chain(self.on_demand).copied().collect();
        let modules = tree.choose(&names, &format!("package {}", kernel.name))?;
        let initrd = initramfs::build(&Contents {
            system: self.system,
            kernel_release: &release,
            busybox: &busybox.content,
            modules: &modules,
            load: self.load,
        })
        .map_err(|e| Error::malformed("initramfs", e.to_string()))?;
        builder.note(KERNEL_RELEASE, &release);
        builder.add_file(KERNEL, false, &image)?;
        builder.add_file(INITRD, false, &initrd)?;
        Ok((tree, release))
    }
}

/// The files of an entry that [`Recipe::build`] made.
pub(crate) fn boot_files(entry: &Entry) -> BootFiles {
    BootFiles {
        kernel: entry.path(KERNEL),
        initrd: entry.path(INITRD),
        kernel_release: entry.fact(KERNEL_RELEASE).unwrap_or_default().to_owned(),
    }
}

/// The release of the kernel that this file is, by its path.
fn kernel_release(path: &str) -> Option<&str> {
    let name = path.strip_prefix("boot/")?;
    let release = name.strip_prefix("vmlinuz-").or_else(|| name.strip_prefix("vmlinux-"))?;
    (!release.is_empty() && !release.contains('/')).then_some(release)
}

/// A path below `lib/modules`, as the release and the rest, if it is a module or a list of them.
fn module_path(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let (release, path) = path.strip_prefix("lib/modules/")?.split_once('/')?;
    let is_list = path.starts_with("modules.") && !path.contains('/');
    let is_wanted = is_list || path.ends_with(".ko.xz") || path.ends_with(".ko");
    is_wanted.then_some((release, path))
}

/// Gives the release, the kernel and the modules among a kernel package's files.
fn sort_kernel_files(files: Vec<File>, package: &str) -> Result<(String, Vec<u8>, ModuleTree)> {
    let mut kernel = None;
    let mut tree = ModuleTree::default();
    for file in files {
        if let Some(release) = kernel_release(&file.path) {
            if kernel.is_some() {
                return Err(Error::malformed(format!("package {package}"), "it has more than one kernel"));
            }
            kernel = Some((release.to_owned(), file.content));
        } else if let Some((_, path)) = module_path(&file.path) {
            tree.add(path, file.content);
        }
    }
    let (release, image) =
        kernel.ok_or_else(|| Error::Missing(format!("package {package} has no boot/vmlinu[xz]-* file")))?;
    Ok((release, image, tree))
}
