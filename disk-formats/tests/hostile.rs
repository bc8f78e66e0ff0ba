//! Damaged and malicious images: an error or an operation that works on nonsense, never a panic, a hang or
//! unbounded memory.

mod common;

use common::{Rng, path, qemu_img};
use disk_formats::{ConvertOptions, check, convert, info, open, resize};
use disk_formats::{DiskOptions, Format, ResizeOptions};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SIZE: u64 = 4 << 20;

/// Ends the process if memory goes beyond what a damaged image may take, or nothing moves for a minute.
fn guard(progress: &'static AtomicU64) {
    let limit = Some(3 << 30);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            let now = progress.load(Ordering::Relaxed);
            if now == last {
                eprintln!("seed {now}: no progress");
                std::process::abort();
            }
            last = now;
            std::thread::sleep(Duration::from_secs(60));
        }
    });
}

/// Images with different structures, each smaller than a few MiB.
fn samples(dir: &Path) -> Vec<Vec<u8>> {
    let raw = dir.join("raw");
    let mut rng = Rng(1);
    let mut content = vec![0; SIZE as usize];
    for n in 0..40 {
        let at = rng.below(SIZE - 20_000) as usize;
        let len = rng.below(20_000) as usize;
        if n % 2 == 0 {
            content[at..at + len].copy_from_slice(&rng.bytes(len));
        } else {
            content[at..at + len].fill(n);
        }
    }
    fs::write(&raw, &content).unwrap();
    let variants: [&[&str]; 6] = [
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=4k,refcount_bits=1"],
        &["-o", "cluster_size=4k", "-c"],
        &["-o", "cluster_size=4k,compat=0.10"],
        &["-o", "cluster_size=64k,refcount_bits=64"],
        &["-o", "cluster_size=4k"],
    ];
    let mut list = Vec::new();
    for (n, variant) in variants.iter().enumerate() {
        let image = dir.join("sample");
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
        args.extend(*variant);
        args.extend([path(&raw), path(&image)]);
        qemu_img(&args);
        if n == 5 {
            qemu_img(&["snapshot", "-c", "one", path(&image)]);
            qemu_img(&["bitmap", "--add", path(&image), "bits"]);
        }
        list.push(fs::read(&image).unwrap());
    }
    list
}

/// Places of an image that matter: its header and tables.
fn interesting(image: &[u8]) -> Vec<(usize, usize)> {
    let be = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let cluster = 1 << image[23];
    let mut places = vec![(0, 120), (0, 80), (24, 48), (be(48), 64), (be(40), 64), (cluster, 256)];
    for table in [be(40), be(48)] {
        for n in 0..8 {
            let target = be(table + 8 * n) & 0x00ff_ffff_ffff_fe00;
            if target != 0 && target + cluster <= image.len() {
                places.push((target, cluster.min(1024)));
            }
        }
    }
    places.retain(|(at, len)| at + len <= image.len());
    places
}

fn mutate(image: &mut Vec<u8>, rng: &mut Rng) {
    let places = interesting(image);
    // Half of them are to be repaired first.
    if rng.below(2) == 0 && image[7] == 3 {
        image[79] |= 1;
    }
    for _ in 0..=rng.below(3) {
        let (start, len) = places[rng.below(places.len() as u64) as usize];
        let at = start + rng.below(len as u64) as usize;
        match rng.below(6) {
            0 => image[at] ^= 1 << rng.below(8),
            1 => image[at] = rng.next() as u8,
            // A whole entry: wild, or copied from another place.
            2 => {
                let at = (at & !7).min(image.len() - 8);
                let value = rng.next() >> rng.below(64);
                image[at..at + 8].copy_from_slice(&value.to_be_bytes());
            }
            3 | 4 => {
                let (other, len) = places[rng.below(places.len() as u64) as usize];
                let from = ((other + rng.below(len as u64) as usize) & !7).min(image.len() - 8);
                let at = (at & !7).min(image.len() - 8);
                image.copy_within(from..from + 8, at);
            }
            _ => {
                let len = rng.below(image.len() as u64) as usize;
                image.truncate(len.max(4096));
                return;
            }
        }
    }
}

/// Does everything that can be done with an image; only panics count.
fn use_it(image: &Path, rng: &mut Rng) {
    let _ = check(image, None);
    let _ = info(image, None).map(|info| info.to_string());
    let read_only = DiskOptions::new_read_only(image);
    for options in [
        read_only.clone(),
        DiskOptions { snapshot: true, ..DiskOptions::new(image) },
        DiskOptions { format: Some(Format::Qcow2), ..DiskOptions::new(image) },
    ] {
        let Ok(disk) = open(&options) else { continue };
        let mut buffer = vec![0; 200_000];
        for _ in 0..30 {
            let len = rng.below(buffer.len() as u64).min(disk.size());
            let offset = rng.below((disk.size() - len).min(2 * SIZE) + 1);
            let _ = match rng.below(6) {
                0 | 1 => disk.read_at(offset, &mut buffer[..len as usize]),
                2 | 3 => disk.write_at(offset, &buffer[..len as usize]),
                4 => disk.discard(offset, len),
                _ => disk.write_zeroes(offset, len, rng.below(2) == 0),
            };
            let _ = disk.flush();
        }
    }
    let target = image.with_extension("copy");
    if info(image, None).is_ok_and(|info| info.virtual_size <= 16 * SIZE) {
        let _ = convert(&read_only, &target, &ConvertOptions::new(Format::Raw), |_, _| {});
        let _ = fs::remove_file(&target);
    }
    let _ = resize(&DiskOptions::new(image), ResizeOptions { size: SIZE / 3, shrink: true });
    let _ = resize(&DiskOptions::new(image), ResizeOptions { size: SIZE * 3, shrink: false });
    let _ = check(image, None);
}

#[test]
fn mutated_images() {
    static PROGRESS: AtomicU64 = AtomicU64::new(0);
    guard(&PROGRESS);
    let dir = tempfile::tempdir().unwrap();
    let samples = samples(dir.path());
    let image = dir.path().join("image");
    let seeds = std::env::var("HOSTILE_SEEDS").ok();
    let seeds: u64 = seeds.map_or(400, |text| text.parse().expect("HOSTILE_SEEDS is a number"));
    for seed in 0..seeds {
        PROGRESS.store(seed, Ordering::Relaxed);
        let mut rng = Rng(seed);
        let mut bytes = samples[seed as usize % samples.len()].clone();
        mutate(&mut bytes, &mut rng);
        fs::write(&image, &bytes).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_it(&image, &mut rng)));
        assert!(result.is_ok(), "seed {seed}");
    }
}
