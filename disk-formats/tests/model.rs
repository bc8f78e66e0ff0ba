//! Random accesses to images of all kinds, compared with a model in memory, and the result with what QEMU
//! and an independent reader (qcow2-rs) find.

mod common;

use common::{Rng, assert_clean, assert_same, exercise, path, qemu_img, read_all, read_by_qemu};
use disk_formats::{CreateOptions, Disk, DiskOptions, Format, create, open};
use std::fs;
use std::path::Path;

const SIZE: u64 = (12 << 20) + 1536;

/// Exercises an image, opened anew twice, and compares what is then in it with the model.
fn exercise_image(options: &DiskOptions, mut model: Vec<u8>, seed: u64, count: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    for round in 0..2 {
        let disk = open(options).unwrap();
        exercise(&*disk, &mut model, &mut rng, count);
        // The first round ends with a flush, the second without: closing is enough to not lose anything.
        if round == 0 {
            disk.flush().unwrap();
        }
    }
    model
}

/// What exercises do to a QCOW2 image leaves it clean and readable by others.
fn check_qcow2(image: &Path, model: &[u8]) {
    assert_clean(image);
    assert_same(&read_by_qemu(image, "qcow2"), model, "as QEMU reads it");
}

#[test]
fn raw() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.raw");
    create(&image, &CreateOptions::new(Format::Raw, SIZE)).unwrap();
    let options = DiskOptions { format: Some(Format::Raw), ..DiskOptions::new(&image) };
    let model = exercise_image(&options, vec![0; SIZE as usize], 1, 400);
    assert_same(&fs::read(&image).unwrap(), &model, "the file");
}

#[test]
fn qcow2_cluster_sizes() {
    for (seed, cluster_size) in [(2, 512), (3, 4096), (4, 65536), (5, 2 << 20)] {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.qcow2");
        create(&image, &CreateOptions { cluster_size, ..CreateOptions::new(Format::Qcow2, SIZE) }).unwrap();
        assert_clean(&image);
        let model = exercise_image(&DiskOptions::new(&image), vec![0; SIZE as usize], seed, 300);
        check_qcow2(&image, &model);
        if cluster_size >= 4096 {
            assert_same(&read_by_qcow2_rs(&image), &model, "as qcow2-rs reads it");
        }
    }
}

/// Images made by QEMU with what we do not make ourselves.
#[test]
fn qcow2_variants() {
    let variants: &[&[&str]] = &[
        &["-o", "compat=0.10"],
        &["-o", "refcount_bits=1"],
        &["-o", "refcount_bits=64"],
        &["-o", "preallocation=metadata"],
        &["-o", "lazy_refcounts=on"],
        &["-c"],
        &["-c", "-o", "cluster_size=4k"],
    ];
    let content = sample_content(SIZE);
    for (n, variant) in variants.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, image) = (dir.path().join("raw"), dir.path().join("qcow2"));
        fs::write(&raw, &content).unwrap();
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
        args.extend(*variant);
        args.extend([path(&raw), path(&image)]);
        qemu_img(&args);
        assert_clean(&image);
        let model = exercise_image(&DiskOptions::new(&image), content.clone(), 100 + n as u64, 200);
        println!("{variant:?}");
        check_qcow2(&image, &model);
    }
}

/// Internal snapshots survive, which not every QCOW2 engine manages.
#[test]
fn internal_snapshots_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("qcow2"));
    let content = sample_content(SIZE);
    fs::write(&raw, &content).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", path(&raw), path(&image)]);
    qemu_img(&["snapshot", "-c", "one", path(&image)]);
    let model = exercise_image(&DiskOptions::new(&image), content.clone(), 7, 200);
    check_qcow2(&image, &model);
    qemu_img(&["snapshot", "-a", "one", path(&image)]);
    assert_clean(&image);
    let disk = open(&DiskOptions::new_read_only(&image)).unwrap();
    assert_same(&read_all(&*disk), &content, "the internal snapshot");
}

