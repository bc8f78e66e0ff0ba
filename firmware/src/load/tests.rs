use std::io::Write;

use super::*;
use crate::testing::Rng;

const LIMIT: u64 = 64 << 20;

/// A Linux `Image` of `len` bytes with this magic at 56, asking for `memory` bytes.
pub(crate) fn linux_image(magic: &[u8; 4], len: usize, text_offset: u64, memory: u64) -> Vec<u8> {
    // Compresses, but not to nothing.
    let mut image: Vec<u8> =
        (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] & 0x1f).collect();
    image[..64].fill(0);
    image[8..16].copy_from_slice(&text_offset.to_le_bytes());
    image[16..24].copy_from_slice(&memory.to_le_bytes());
    image[56..60].copy_from_slice(magic);
    image
}

pub(crate) fn riscv_image(len: usize, memory: u64) -> Vec<u8> {
    linux_image(b"RSC\x05", len, 0x20_0000, memory)
}

/// A 64-bit little-endian ELF executable; each segment is address, bytes and size in memory.
pub(crate) fn elf(machine: u16, entry: u64, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend(bytes);
    [2, machine].iter().for_each(|half: &u16| put(&half.to_le_bytes()));
    put(&1_u32.to_le_bytes());
    [entry, 64, 0].iter().for_each(|word| put(&word.to_le_bytes()));
    put(&0_u32.to_le_bytes());
    [64, 56, segments.len() as u16, 64, 0, 0].iter().for_each(|half: &u16| put(&half.to_le_bytes()));
    let mut offset = 64 + 56 * segments.len() as u64;
    for (address, bytes, memory) in segments {
        put(&1_u32.to_le_bytes()); // PT_LOAD
        put(&7_u32.to_le_bytes());
        let size = bytes.len() as u64;
        [offset, address ^ (1 << 62), *address, size, *memory, 4096]
            .iter()
            .for_each(|word| put(&word.to_le_bytes()));
        offset += size;
    }
    segments.iter().for_each(|(_, bytes, _)| put(bytes));
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zboot(name: &[u8], machine: u16, payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x200];
    file[..8].copy_from_slice(b"MZ\0\0zimg");
    file[8..12].copy_from_slice(&0x200_u32.to_le_bytes());
    file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file[24..24 + name.len()].copy_from_slice(name);
    file[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    file.extend(payload);
    file.extend(b"what follows the payload");
    file
}

/// A file of every format that is taken, with what it is and the kernel inside.
fn samples() -> Vec<(Vec<u8>, &'static str, Vec<u8>)> {
    use Isa::*;
    let image = riscv_image(200_000, 300_000);
    let arm = linux_image(b"ARM\x64", 100_000, 0, 200_000);
    let vmlinux = elf(243, 0x8020_0000, &[(0x8020_0000, &image, 300_000)]);
    let program = elf(243, 0x8000_0004, &[(0x8000_0000, &[0x13; 32], 32), (0x8000_1000, &[1; 8], 64)]);
    let named = |isa: Isa, what: &str| -> &'static str { format!("{isa} {what}").leak() };
    vec![
        (image.clone(), named(Riscv64, "Linux image"), image.clone()),
        (gzip(&image), named(Riscv64, "Linux image (gzip)"), image.clone()),
        (zstd(&image), named(Riscv64, "Linux image (zstd)"), image.clone()),
        (xz(&image), named(Riscv64, "Linux image (xz)"), image.clone()),
        (
            zboot(b"gzip", 0x5064, &gzip(&image)),
            named(Riscv64, "Linux image (EFI zboot, gzip)"),
            image.clone(),
        ),
        (
            zboot(b"zstd", 0x5064, &zstd(&image)),
            named(Riscv64, "Linux image (EFI zboot, zstd)"),
            image.clone(),
        ),
        (zboot(b"xzkern", 0x5064, &xz(&image)), named(Riscv64, "Linux image (EFI zboot, xz)"), image.clone()),
        (
            gzip(&zboot(b"gzip", 0x5064, &gzip(&image))),
            named(Riscv64, "Linux image (gzip, EFI zboot, gzip)"),
            image,
        ),
        (gzip(&arm), named(Aarch64, "Linux image (gzip)"), arm.clone()),
        (zboot(b"gzip", 0xaa64, &gzip(&arm)), named(Aarch64, "Linux image (EFI zboot, gzip)"), arm),
        (program.clone(), named(Riscv64, "ELF file"), program),
        (gzip(&vmlinux), named(Riscv64, "ELF file (gzip)"), vmlinux),
        (vec![0x13; 1000], "raw binary", vec![0x13; 1000]),
        (zstd(&[0x13; 1000]), "raw binary (zstd)", vec![0x13; 1000]),
    ]
}

#[test]
fn every_format_is_identified_and_unpacked() {
    for (file, name, inside) in samples() {
        let kind = identify(&file).unwrap();
        assert_eq!(kind.to_string(), name);
        let image = Image::parse(file, kind.isa.unwrap_or(Isa::Riscv64), LIMIT).unwrap();
        assert_eq!(image.kind, kind, "{name}");
        assert!(*image.bytes == inside, "{name}: other contents");
    }
}

#[test]
fn headers_become_layouts() {
    let layout = |file, isa| Image::parse(file, isa, LIMIT).unwrap().layout;
    let flat = |memory_size, text_offset| Layout::Flat { memory_size, text_offset };
    assert_eq!(layout(riscv_image(1000, 5000), Isa::Riscv64), flat(5000, 0x20_0000));
    assert_eq!(
        layout(riscv_image(1000, 10), Isa::Riscv64),
        flat(1000, 0x20_0000),
        "never less than the file"
    );
    let arm = |text_offset, size| linux_image(b"ARM\x64", 1000, text_offset, size);
    assert_eq!(layout(arm(0, 4096), Isa::Aarch64), flat(4096, 0));
    assert_eq!(layout(arm(5, 0), Isa::Aarch64), flat(1000, 0x8_0000), "before Linux 3.17");
    assert_eq!(layout(vec![7; 100], Isa::Riscv64), flat(100, 0));

    let program = elf(243, 0x8000_0004, &[(0x8000_1000, &[1; 8], 64), (0x8000_0000, &[2; 32], 32)]);
    let segment = |address, file, memory_size| ElfSegment { address, file, memory_size };
    let segments = vec![segment(0x8000_0000, 184..216, 32), segment(0x8000_1000, 176..184, 64)];
    assert_eq!(
        layout(program, Isa::Riscv64),
        Layout::Segments { segments, entry: 0x8000_0004, movable: false }
    );
}

fn refusal(file: Vec<u8>) -> String {
    Image::parse(file, Isa::Riscv64, LIMIT).unwrap_err().to_string()
}

#[test]
fn kernels_for_other_machines() {
    let x86 = |flags| {
        let mut file = vec![0; 0x300];
        file[..2].copy_from_slice(b"MZ");
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x236] = flags;
        file
    };
    let mut elf32 = elf(243, 0, &[]);
    elf32[4] = 1;
    for (file, message) in [
        (x86(1), "this is an x86-64 Linux bzImage, expected one for riscv64"),
        (x86(0), "this is an x86 Linux bzImage, expected one for riscv64"),
        (elf(62, 0, &[(0, &[0], 1)]), "this is an x86-64 ELF file, expected one for riscv64"),
        (elf(183, 0, &[(0, &[0], 1)]), "this is an aarch64 ELF file, expected one for riscv64"),
        (elf(40, 0, &[]), "this is an arm ELF file, expected one for riscv64"),
        (elf(21, 0, &[]), "this is a foreign (ELF machine 21) ELF file, expected one for riscv64"),
        (elf32, "this is a riscv32 ELF file, expected one for riscv64"),
        (
            gzip(&linux_image(b"ARM\x64", 1000, 0, 0)),
            "this is an aarch64 Linux image (gzip), expected one for riscv64",
        ),
        (
            zboot(b"gzip", 0xaa64, &gzip(&[1; 99])),
            "this is an aarch64 raw binary (EFI zboot, gzip), expected one for riscv64",
        ),
    ] {
        assert_eq!(refusal(file), message);
    }
    let mut rv32 = zboot(b"gzip", 0x5032, &[]);
    rv32[4] = 0;
    rv32[56..60].copy_from_slice(b"RSC\x05");
    assert_eq!(identify(&rv32).unwrap().isa, Some(Isa::Riscv32), "by its PE header");
}

