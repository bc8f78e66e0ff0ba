//! Systems on disks: what `ferry run IMAGE --disk FILE` boots, and how it gets there on first use.
//!
//! What is installed, and how, is the business of [`images::system`]; here a machine is put together for it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use disk_formats::{CreateOptions, DiskOptions, Format};
use images::system::{Begun, Follower, Installed, KeyPair, Place, SUPERBLOCK, Settings, System};
use images::{Arch, BootFiles, Progress, Store};
use machine::{CharBackend, CharDevice, Console, Ended, Machine, MachineConfig};

use crate::args::DiskArg;
use crate::progress::Bars;

/// The size of a new disk. Of an image only what was written takes space.
const DEFAULT_SIZE: u64 = 16 << 30;
/// The smallest that a system fits on with something to spare.
const SMALLEST_SIZE: u64 = 1 << 30;
/// Memory that the installing machine has at least: the medium, which it holds there, and as much again.
const SMALLEST_MEMORY: u64 = 1 << 30;

/// An image on a disk.
pub struct OnDisk<'a> {
    /// Where images come from.
    pub store: &'a Store,
    /// The image's name.
    pub image: &'a str,
    /// Its architecture.
    pub arch: Arch,
    /// The disk.
    pub disk: &'a DiskArg,
    /// The board's serial console, as the kernel calls it.
    pub console: &'a str,
}

/// What is found at a disk's path.
enum Found {
    Installed(Installed),
    /// Nothing, or an image that nobody has written to.
    Free(CreateOptions),
}

impl OnDisk<'_> {
    /// What boots the system on the disk, after it was installed if it was not there. `board` gives a machine like
    /// the one that it will run on.
    pub fn boot_files(&self, board: impl FnOnce() -> MachineConfig) -> anyhow::Result<BootFiles> {
        if let Found::Free(_) = self.find()? {
            self.install(board())?;
        }
        match self.find()? {
            Found::Installed(installed) => Ok(installed.boot),
            Found::Free(_) => bail!("{} is gone again", self.disk.options.path.display()),
        }
    }

    /// Looks at the disk, without changing anything.
    fn find(&self) -> anyhow::Result<Found> {
        let DiskArg { options, size } = self.disk;
        let path = &options.path;
        if let Err(error) = path.metadata() {
            if error.kind() != ErrorKind::NotFound {
                return Err(anyhow!(error).context(format!("cannot look at disk {}", path.display())));
            }
            let format = options.format.unwrap_or(Format::Qcow2);
            return self.free(CreateOptions::new(format, size.unwrap_or(DEFAULT_SIZE)));
        }
        if let Some(installed) = self.installed()? {
            return Ok(Found::Installed(installed));
        }
        let (image, name) = (self.image, path.display());
        let Some(empty) = empty(options)? else {
            bail!(
                "{name} is not empty, and has no {image} that ferry has installed: give another file to install \
                 {image} on, or give {name} second to use it as a further disk"
            );
        };
        if let (Some(wanted), Some(found)) = (size, empty.size)
            && *wanted != found
        {
            bail!("{name} is there already, with {found} bytes instead of {wanted}: leave out size=");
        }
        self.free(empty)
    }

    /// A disk like this can be installed on.
    fn free(&self, new: CreateOptions) -> anyhow::Result<Found> {
        if new.size.is_some_and(|size| size < SMALLEST_SIZE) {
            let path = self.disk.options.path.display();
            bail!("{path} would be too small for {}: give at least size=1G", self.image);
        }
        Ok(Found::Free(new))
    }

    /// The system on the disk, which must be this one.
    fn installed(&self) -> anyhow::Result<Option<Installed>> {
        let found = installed(&self.disk.options)?;
        if let Some(Installed { image, arch, .. }) =
            found.as_ref().filter(|found| !found.is(self.image, self.arch))
        {
            let (path, asked) = (self.disk.options.path.display(), (self.image, self.arch.debian_name()));
            bail!("{path} has {image} for {arch}, not {} for {}", asked.0, asked.1);
        }
        Ok(found)
    }

    fn install(&self, board: MachineConfig) -> anyhow::Result<()> {
        let path = &self.disk.options.path;
        if self.disk.options.read_only || self.disk.options.snapshot {
            let (image, path) = (self.image, path.display());
            bail!("{path} must be written to, to install {image}: leave out readonly and snapshot this once");
        }
        // The image itself is replaced, not a link to it.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let mut bars = Bars::default();
        let system = self.store.system(self.image, self.arch, &mut bars)?;
        let mut wanted = None;
        let begun = Place::beside(&real).begin(|| match self.find() {
            Ok(Found::Free(options)) => {
                wanted = Some(options);
                true
            }
            _ => false,
        })?;
        let (Some(begun), Some(new)) = (begun, wanted) else { return Ok(()) };
        if begun.was_begun() {
            eprintln!(
                "ferry: an earlier installation on {} was not completed: starting over",
                path.display()
            );
        }
        disk_formats::create(&begun.disk(), &new)?;
        let key = KeyPair::generate()?;
        let follower = write_medium(&system, &begun, &key, &mut bars)?;
        let format = Some(new.format);
        self.run_machine(board, &system, &begun, format, Watch { follower, bars })
            .with_context(|| format!("{} was not installed on {}", self.image, path.display()))?;
        let file_system = file_system_on(&DiskOptions { format, ..DiskOptions::new(begun.disk()) })?
            .ok_or_else(|| anyhow!("there is no file system on {}", begun.disk().display()))?;
        let directory = Place::beside(&real).dir().display().to_string();
        begun.finish(&system, &file_system, &key, || matches!(empty(&self.disk.options), Ok(Some(_))))?;
        if io::IsTerminal::is_terminal(&io::stderr()) {
            eprintln!(
                "{} is installed on {}; log in as root, without a password on the console, or by ssh with \
                 one of your keys or {directory}/id_ed25519",
                self.image,
                path.display()
            );
        }
        Ok(())
    }

    /// Runs the machine that installs.
    fn run_machine(
        &self,
        mut config: MachineConfig,
        system: &System,
        begun: &Begun,
        format: Option<Format>,
        watch: Watch,
    ) -> anyhow::Result<()> {
        let boot = system.boot();
        config.kernel = Some(boot.kernel);
        config.initrd = Some(boot.initrd);
        config.append = format!("console={} quiet {}", self.console, system.install_append());
        config.memory = config.memory.max(SMALLEST_MEMORY);
        config.no_reboot = true;
        let medium = DiskOptions { format: Some(Format::Raw), ..DiskOptions::new_read_only(begun.medium()) };
        config.disks = vec![DiskOptions { format, ..DiskOptions::new(begun.disk()) }, medium];
        let log = new_file(&begun.log())?;
        let console = Arc::new(InstallConsole { watch: Mutex::new(watch), log });
        config.console = Console::Backend(Arc::clone(&console) as Arc<dyn CharBackend>);
        let mut machine = Machine::new(config)?;
        let ended = machine.run();
        drop(machine);
        let mut watch = console.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.bars.finished();
        if ended? == (Ended::Off { code: 0 }) && watch.follower.has_succeeded() {
            return Ok(());
        }
        bail!(
            "the machine ended at \"{}\": see {}, and start again to begin anew",
            watch.follower.doing(),
            begun.log().display()
        );
    }
}

