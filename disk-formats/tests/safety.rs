//! Who may open what: locks, encryption, unsupported features, backing files, formats, the ends of a disk.

mod common;

use common::{Rng, path, qemu_img, qemu_img_output, read_all};
use disk_formats::{
    Bounce, ConvertOptions, CreateOptions, DiskOptions, Error, ErrorKind, Format, MAX_CHAIN, Op,
    ResizeOptions, check, convert, create, info, open, resize,
};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

fn refused(options: &DiskOptions) -> Error {
    match open(options) {
        Ok(_) => panic!("{} opened", options.path.display()),
        Err(error) => error,
    }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Dir(tempfile::tempdir().unwrap())
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn image(&self, name: &str, format: Format, size: u64) -> PathBuf {
        let path = self.at(name);
        create(&path, &CreateOptions::new(format, size)).unwrap();
        path
    }
}

#[test]
fn one_writer_or_many_readers() {
    let dir = Dir::new();
    for format in [Format::Raw, Format::Qcow2] {
        let image = dir.image(&format.to_string(), format, 1 << 20);
        let (write, read) = (DiskOptions::new(&image), DiskOptions::new_read_only(&image));
        let snapshot = DiskOptions { snapshot: true, ..write.clone() };
        let in_use = |options: &DiskOptions| {
            let error = refused(options);
            assert!(matches!(error.kind(), ErrorKind::InUse { .. }), "{error}");
        };
        {
            let _writer = open(&write).unwrap();
            [&write, &read, &snapshot].into_iter().for_each(in_use);
        }
        {
            let _reader = (open(&read).unwrap(), open(&snapshot).unwrap(), open(&read).unwrap());
            in_use(&write);
            let error = resize(&write, ResizeOptions { size: 2 << 20, shrink: false }).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InUse { .. }), "{error}");
        }
        open(&write).unwrap();
    }
}

/// QEMU respects our locks and we respect QEMU's.
#[test]
fn locks_are_those_of_qemu() {
    let dir = Dir::new();
    for format in [Format::Raw, Format::Qcow2] {
        let name = format.to_string();
        let image = dir.image(&name, format, 1 << 20);
        let qemu_reads =
            || qemu_img_output(&["compare", "-f", &name, "-F", &name, path(&image), path(&image)]);
        let qemu_writes = || qemu_img_output(&["resize", "-f", &name, path(&image), "2M"]);
        {
            let _writer = open(&DiskOptions::new(&image)).unwrap();
            // QEMU's readers of raw images bear writers beside them.
            let reader = (format == Format::Qcow2).then(qemu_reads);
            for output in reader.into_iter().chain([qemu_writes()]) {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && text.contains("lock"), "{text}");
            }
        }
        {
            let _reader = open(&DiskOptions::new_read_only(&image)).unwrap();
            assert!(qemu_reads().status.success());
            assert!(!qemu_writes().status.success());
        }
        assert!(qemu_reads().status.success() && qemu_writes().status.success());

        // The other way round: QEMU holds the image open for as long as its standard input is.
        let mut qemu = QemuIo::open(&image, &name);
        let error = refused(&DiskOptions::new(&image));
        assert!(matches!(error.kind(), ErrorKind::InUse { .. }), "{error}");
        let error = refused(&DiskOptions::new_read_only(&image));
        assert!(matches!(error.kind(), ErrorKind::InUse { .. }), "{error}");
        qemu.close();
        open(&DiskOptions::new(&image)).unwrap();
    }
}

/// A QEMU process that has an image open for writing: `qemu-io`, which is in the package of `qemu-img`.
struct QemuIo(std::process::Child);

