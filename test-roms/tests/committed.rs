//! The committed ELFs are well-formed, complete, and were built from the committed sources.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use test_roms::{Rom, all};

/// Where the ROMs of an architecture lie in memory, and the ELF machine.
const ARCHITECTURES: [(&str, u64, u64); 2] = [("riscv64", 0x8000_0000, 243), ("aarch64", 0x4020_0000, 183)];

/// The folder with the sources of an architecture, or with those that all share.
fn sources(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn number(elf: &[u8], at: usize, len: usize) -> u64 {
    elf[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn check_elf(rom: &Rom) {
    let (name, elf) = (rom.name, rom.elf);
    let known = ARCHITECTURES.iter().find(|(arch, ..)| *arch == rom.arch);
    let &(_, base, machine) = known.expect("an architecture");
    assert_eq!(&elf[..7], b"\x7fELF\x02\x01\x01", "{name}: not a little-endian ELF64");
    assert_eq!(number(elf, 16, 2), 2, "{name}: not an executable");
    assert_eq!(number(elf, 18, 2), machine, "{name}: not for {}", rom.arch);
    assert_eq!(number(elf, 24, 8), base, "{name}: entry");
    let headers = number(elf, 32, 8) as usize;
    assert_eq!(number(elf, 56, 2), 1, "{name}: program headers");
    assert_eq!(number(elf, headers, 4), 1, "{name}: segment type");
    let (offset, address) = (number(elf, headers + 8, 8), number(elf, headers + 24, 8));
    let (file_size, memory_size) = (number(elf, headers + 32, 8), number(elf, headers + 40, 8));
    assert_eq!(address, base, "{name}: segment address");
    assert!(offset + file_size <= elf.len() as u64, "{name}: segment reaches past the file");
    assert!(file_size <= memory_size && memory_size <= test_roms::RAM_SIZE / 2, "{name}: segment size");
    assert!(elf.len() < 128 << 10, "{name}: {} bytes is not a small file", elf.len());
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

/// The hash that `build.sh` puts into an ELF: of what all share, the runtime, each by name, then the ROM's own source.
fn source_hash(rom: &Rom) -> String {
    let own = sources(rom.arch);
    let shared = [files(&sources("common")), files(&own.join("rt"))].concat();
    let mut hash = Sha256::new();
    for path in shared.iter().chain([&own.join(rom.name).with_extension("c")]) {
        hash.update(fs::read(path).expect("source"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_elf_is_well_formed() {
    for rom in all() {
        check_elf(rom);
        assert!(!rom.harts.is_empty(), "{}: no run", rom.name);
    }
}

#[test]
fn every_elf_was_built_from_its_source() {
    for rom in all() {
        let marker = format!("source-sha256={}", source_hash(rom));
        let found = rom.elf.windows(marker.len()).any(|window| window == marker.as_bytes());
        assert!(found, "{}: the source changed after the ELF was built: run test-roms/build.sh", rom.name);
    }
}

#[test]
fn every_source_is_listed() {
    for (arch, ..) in ARCHITECTURES {
        let names: Vec<String> = files(&sources(arch))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
            .map(|path| path.file_stem().expect("stem").to_string_lossy().into_owned())
            .collect();
        let mut listed: Vec<&str> = all().filter(|rom| rom.arch == arch).map(|rom| rom.name).collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
    }
}
