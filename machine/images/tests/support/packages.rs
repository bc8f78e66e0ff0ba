//! Debian packages and what is in them, made for the tests.

#![allow(dead_code, reason = "not every test program uses every helper")]

use std::io::Write;

use lzma_rust2::{XzOptions, XzWriter};

/// An `ar` archive with these members.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(archive, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        archive.extend_from_slice(content);
        if content.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// A tar archive with these regular, executable files.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Compresses in xz format.
pub fn xz(content: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// A package with these files.
pub fn deb(files: &[(&str, &[u8])]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b""), ("data.tar.xz", &xz(&tar_of(files)))])
}

/// A minimal 64-bit little-endian ELF file with this `.modinfo` section.
pub fn elf_module(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let section = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut header = vec![0; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        header
    };
    let names_at = 64 + info.len();
    let mut elf = vec![0; 64];
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    elf[16..20].copy_from_slice(&[1, 0, 243, 0]);
    elf[20] = 1;
    elf[40..48].copy_from_slice(&((names_at + names.len()) as u64).to_le_bytes());
    elf[52..54].copy_from_slice(&64u16.to_le_bytes());
    elf[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    elf.extend(info);
    elf.extend(names);
    elf.extend(section(0, 0, 0, 0));
    elf.extend(section(1, 1, 64, info.len()));
    elf.extend(section(10, 3, names_at, names.len()));
    elf
}
