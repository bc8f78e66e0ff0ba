//! What the tests of disk images share: a random source, QEMU's tools, and the comparison of a disk with a
//! model of it in memory.
#![allow(dead_code, reason = "each test binary uses a part")]

use disk_formats::Disk;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// A small deterministic random source (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

/// Runs `qemu-img`, whatever it returns.
pub fn qemu_img_output<S: AsRef<OsStr>>(args: &[S]) -> Output {
    Command::new("qemu-img")
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("these tests need qemu-img ({error}): install the package qemu-utils"))
}

/// Runs `qemu-img`, which has to succeed; returns what it printed.
pub fn qemu_img<S: AsRef<OsStr>>(args: &[S]) -> String {
    let output = qemu_img_output(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    assert!(
        output.status.success(),
        "qemu-img {}: {}\n{}{}",
        line.join(" "),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Checks an image with QEMU's checker and ours: both must find nothing.
pub fn assert_clean(image: &Path) {
    qemu_img(&["check", "-f", "qcow2", path(image)]);
    let report = disk_formats::check(image, None).unwrap();
    assert!(report.is_clean(), "qemu-img finds nothing, we do:\n{report}");
}

/// The same for an image that is open: QEMU is told not to care.
pub fn assert_clean_though_in_use(image: &Path) {
    qemu_img(&["check", "-U", "-f", "qcow2", path(image)]);
}

/// The content of an image as QEMU reads it.
pub fn read_by_qemu(image: &Path, format: &str) -> Vec<u8> {
    let raw = tempfile::Builder::new().tempfile_in(image.parent().unwrap()).unwrap();
    qemu_img(&["convert", "-f", format, "-O", "raw", path(image), path(raw.path())]);
    std::fs::read(raw.path()).unwrap()
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Compares two contents without printing them.
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("{what}: byte {at:#x} is {:#04x}, expected {:#04x}", found[at], expected[at]);
    }
}

pub fn read_all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xaa; disk.size() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Does `count` random accesses to `disk`, whose content `model` has to be, and follows them there.
pub fn exercise(disk: &dyn Disk, model: &mut [u8], rng: &mut Rng, count: usize) {
    assert_eq!(disk.size(), model.len() as u64);
    assert_same(&read_all(disk), model, "at the start");
    for step in 0..count {
        let size = model.len() as u64;
        let longest = [600, 5000, 70_000, 3_000_000][rng.below(4) as usize].min(size);
        let len = rng.below(longest + 1);
        let mut offset = rng.below(size - len + 1);
        if rng.below(2) == 0 {
            offset &= !511;
        }
        let range = offset as usize..(offset + len) as usize;
        match rng.below(10) {
            0..4 => {
                let data = rng.bytes(len as usize);
                disk.write_at(offset, &data).unwrap();
                model[range].copy_from_slice(&data);
            }
            4..7 => {
                let mut buffer = vec![0xaa; len as usize];
                disk.read_at(offset, &mut buffer).unwrap();
                assert_same(&buffer, &model[range], &format!("step {step}: read at {offset:#x}"));
            }
            7 => {
                disk.write_zeroes(offset, len, rng.below(2) == 0).unwrap();
                model[range].fill(0);
            }
            8 => {
                disk.discard(offset, len).unwrap();
                // Each byte is what it was, or zero.
                let mut buffer = vec![0xaa; len as usize];
                disk.read_at(offset, &mut buffer).unwrap();
                for (new, old) in buffer.iter().zip(&model[range.clone()]) {
                    assert!(new == old || *new == 0, "step {step}: discard at {offset:#x} made data up");
                }
                model[range].copy_from_slice(&buffer);
            }
            _ => disk.flush().unwrap(),
        }
    }
    assert_same(&read_all(disk), model, "at the end");
}