/// Overlays on a chain of compressed QCOW2 on raw, smaller, of the same size and larger than what is below.
#[test]
fn backing_chains() {
    for (seed, size, cluster_size) in [(20, SIZE, 65536), (21, 2 * SIZE, 65536), (22, SIZE / 2 + 256, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        let [raw, middle, top] = ["base.raw", "middle.qcow2", "top.qcow2"].map(|name| dir.path().join(name));
        let content = sample_content(SIZE);
        fs::write(&raw, &content).unwrap();
        create(&middle, &CreateOptions::new_overlay("base.raw")).unwrap();
        let overlay =
            CreateOptions { size: Some(size), cluster_size, ..CreateOptions::new_overlay("middle.qcow2") };
        let mut below = content.clone();
        exercise(&*open(&DiskOptions::new(&middle)).unwrap(), &mut below, &mut Rng(seed + 100), 60);
        create(&top, &overlay).unwrap();

        let mut model = below.clone();
        model.resize(size as usize, 0);
        let model = exercise_image(&DiskOptions::new(&top), model, seed, 200);
        check_qcow2(&top, &model);
        assert_same(&read_by_qemu(&middle, "qcow2"), &below, "the middle image");
        assert_same(&fs::read(&raw).unwrap(), &content, "the lowest image");
    }
}

#[test]
fn snapshot_mode_leaves_no_trace() {
    for format in [Format::Raw, Format::Qcow2] {
        let dir = tempfile::tempdir().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk");
        create(&image, &CreateOptions::new(format, SIZE)).unwrap();
        let mut model = vec![0; SIZE as usize];
        exercise(&*open(&DiskOptions::new(&image)).unwrap(), &mut model, &mut Rng(30), 50);
        let before = fs::read(&image).unwrap();
        let options = DiskOptions {
            snapshot: true,
            temp_dir: Some(temp.path().to_owned()),
            ..DiskOptions::new(&image)
        };
        for seed in [31, 32] {
            let disk = open(&options).unwrap();
            exercise(&*disk, &mut model.clone(), &mut Rng(seed), 150);
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "the overlay has no name");
            assert!(open(&options).is_ok(), "the image is shared with other snapshots");
            assert!(open(&DiskOptions::new(&image)).is_err(), "but nobody may write to it");
        }
        assert_same(&fs::read(&image).unwrap(), &before, "the image");
    }
}

/// Many threads on one disk, each with a range of its own that starts and ends within clusters.
#[test]
fn threads() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.qcow2");
    create(&image, &CreateOptions::new(Format::Qcow2, SIZE)).unwrap();
    let disk = open(&DiskOptions::new(&image)).unwrap();
    let share = SIZE as usize / 4;
    let parts: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let part = Part { disk: &*disk, start: (n * share) as u64, len: share as u64 };
                scope.spawn(move || {
                    let mut model = vec![0; share];
                    exercise(&part, &mut model, &mut Rng(40 + n as u64), 200);
                    model
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    drop(disk);
    let mut model = parts.concat();
    model.resize(SIZE as usize, 0);
    check_qcow2(&image, &model);
}

/// A part of a disk as a disk.
struct Part<'a> {
    disk: &'a dyn Disk,
    start: u64,
    len: u64,
}

impl Disk for Part<'_> {
    fn size(&self) -> u64 {
        self.len
    }
    fn read_only(&self) -> bool {
        false
    }
    fn name(&self) -> &Path {
        self.disk.name()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> disk_formats::Result<()> {
        self.disk.read_at(self.start + offset, buffer)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> disk_formats::Result<()> {
        self.disk.write_at(self.start + offset, data)
    }
    fn flush(&self) -> disk_formats::Result<()> {
        self.disk.flush()
    }
    fn discard(&self, offset: u64, len: u64) -> disk_formats::Result<()> {
        self.disk.discard(self.start + offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> disk_formats::Result<()> {
        self.disk.write_zeroes(self.start + offset, len, may_unmap)
    }
}

/// Zeroes, text that compresses and noise that does not, in runs of odd lengths.
fn sample_content(size: u64) -> Vec<u8> {
    let mut rng = Rng(99);
    let mut content = Vec::with_capacity(size as usize);
    while content.len() < size as usize {
        let len = rng.below(200_000) as usize;
        match rng.below(3) {
            0 => content.resize(content.len() + len, 0),
            1 => content.extend(b"so many words ".iter().cycle().take(len)),
            _ => content.extend(rng.bytes(len)),
        }
    }
    content.truncate(size as usize);
    content
}

/// The content of an image without backing file as qcow2-rs reads it.
fn read_by_qcow2_rs(image: &Path) -> Vec<u8> {
    use qcow2_rs::{dev::Qcow2DevParams, helpers::Qcow2IoBuf, utils::qcow2_setup_dev_sync};
    let device = qcow2_setup_dev_sync(image, &Qcow2DevParams::new(9, None, None, true, false)).unwrap();
    let mut content = Vec::new();
    finish(async {
        device.qcow2_prep_io().await.unwrap();
        let mut buffer = Qcow2IoBuf::<u8>::new(64 << 10);
        while (content.len() as u64) < SIZE {
            let len = buffer.len().min(SIZE as usize - content.len());
            let read = device.read_at(&mut buffer[..len], content.len() as u64).await.unwrap();
            assert_eq!(read, len);
            content.extend_from_slice(&buffer[..len]);
        }
    });
    content
}

/// Runs a future that never waits for anything.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("synchronous file access does not wait"),
    }
}