impl QemuIo {
    fn open(image: &Path, format: &str) -> Self {
        use std::io::{BufRead, BufReader, Write};
        use std::process::{Command, Stdio};
        let mut child = Command::new("qemu-io")
            .args(["-f", format, path(image)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need qemu-io: install the package qemu-utils");
        writeln!(child.stdin.as_mut().unwrap(), "length").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        QemuIo(child)
    }

    fn close(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn encrypted_images_are_refused() {
    let dir = Dir::new();
    let image = dir.at("luks.qcow2");
    qemu_img(&[
        "create",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        path(&image),
        "1M",
    ]);
    for options in [DiskOptions::new(&image), DiskOptions::new_read_only(&image)] {
        let error = refused(&options);
        assert_eq!(error.kind(), &ErrorKind::Encrypted("LUKS"));
        assert!(error.to_string().contains("qemu-img convert"), "{error}");
    }
    assert_eq!(info(&image, None).unwrap().encryption, Some("LUKS"));
    assert!(matches!(check(&image, None).unwrap_err().kind(), ErrorKind::Encrypted(_)));
    // The same of a backing file.
    let top = dir.at("top.qcow2");
    let error = create(&top, &CreateOptions::new_overlay("luks.qcow2")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Encrypted(_)), "{error}");
    assert!(!top.exists());
}

#[test]
fn unsupported_features_say_what_to_do() {
    let dir = Dir::new();
    let data = dir.at("data");
    let external = format!("data_file={}", path(&data));
    for (name, options) in [
        ("zstd compression", "compression_type=zstd"),
        ("extended L2", "extended_l2=on"),
        ("external data file", &external),
    ] {
        let image = dir.at("image");
        qemu_img(&["create", "-f", "qcow2", "-o", options, path(&image), "1M"]);
        let error = refused(&DiskOptions::new_read_only(&image));
        assert!(
            matches!(error.kind(), ErrorKind::UnsupportedFeature(what) if what.contains(name)),
            "{error}"
        );
        assert!(error.to_string().contains("qemu-img convert"), "{error}");
        assert!(info(&image, None).unwrap().to_string().contains(name));
    }
    let image = dir.image("marked", Format::Qcow2, 1 << 20);
    set_byte(&image, 79, 2);
    let error = refused(&DiskOptions::new(&image));
    assert_eq!(error.kind(), &ErrorKind::MarkedCorrupt);
    assert!(error.to_string().contains("qemu-img check -r all"), "{error}");
    assert_eq!(check(&image, None).unwrap().errors, 1);
    assert!(info(&image, None).unwrap().corrupt);
}

fn set_byte(image: &Path, at: u64, value: u8) {
    fs::File::options().write(true).open(image).unwrap().write_all_at(&[value], at).unwrap();
}

/// An image that was not closed is read as it is, and gets its refcounts put right to be written to.
#[test]
fn dirty_images_are_repaired() {
    for options in ["refcount_bits=16", "refcount_bits=1", "refcount_bits=64", "compat=0.10"] {
        let dir = Dir::new();
        let image = dir.at("image");
        qemu_img(&["create", "-f", "qcow2", "-o", "cluster_size=4k", "-o", options, path(&image), "64M"]);
        let content = Rng(8).bytes(9 << 20);
        open(&DiskOptions::new(&image)).unwrap().write_at(100, &content).unwrap();
        if options == "refcount_bits=16" {
            qemu_img(&["snapshot", "-c", "one", path(&image)]);
        }
        common::assert_clean(&image);

        let mut bytes = fs::read(&image).unwrap();
        let be = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (reftable, l1) = (be(48), be(40));
        let (refblock, second, l2) = (be(reftable), be(reftable + 8), be(l1) & 0x00ff_ffff_ffff_fe00);
        // Refcounts lost, one block of them altogether, and flags.
        bytes[refblock..refblock + 300].fill(0);
        bytes[refblock + 400..refblock + 410].fill(0xff);
        if second != 0 {
            bytes[reftable + 8..reftable + 16].fill(0);
        }
        bytes[l1] ^= 0x80;
        bytes[l2 + 80] ^= 0x80;
        if options != "compat=0.10" {
            bytes[79] |= 1;
        }
        fs::write(&image, &bytes).unwrap();
        assert!(!check(&image, None).unwrap().is_clean());
        assert_eq!(info(&image, None).unwrap().dirty, options != "compat=0.10");

        let mut found = vec![0; content.len()];
        let reader = open(&DiskOptions::new_read_only(&image)).unwrap();
        reader.read_at(100, &mut found).unwrap();
        assert!(found == content && fs::read(&image).unwrap() == bytes, "reading changes nothing");
        drop(reader);

        let writer = open(&DiskOptions::new(&image)).unwrap();
        writer.read_at(100, &mut found).unwrap();
        assert!(found == content);
        common::assert_clean_though_in_use(&image);
        writer.write_at(32 << 20, &[1; 100]).unwrap();
        writer.flush().unwrap();
        assert!(
            info(&image, None).unwrap().dirty || options == "compat=0.10",
            "marked while it is written to"
        );
        drop(writer);
        assert!(!info(&image, None).unwrap().dirty);
        common::assert_clean(&image);
    }
    // What is not about refcounts is not touched.
    let dir = Dir::new();
    let image = dir.image("image", Format::Qcow2, 1 << 30);
    open(&DiskOptions::new(&image)).unwrap().write_at(0, &[1; 1 << 20]).unwrap();
    let mut bytes = fs::read(&image).unwrap();
    let be = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let l2 = be(be(40)) & 0x00ff_ffff_ffff_fe00;
    bytes[l2 + 8 + 3] = 0xff; // far beyond the end of the file
    bytes[79] |= 1;
    fs::write(&image, &bytes).unwrap();
    let error = refused(&DiskOptions::new(&image));
    assert!(matches!(error.kind(), ErrorKind::Corrupt(_)), "{error}");
    assert!(fs::read(&image).unwrap() == bytes);
}

#[test]
fn damaged_images_are_refused() {
    let dir = Dir::new();
    let good = fs::read(dir.image("good", Format::Qcow2, 1 << 30)).unwrap();
    let be = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().unwrap());
    let (reftable, l1) = (be(48) as usize, be(40) as usize);
    let image = dir.at("image");
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&image, &bytes).unwrap();
        let error = refused(&DiskOptions::new(&image));
        assert!(matches!(error.kind(), ErrorKind::Corrupt(_)), "{error}");
    };
    damaged(&|bytes| bytes.truncate(65536));
    damaged(&|bytes| bytes.truncate(90));
    damaged(&|bytes| bytes[39] = 1); // an L1 table too short for the disk
    damaged(&|bytes| bytes[reftable..reftable + 8].fill(0)); // no refcounts at all: imago recursed for ever
    damaged(&|bytes| bytes[reftable + 4] = 1); // a refcount block beyond the end
    damaged(&|bytes| bytes.copy_within(reftable..reftable + 8, reftable + 8)); // a block used twice
    damaged(&|bytes| bytes.copy_within(reftable..reftable + 8, l1)); // an L2 table that is a refcount block
    damaged(&|bytes| bytes[l1 + 6] = 2); // an L2 table at no cluster
    fs::write(&image, &good).unwrap();
    open(&DiskOptions::new(&image)).unwrap();
}