/// The system on a disk, or on the image that it is an overlay of, if there is one of ours.
fn installed(options: &DiskOptions) -> anyhow::Result<Option<Installed>> {
    let mut file_system = None;
    let mut image = Some((options.path.clone(), options.format));
    for _ in 0..disk_formats::MAX_CHAIN {
        let Some((path, format)) = image else { break };
        let place = Place::beside(&path.canonicalize().unwrap_or_else(|_| path.clone()));
        if let Some(installed) = place.installed()? {
            let found = match &file_system {
                Some(found) => found,
                None => file_system.insert(file_system_on(options)?),
            };
            if found.as_ref() != Some(&installed.file_system) {
                bail!(
                    "{} belongs to another disk than {}: remove it, or give another file",
                    place.dir().display(),
                    options.path.display()
                );
            }
            return Ok(Some(installed));
        }
        let info = disk_formats::info(&path, format)?;
        image = info.backing.and_then(|backing| backing.path).map(|path| (path, None));
    }
    Ok(None)
}

/// The architecture of the system on a disk, if one was installed there.
pub fn architecture(disk: &DiskArg) -> anyhow::Result<Option<Arch>> {
    if !disk.options.path.exists() {
        return Ok(None);
    }
    let installed = installed(&disk.options)?;
    Ok(installed.map(|installed| installed.arch.parse()).transpose()?)
}

fn write_medium(system: &System, begun: &Begun, key: &KeyPair, bars: &mut Bars) -> anyhow::Result<Follower> {
    let mut authorized_keys = vec![key.public.clone()];
    if let Some(home) = std::env::home_dir() {
        authorized_keys.extend(images::system::public_keys(&home.join(".ssh")));
    }
    let medium = new_file(&begun.medium())?;
    Ok(system.write_medium(medium, &Settings { authorized_keys }, bars)?)
}

fn new_file(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

/// What a disk is to be like that replaces this one, if nobody has ever written to it.
fn empty(options: &DiskOptions) -> anyhow::Result<Option<CreateOptions>> {
    let path = &options.path;
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let info = disk_formats::info(path, options.format)?;
    let unwritten = match info.format {
        Format::Qcow2 => {
            let has_more = info.backing.is_some() || info.snapshots > 0;
            !has_more && disk_formats::check(path, options.format)?.allocated_clusters == 0
        }
        _ => info.allocated_size == 0 && info.virtual_size > 0,
    };
    let mut new = CreateOptions::new(info.format, info.virtual_size);
    new.cluster_size = info.cluster_size.unwrap_or(new.cluster_size);
    Ok(unwritten.then_some(new))
}

/// The UUID of the file system on a disk.
fn file_system_on(options: &DiskOptions) -> anyhow::Result<Option<String>> {
    let disk = disk_formats::open(&DiskOptions { read_only: true, snapshot: false, ..options.clone() })?;
    let (offset, length) = SUPERBLOCK;
    let mut superblock = vec![0; length];
    if disk.check_range(disk_formats::Op::Read, offset, length as u64).is_err() {
        return Ok(None);
    }
    disk.read_at(offset, &mut superblock)?;
    Ok(images::system::file_system_id(&superblock))
}

/// Who watches an installation.
struct Watch {
    follower: Follower,
    bars: Bars,
}

/// The console of the machine that installs: goes into a file, and is followed.
struct InstallConsole {
    watch: Mutex<Watch>,
    log: File,
}

impl CharBackend for InstallConsole {
    fn attach(&self, _device: Weak<dyn CharDevice>) {}

    fn write(&self, bytes: &[u8]) -> usize {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let Watch { follower, bars } = &mut *watch;
        follower.read(bytes, bars);
        // A log that cannot be written is no reason to stop.
        let _ = (&self.log).write_all(bytes);
        bytes.len()
    }

    fn input_ready(&self) {}

    fn drain(&self, _limit: Duration) -> bool {
        true
    }
}
