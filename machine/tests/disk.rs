//! A file system on a QCOW2 disk, on a machine that is killed while it writes.
//!
//! The machine is a process of its own: this test program, told by an environment variable to be that. How many
//! kills there are can be said in `FERRY_TEST_KILLS`.

mod support;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use disk_formats::{ConvertOptions, DiskOptions, Format, convert};
use machine::{Console, Ended, Machine};
use support::guest::{BOOT_LIMIT, COMMAND_LIMIT, config};
use support::killed::{SyncedFiles, check_image, kills, work_time};
use support::serial::Serial;

/// In the environment of the machine's process: the directory with the disk.
const DIRECTORY: &str = "FERRY_TEST_MACHINE_IN";
/// There too: the layout of the virtio registers.
const LEGACY: &str = "FERRY_TEST_MACHINE_LEGACY";

#[test]
fn synced_files_survive_kills() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return be_the_machine(directory.as_ref());
    }
    let kills = kills();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = directory.path().join("disk");
    make_disk(directory.path(), &disk);

    let mut files = SyncedFiles::default();
    for round in 0..kills {
        let mut machine = Process::start(directory.path(), round);
        files.check(&mut machine.console, COMMAND_LIMIT);
        files.write(&mut machine.console, round, COMMAND_LIMIT);
        std::thread::sleep(work_time(round));
        machine.kill();
        check_image(&disk, round);
    }

    let mut machine = Process::start(directory.path(), kills);
    files.check(&mut machine.console, COMMAND_LIMIT);
    machine.console.check("cd && umount /mnt", COMMAND_LIMIT);
    machine.console.send_line("poweroff");
    machine.expect_success();
    check_image(&disk, kills);
    let raw = directory.path().join("raw");
    convert(&DiskOptions::new_read_only(&disk), &raw, &ConvertOptions::new(Format::Raw), &mut |_, _| {})
        .expect("a raw copy");
    succeed(Command::new(sbin("e2fsck")).arg("-fn").arg(&raw));
}

/// An ext4 file system on a QCOW2 image.
fn make_disk(directory: &Path, disk: &Path) {
    let raw = directory.join("empty");
    succeed(Command::new(sbin("mke2fs")).args(["-q", "-t", "ext4"]).arg(&raw).arg("256M"));
    let source = DiskOptions { format: Some(Format::Raw), ..DiskOptions::new_read_only(&raw) };
    convert(&source, disk, &ConvertOptions::new(Format::Qcow2), &mut |_, _| {}).expect("a QCOW2 image");
}

/// The file system's tools are not in everybody's path.
fn sbin(name: &str) -> std::path::PathBuf {
    let found = ["/usr/sbin", "/sbin"].iter().map(|directory| Path::new(directory).join(name));
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| name.into())
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} (package e2fsprogs): {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// What the other process does: runs a machine with the disk in `directory`, and the console there too.
fn be_the_machine(directory: &Path) {
    let mut config = config(1);
    config.disks =
        vec![DiskOptions { format: Some(Format::Qcow2), ..DiskOptions::new(directory.join("disk")) }];
    config.console = Console::Unix(directory.join("console"));
    config.virtio_legacy = std::env::var_os(LEGACY).is_some();
    let ended = Machine::new(config).and_then(|mut machine| machine.run());
    assert_eq!(ended.expect("a run"), Ended::Off { code: 0 });
}

/// A machine in a process of its own, with its file system mounted.
struct Process {
    child: Child,
    console: Serial,
}

impl Process {
    /// Boots; every other machine has virtio devices with the legacy layout.
    fn start(directory: &Path, round: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["synced_files_survive_kills", "--exact", "--nocapture"]).env(DIRECTORY, directory);
        if round % 2 == 1 {
            command.env(LEGACY, "1");
        }
        let child = command.spawn().expect("a process");
        let console = Serial::connect(&directory.join("console"));
        let mut machine = Self { child, console };
        machine.console.expect("root@ferry:~#", BOOT_LIMIT);
        machine.console.check("mount -t ext4 /dev/vda /mnt && cd /mnt", COMMAND_LIMIT);
        machine
    }

    fn kill(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }

    fn expect_success(mut self) {
        let deadline = Instant::now() + COMMAND_LIMIT;
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            status = self.child.try_wait().expect("an end");
        }
        assert!(status.is_some_and(|s| s.success()), "{status:?}; the console said:\n{}", self.console.log());
    }
}

impl Drop for Process {
    /// A test that fails leaves no machine behind.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