#[test]
fn only_disks_are_opened() {
    let dir = Dir::new();
    let fifo = dir.at("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [&fifo, &dir.at(""), Path::new("/dev/zero")] {
        let error = refused(&DiskOptions::new_read_only(path));
        assert!(matches!(error.kind(), ErrorKind::NotADisk(_)), "{error}");
    }
    let error = refused(&DiskOptions::new(dir.at("missing")));
    assert_eq!((error.kind(), error.op()), (&ErrorKind::Io, Op::Open));
}

#[test]
fn backing_files_stay_in_their_directory() {
    let dir = Dir::new();
    fs::create_dir_all(dir.at("vm")).unwrap();
    dir.image("vm/base", Format::Raw, 1 << 20);
    dir.image("outside", Format::Raw, 1 << 20);
    let top = dir.at("vm/top");
    let make = |backing: &str, format: &str| {
        let _ = fs::remove_file(&top);
        qemu_img(&["create", "-u", "-f", "qcow2", "-b", backing, "-F", format, path(&top), "1M"]);
    };
    make("base", "raw");
    open(&DiskOptions::new(&top)).unwrap();

    for outside in ["../outside", path(&dir.at("outside")), "/etc/passwd"] {
        make(outside, "raw");
        let error = refused(&DiskOptions::new(&top));
        assert!(matches!(error.kind(), ErrorKind::BackingDenied(_)), "{error}");
        let snapshot = DiskOptions { snapshot: true, ..DiskOptions::new(&top) };
        assert!(matches!(refused(&snapshot).kind(), ErrorKind::BackingDenied(_)));
        let copy =
            convert(&DiskOptions::new(&top), &dir.at("copy"), &ConvertOptions::new(Format::Raw), |_, _| {});
        assert!(matches!(copy.unwrap_err().kind(), ErrorKind::BackingDenied(_)));
    }
    make("../outside", "raw");
    let allowed = DiskOptions { allow_backing: vec![dir.at("outside")], ..DiskOptions::new(&top) };
    open(&allowed).unwrap();

    symlink(dir.at("outside"), dir.at("vm/link")).unwrap();
    make("link", "raw");
    assert!(matches!(refused(&DiskOptions::new(&top)).kind(), ErrorKind::BackingDenied(_)));

    for (odd, format) in [("nbd://localhost:10809/", "raw"), ("json:{\"driver\":\"null-co\"}", "raw")] {
        make(odd, format);
        assert!(matches!(refused(&DiskOptions::new(&top)).kind(), ErrorKind::BackingUnsupported(_)));
    }
    make("base", "vmdk");
    assert!(matches!(refused(&DiskOptions::new(&top)).kind(), ErrorKind::UnsupportedFeature(_)));
    // A device, even if its directory is allowed.
    make("/dev/zero", "raw");
    let device = DiskOptions { allow_backing: vec!["/dev".into()], ..DiskOptions::new(&top) };
    assert!(matches!(refused(&device).kind(), ErrorKind::NotADisk(_)));
    // A damaged backing file is named, and what refers to it.
    fs::write(dir.at("vm/base"), b"QFI\xfb\0\0\0\x03").unwrap();
    make("base", "qcow2");
    let text = refused(&DiskOptions::new(&top)).to_string();
    assert!(text.contains("vm/base (backing file of") && text.contains("vm/top"), "{text}");
}