#[test]
fn what_cannot_be_loaded() {
    let mut big_endian = riscv_image(1000, 0);
    big_endian[24] = 1;
    let mut object = elf(243, 0, &[(0, &[1], 1)]);
    object[16] = 1;
    let mut beyond = elf(243, 0, &[(0x8000_0000, &[1; 8], 8)]);
    beyond.truncate(beyond.len() - 1);
    let many: Vec<(u64, &[u8], u64)> = (0..300).map(|i| (i * 16, &[0; 8][..], 16)).collect();
    let mut efi = zboot(b"gzip", 0x5064, &[]);
    efi[4] = 0;
    let mut other_packing = zboot(b"zstd", 0x5064, &gzip(&[1; 99]));
    let nested = (0..5).fold(riscv_image(100, 0), |inside, _| gzip(&inside));
    for (file, message) in [
        (vec![], "the file is empty"),
        (gzip(b""), "the file is empty"),
        (b"BZh91AY".to_vec(), "this is a bzip2 file, which cannot be loaded directly: unpack it first"),
        (
            b"\x27\x05\x19\x56rest".to_vec(),
            "this is a U-Boot uImage, which cannot be loaded directly: extract",
        ),
        (efi.clone(), "this is a riscv64 EFI program, which cannot be loaded directly: give a kernel, or"),
        (zboot(b"lzo", 0x5064, b"\x89LZO"), "this is an EFI zboot program packed with \"lzo\", which"),
        (other_packing.clone(), "the EFI zboot program is damaged: the kernel inside is not packed as"),
        (big_endian, "the Linux image is damaged: it is for a big-endian machine"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "the ELF file is damaged: "),
        (
            object,
            "this is an ELF file that is not linked, which cannot be loaded directly: give an executable",
        ),
        (elf(243, 0, &[]), "the ELF file is damaged: it has nothing to load"),
        (elf(243, 0, &many), "the ELF file is damaged: it has 300 segments, which is no kernel's number"),
        (beyond, "the ELF file is damaged: a segment is cut off"),
        (elf(243, 0, &[(8, &[1; 8], 4)]), "the ELF file is damaged: the segment at 0x8 has no valid size"),
        (
            elf(243, 0, &[(u64::MAX, &[], 2)]),
            "the ELF file is damaged: the segment at 0xffffffffffffffff has",
        ),
        (
            elf(243, 0, &[(0, &[1; 8], 9), (8, &[2; 8], 8)]),
            "the ELF file is damaged: another segment lies over that at 0x0",
        ),
        (nested, "this is a file packed again and again, which cannot be loaded directly: unpack it first"),
    ] {
        let found = refusal(file);
        assert!(found.starts_with(message), "{found:?} is not {message:?}");
    }
    other_packing[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refusal(other_packing), "the EFI zboot program is damaged: the kernel inside is cut off");
    let mut short = riscv_image(64, 0);
    short.truncate(60);
    assert_eq!(refusal(short), "the Linux image is damaged: the header is cut off");
}

