//! QCOW2 images in the directory for temporary files: set `TMPDIR` to choose the file system.

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use disk_formats::{CreateOptions, Disk, DiskOptions, Format, create, open};

const MIB: usize = 1 << 20;
/// Size of the images.
const SIZE: u64 = 256 << 20;

fn image(path: &Path) -> Box<dyn Disk> {
    create(path, &CreateOptions::new(Format::Qcow2, SIZE)).expect("a new image");
    open(&DiskOptions::new(path)).expect("the image opens")
}

/// One iteration reads 4 KiB at a random place of an image that holds 64 MiB of data.
fn random_read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = image(&dir.path().join("read.qcow2"));
    let chunk: Vec<u8> = (0..MIB).map(|i| (i * 7) as u8).collect();
    for at in 0..64 {
        disk.write_at((at * MIB) as u64, &chunk).expect("written");
    }
    disk.flush().expect("flushed");
    let mut buffer = vec![0; 4096];
    let mut seed = 1u64;
    let mut group = c.benchmark_group("qcow2");
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("random_read_4k", |b| {
        b.iter(|| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let at = (seed >> 33) % (64 * MIB as u64 / 4096) * 4096;
            disk.read_at(at, &mut buffer).expect("read");
        })
    });
}

/// One iteration writes 1 MiB where the last one ended, and flushes; the first round through the image allocates.
fn sequential_write(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = image(&dir.path().join("write.qcow2"));
    let chunk: Vec<u8> = (0..MIB).map(|i| (i * 13) as u8).collect();
    let mut at = 0;
    let mut group = c.benchmark_group("qcow2");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.sample_size(20);
    group.bench_function("sequential_write_1m_flush", |b| {
        b.iter(|| {
            disk.write_at(at, &chunk).expect("written");
            disk.flush().expect("flushed");
            at = (at + MIB as u64) % SIZE;
        })
    });
}

criterion_group!(benches, random_read, sequential_write);
criterion_main!(benches);