#[test]
fn backing_chains_end() {
    let dir = Dir::new();
    let names: Vec<_> = (0..=MAX_CHAIN).map(|n| format!("image{n}")).collect();
    dir.image(&names[0], Format::Qcow2, 1 << 20);
    for pair in names[..MAX_CHAIN].windows(2) {
        create(&dir.at(&pair[1]), &CreateOptions::new_overlay(&pair[0])).unwrap();
    }
    let last = dir.at(&names[MAX_CHAIN - 1]);
    open(&DiskOptions::new(&last)).unwrap();
    let longer = dir.at(&names[MAX_CHAIN]);
    let make = |image: &Path, backing: &Path| {
        qemu_img(&["create", "-u", "-f", "qcow2", "-b", path(backing), "-F", "qcow2", path(image), "1M"]);
    };
    make(&longer, &last);
    assert_eq!(refused(&DiskOptions::new(&longer)).kind(), &ErrorKind::BackingTooDeep(MAX_CHAIN));
    // An image that is its own backing file, by way of another name.
    let alias = dir.at("alias");
    symlink(&longer, &alias).unwrap();
    make(&longer, &alias);
    assert_eq!(refused(&DiskOptions::new(&longer)).kind(), &ErrorKind::BackingTooDeep(MAX_CHAIN));
}

#[test]
fn formats_are_probed_and_kept() {
    let dir = Dir::new();
    let image = dir.at("image");
    for (magic, name) in [
        (&b"KDMV"[..], "VMDK"),
        (b"vhdxfile", "VHDX"),
        (b"\xfd7zXZ\0", "xz-compressed"),
        (b"QFI\xfb\0\0\0\x01", "QCOW"),
    ] {
        let mut bytes = vec![0; 4096];
        bytes[..magic.len()].copy_from_slice(magic);
        fs::write(&image, &bytes).unwrap();
        let error = refused(&DiskOptions::new(&image));
        assert!(matches!(error.kind(), ErrorKind::UnsupportedFormat(what) if what.contains(name)), "{error}");
        assert!(matches!(check(&image, None).unwrap_err().kind(), ErrorKind::UnsupportedFormat(_)));
        assert!(matches!(info(&image, None).unwrap_err().kind(), ErrorKind::UnsupportedFormat(_)));
        // Asked for as raw, it is.
        let raw = DiskOptions { format: Some(Format::Raw), ..DiskOptions::new(&image) };
        assert_eq!(read_all(&*open(&raw).unwrap()), bytes);
    }
    let qcow2 = DiskOptions { format: Some(Format::Qcow2), ..DiskOptions::new(&image) };
    fs::write(&image, vec![0; 4096]).unwrap();
    assert_eq!(refused(&qcow2).kind(), &ErrorKind::NotQcow2);
}

