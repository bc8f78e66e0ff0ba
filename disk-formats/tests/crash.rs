//! A process that dies while it writes: what it had flushed is there, and the image is clean, unless the
//! process was just writing refcounts and tables; then it is after the next opening.
//!
//! The test starts itself as the process that dies. It tells through a pipe what it has flushed.

#[path = "common/mod.rs"]
mod common;

use common::{Rng, assert_same, path, read_all};
use disk_formats::{CreateOptions, DiskOptions, Format, check, create, open};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SIZE: u64 = 64 << 20;
const BLOCK: u64 = 4096;
const ROUNDS: u64 = 10;

/// Writes numbered blocks at places that follow from the seed, and tells how many are flushed.
fn write_until_killed(image: &Path, seed: u64) {
    let disk = open(&DiskOptions::new(image)).unwrap();
    let mut rng = Rng(seed);
    let mut out = std::io::stdout();
    for n in 1.. {
        let (block, data) = step(&mut rng, n);
        disk.write_at(block * BLOCK, &data).unwrap();
        if n % 16 == 0 {
            disk.flush().unwrap();
            writeln!(out, "{n}").unwrap();
            out.flush().unwrap();
        }
    }
}

/// The `n`th write: which block, and what.
fn step(rng: &mut Rng, n: u64) -> (u64, Vec<u8>) {
    let block = rng.below(SIZE / BLOCK);
    (block, n.to_le_bytes().repeat(BLOCK as usize / 8))
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if let [_, mode, image, seed] = &args[..]
        && mode == "write-until-killed"
    {
        return write_until_killed(Path::new(image), seed.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let options = CreateOptions { cluster_size: 4096, ..CreateOptions::new(Format::Qcow2, SIZE) };
    create(&image, &options).unwrap();
    // What each block may hold: for each the number of the last flushed write, or 0.
    let mut clean = 0;
    let mut flushed = vec![0u8; SIZE as usize];
    for seed in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["write-until-killed", path(&image), &seed.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100 + 37 * seed));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let last = lines.map(|line| line.unwrap().parse::<u64>().unwrap()).last().unwrap_or(0);
        killer.join().unwrap();
        println!("round {seed}: {last} writes flushed");

        let report = check(&image, None).unwrap();
        println!("{report}");
        clean += u64::from(report.is_clean());
        let qemu = common::qemu_img_output(&["check", "-f", "qcow2", path(&image)]).status.success();
        assert_eq!(qemu, report.is_clean(), "QEMU agrees");
        // Blocks that were written after the last flush may hold either.
        let found = read_all(&*open(&DiskOptions::new_read_only(&image)).unwrap());
        let mut rng = Rng(seed);
        for n in 1..=last {
            let (block, data) = step(&mut rng, n);
            let at = (block * BLOCK) as usize;
            flushed[at..at + BLOCK as usize].copy_from_slice(&data);
        }
        // At most some thousand writes were under way.
        for n in last + 1..last + 10_000 {
            let (block, data) = step(&mut rng, n);
            let range = (block * BLOCK) as usize..((block + 1) * BLOCK) as usize;
            if found[range.clone()] == data {
                flushed[range].copy_from_slice(&data);
            }
        }
        assert_same(&found, &flushed, "what was flushed");
        // Opening for writing, as the next round does, puts everything right.
        let disk = open(&DiskOptions::new(&image)).unwrap();
        assert_same(&read_all(&*disk), &flushed, "after the repair");
        drop(disk);
        common::assert_clean(&image);
    }
    println!("{clean} of {ROUNDS} rounds left a clean image");
    assert!(clean >= ROUNDS / 2, "dying between refcounts and tables should be rare");
    assert!(flushed.iter().any(|&byte| byte != 0), "nothing was flushed in any round");
}