#[test]
fn unpacking_ends_at_the_limit() {
    let bomb = vec![0x13; (LIMIT + 1) as usize];
    for packed in [gzip(&bomb), zstd(&bomb), xz(&bomb)] {
        assert!(packed.len() < 1 << 20);
        let message = "it unpacks to more than 64 MiB, which is all of the machine's memory: use --memory";
        assert_eq!(identify(&packed).unwrap().format, Format::Raw);
        assert_eq!(refusal(packed), message);
    }
    let exact = vec![0x13; LIMIT as usize];
    assert!(Image::parse(gzip(&exact), Isa::Riscv64, LIMIT).is_ok());
}

#[test]
fn truncated_files() {
    for (file, name, _) in samples() {
        let isa = identify(&file).unwrap().isa.unwrap_or(Isa::Riscv64);
        let cuts = [1, 2, 3, 5, 17, 63, 64, 65, 100, 500, 4000].into_iter().chain([file.len() - 1]);
        for cut in cuts.filter(|&cut| cut < file.len()) {
            let _ = identify(&file[..cut]);
            let result = Image::parse(file[..cut].to_vec(), isa, LIMIT);
            // The end of a zboot program is not needed; a cut in a magic number makes a raw binary, and of an
            // image only the kernel itself knows how long it is.
            let harmless = name.contains("zboot") && cut + 30 > file.len() || cut <= 5 || file[0] == 0x13;
            let plain = name.ends_with("Linux image");
            assert!(result.is_err() || harmless || plain, "{name} cut to {cut} bytes");
        }
    }
}

#[test]
fn hostile_files() {
    let samples: Vec<Vec<u8>> = samples().into_iter().map(|(file, ..)| file).collect();
    let (mut good, mut bad) = (0, 0);
    for seed in crate::testing::seeds(6000) {
        let mut rng = Rng::new(seed);
        let mut file = samples[rng.below(samples.len())].clone();
        // Most of the damage goes where the headers are.
        let head = file.len().min([64, 256, 1024, usize::MAX][rng.below(4)]);
        let tail = file.split_off(head);
        rng.mutate(&mut file);
        if file.len() == head {
            file.extend(tail);
        }
        let _ = identify(&file);
        match Image::parse(file, Isa::Riscv64, 4 << 20) {
            Ok(image) => {
                good += 1;
                assert!(image.bytes.len() <= 4 << 20 || image.kind.packing.is_empty(), "seed {seed}");
                if let Layout::Segments { segments, .. } = image.layout {
                    let inside = |s: &ElfSegment| image.bytes.get(s.file.clone()).is_some();
                    assert!(segments.iter().all(inside), "seed {seed}");
                }
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 100 && bad > 1000, "{good} good, {bad} bad: the mutations are no use");
}

#[test]
fn files_by_name() {
    let missing = Image::open(Path::new("/nonexistent/kernel"), Isa::Riscv64, LIMIT).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/kernel: cannot be read: "), "{missing}");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/load/tests.rs");
    assert_eq!(identify_file(Path::new(source)).unwrap().format, Format::Raw);
    assert!(identify_file(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err(), "a directory");
}