/// The guest of a raw image that was only taken for one cannot turn it into something else.
#[test]
fn guests_do_not_choose_the_format() {
    let dir = Dir::new();
    let image = dir.image("image", Format::Raw, 1 << 20);
    let header = fs::read(dir.image("evil", Format::Qcow2, 1 << 20)).unwrap();
    let disk = open(&DiskOptions::new(&image)).unwrap();
    let change = |result: disk_formats::Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::FormatChange(_)), "{error}");
    };
    change(disk.write_at(0, &header[..4096]));
    disk.write_at(0, b"QF").unwrap();
    change(disk.write_at(2, &header[2..600]));
    disk.write_at(64, b"VDI or not").unwrap();
    change(disk.write_at(64, b"\x7f\x10\xda\xbe"));
    // LUKS is the guest's own business.
    disk.write_at(0, b"LUKS\xba\xbe\0\x01").unwrap();
    drop(disk);

    let known = DiskOptions { format: Some(Format::Raw), ..DiskOptions::new(&image) };
    open(&known).unwrap().write_at(0, &header[..4096]).unwrap();
    assert_eq!(info(&image, None).unwrap().format, Format::Qcow2, "now the format has to be given");
    open(&known).unwrap();
}

#[test]
fn accesses_end_with_the_disk() {
    let dir = Dir::new();
    for format in [Format::Raw, Format::Qcow2] {
        let image = dir.image(&format.to_string(), format, 10_240);
        let before = fs::metadata(&image).unwrap().len();
        let disk = open(&DiskOptions::new(&image)).unwrap();
        let mut buffer = [1; 1024];
        for offset in [10_240 - 1023, 10_240, u64::MAX - 10] {
            for result in [
                disk.read_at(offset, &mut buffer),
                disk.write_at(offset, &buffer),
                disk.discard(offset, 1024),
                disk.write_zeroes(offset, 1024, true),
            ] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), &ErrorKind::OutOfRange { length: 1024, size: 10_240 });
                assert_eq!((error.offset(), error.path()), (Some(offset), &*image));
            }
        }
        disk.read_at(10_240, &mut []).unwrap();
        disk.write_at(10_240 - 1024, &buffer).unwrap();
        drop(disk);
        assert!(format == Format::Qcow2 || fs::metadata(&image).unwrap().len() == before);

        let disk = open(&DiskOptions::new_read_only(&image)).unwrap();
        assert!(disk.read_only());
        for result in [disk.write_at(0, &buffer), disk.discard(0, 1), disk.write_zeroes(0, 1, false)] {
            assert_eq!(result.unwrap_err().kind(), &ErrorKind::ReadOnly);
        }
        disk.flush().unwrap();
    }
}

/// Disks smaller than a cluster, and sizes that are no multiple of one.
#[test]
fn tiny_disks() {
    let dir = Dir::new();
    for (n, size) in [0, 512, 1536, 65_024, 66_048].into_iter().enumerate() {
        let image = dir.image(&format!("{n}"), Format::Qcow2, size);
        let mut model = vec![0; size as usize];
        for snapshot in [false, true] {
            let disk = open(&DiskOptions { snapshot, ..DiskOptions::new(&image) }).unwrap();
            if size > 0 {
                common::exercise(&*disk, &mut model.clone(), &mut Rng(size), 100);
                if !snapshot {
                    disk.read_at(0, &mut model).unwrap();
                }
            }
            let zeroes = disk.write_zeroes(0, size, true);
            zeroes.unwrap();
            disk.write_at(0, &model).unwrap();
        }
        common::assert_clean(&image);
        assert_eq!(common::read_by_qemu(&image, "qcow2"), model);
    }
}

#[test]
fn guest_memory_goes_through_a_bounce_buffer() {
    let dir = Dir::new();
    let disk = open(&DiskOptions::new(dir.image("image", Format::Qcow2, 4 << 20))).unwrap();
    let mut memory = Rng(1).bytes(1 << 20);
    let content = memory.clone();
    let slice = vm_memory::VolatileSlice::from(&mut memory[..]);
    let mut bounce = Bounce::new();
    bounce.write(&*disk, 1000, &[slice]).unwrap();
    let mut back = vec![0; 1 << 20];
    disk.read_at(1000, &mut back).unwrap();
    assert_eq!(back, content);
}
