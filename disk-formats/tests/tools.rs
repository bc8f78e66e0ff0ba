//! The tools: what they make, and what QEMU's tools think of it.

mod common;

use common::{Rng, assert_clean, assert_same, path, qemu_img, read_all, read_by_qemu};
use disk_formats::{
    ConvertOptions, CreateOptions, DiskOptions, ErrorKind, Format, ResizeOptions, check, convert, create,
    info, open, resize,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SIZE: u64 = (5 << 20) + 512;

/// Content with holes, short runs of zeroes and odd edges.
fn content() -> Vec<u8> {
    let mut rng = Rng(3);
    let mut content = vec![0; SIZE as usize];
    for (start, len) in [(0, 700), (65_536, 4096), (200_000, 1), (1 << 20, 1 << 20), (SIZE - 600, 600)] {
        content[start as usize..(start + len) as usize].copy_from_slice(&rng.bytes(len as usize));
    }
    content
}

fn all_files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn create_makes_what_qemu_makes() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    create(&base, &CreateOptions::new(Format::Raw, 12_345)).unwrap();
    assert_eq!(fs::metadata(&base).unwrap().len(), 12_345);
    for cluster_size in [512, 4096, 65_536, 2 << 20] {
        let image = dir.path().join(format!("image{cluster_size}"));
        let size = 64 << 30;
        create(&image, &CreateOptions { cluster_size, ..CreateOptions::new(Format::Qcow2, size) }).unwrap();
        assert_clean(&image);
        let report = qemu_img(&["info", path(&image)]);
        assert!(report.contains(&format!("{size} bytes")), "{report}");
        assert!(report.contains(&format!("cluster_size: {cluster_size}\n")), "{report}");
    }
    let overlay = dir.path().join("overlay");
    create(&overlay, &CreateOptions::new_overlay("base")).unwrap();
    assert_clean(&overlay);
    let report = qemu_img(&["info", path(&overlay)]);
    assert!(report.contains("backing file format: raw") && report.contains("12800 bytes"), "{report}");
}

#[test]
fn create_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let refuse = |options: CreateOptions, kind: fn(&ErrorKind) -> bool| {
        let error = create(&path, &options).unwrap_err();
        assert!(kind(error.kind()), "{error}");
        assert!(!path.exists());
    };
    let qcow2 =
        |cluster_size, size| CreateOptions { cluster_size, ..CreateOptions::new(Format::Qcow2, size) };
    let invalid: fn(&ErrorKind) -> bool = |kind| matches!(kind, ErrorKind::Invalid(_));
    for cluster_size in [0, 256, 4095, 4 << 20] {
        refuse(qcow2(cluster_size, 1 << 20), invalid);
    }
    refuse(qcow2(512, 1 << 38), invalid);
    refuse(qcow2(65_536, u64::MAX), invalid);
    refuse(CreateOptions::new(Format::Raw, u64::MAX), invalid);
    refuse(CreateOptions { size: None, ..qcow2(65_536, 0) }, invalid);
    refuse(CreateOptions { backing: Some("x".into()), ..CreateOptions::new(Format::Raw, 1) }, invalid);
    refuse(CreateOptions::new_overlay("missing"), |kind| *kind == ErrorKind::Io);
    refuse(CreateOptions::new_overlay("nbd:x"), |kind| matches!(kind, ErrorKind::BackingUnsupported(_)));

    fs::write(&path, "precious").unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        let error = create(&path, &CreateOptions::new(format, 1 << 20)).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Exists);
    }
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn convert_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let content = content();
    fs::write(at("raw"), &content).unwrap();
    let mut last = (0, 0);
    let options = ConvertOptions { cluster_size: 4096, ..ConvertOptions::new(Format::Qcow2) };
    convert(&DiskOptions::new(at("raw")), &at("qcow2"), &options, |done, all| {
        assert!(done >= last.0 && done <= all);
        last = (done, all);
    })
    .unwrap();
    assert_eq!(last, (SIZE, SIZE));
    assert_clean(&at("qcow2"));
    assert_same(&read_by_qemu(&at("qcow2"), "qcow2"), &content, "QCOW2");
    assert!(fs::metadata(at("qcow2")).unwrap().len() < 2 << 20, "zeroes take no space");

    // An overlay is flattened.
    create(&at("overlay"), &CreateOptions { size: Some(2 * SIZE), ..CreateOptions::new_overlay("qcow2") })
        .unwrap();
    let mut model = content.clone();
    model.resize(2 * SIZE as usize, 0);
    common::exercise(&*open(&DiskOptions::new(at("overlay"))).unwrap(), &mut model, &mut Rng(4), 20);
    convert(&DiskOptions::new(at("overlay")), &at("flat"), &ConvertOptions::new(Format::Raw), |_, _| {})
        .unwrap();
    assert_same(&fs::read(at("flat")).unwrap(), &model, "raw");

    // Holes stay holes, on file systems that have them.
    convert(&DiskOptions::new(at("qcow2")), &at("sparse"), &ConvertOptions::new(Format::Raw), |_, _| {})
        .unwrap();
    assert_same(&fs::read(at("sparse")).unwrap(), &content, "sparse");
    assert!(fs::metadata(at("sparse")).unwrap().blocks() * 512 < SIZE / 2);
}

#[test]
fn convert_reads_compressed_images() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let content: Vec<u8> = (0..SIZE).map(|n| (n / 3000) as u8).collect();
    fs::write(at("raw"), &content).unwrap();
    qemu_img(&["convert", "-c", "-O", "qcow2", "-f", "raw", path(&at("raw")), path(&at("compressed"))]);
    convert(&DiskOptions::new(at("compressed")), &at("copy"), &ConvertOptions::new(Format::Raw), |_, _| {})
        .unwrap();
    assert_same(&fs::read(at("copy")).unwrap(), &content, "copy");
    let report = check(&at("compressed"), None).unwrap();
    assert!(report.compressed_clusters > 50 && report.compressed_clusters <= report.allocated_clusters);
}

#[test]
fn convert_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("raw"), content()).unwrap();
    fs::write(at("target"), "precious").unwrap();
    let to_qcow2 = ConvertOptions::new(Format::Qcow2);
    let error = convert(&DiskOptions::new(at("raw")), &at("target"), &to_qcow2, |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Exists);
    assert_eq!(fs::read(at("target")).unwrap(), b"precious");
    // A target that appears meanwhile is not overwritten either.
    let appear = |done, _| {
        if done > 0 {
            fs::write(at("late"), "precious").unwrap();
        }
    };
    let error = convert(&DiskOptions::new(at("raw")), &at("late"), &to_qcow2, appear).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Exists);
    assert_eq!(fs::read(at("late")).unwrap(), b"precious");
    // A source that turns out to be damaged in the middle.
    fs::write(at("words"), b"words and more words ".repeat(100_000)).unwrap();
    qemu_img(&["convert", "-c", "-O", "qcow2", "-f", "raw", path(&at("words")), path(&at("compressed"))]);
    let mut bytes = fs::read(at("compressed")).unwrap();
    let len = bytes.len();
    bytes[len - 1000..].fill(0xff);
    fs::write(at("compressed"), bytes).unwrap();
    convert(&DiskOptions::new(at("compressed")), &at("copy"), &to_qcow2, |_, _| {}).unwrap_err();
    assert_eq!(all_files(dir.path()), ["compressed", "late", "raw", "target", "words"]);
}

#[test]
fn info_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("raw"), content()).unwrap();
    create(&at("image"), &CreateOptions { cluster_size: 4096, ..CreateOptions::new_overlay("raw") }).unwrap();
    qemu_img(&["snapshot", "-c", "one", path(&at("image"))]);
    // In use or not does not matter.
    let _writer = open(&DiskOptions::new(at("image"))).unwrap();
    let info = info(&at("image"), None).unwrap();
    assert_eq!((info.format, info.virtual_size, info.snapshots), (Format::Qcow2, SIZE, 1));
    assert_eq!((info.cluster_size, info.refcount_bits, info.version), (Some(4096), Some(16), Some(3)));
    let backing = info.backing.as_ref().unwrap();
    assert_eq!((backing.reference.as_str(), backing.format.as_deref()), ("raw", Some("raw")));
    assert_eq!(backing.path, Some(at("raw")));
    assert!(info.allocated_size > 0 && info.file_size > 0);
    let text = info.to_string();
    assert!(text.contains("backing file: raw (raw)") && text.contains("cluster size: 4 KiB"), "{text}");

    let raw = disk_formats::info(&at("raw"), None).unwrap();
    assert_eq!((raw.format, raw.virtual_size, raw.cluster_size), (Format::Raw, SIZE, None));
}

#[test]
fn check_counts_what_qemu_counts() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let options = CreateOptions { cluster_size: 4096, ..CreateOptions::new(Format::Qcow2, SIZE) };
    create(&image, &options).unwrap();
    open(&DiskOptions::new(&image)).unwrap().write_at(0, &content()).unwrap();
    assert_clean(&image);
    let good = fs::read(&image).unwrap();
    let mut rng = Rng(5);
    let be = |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    for _ in 0..40 {
        let mut bytes = good.clone();
        let refblock = be(&bytes, be(&bytes, 48) as usize) as usize;
        let l2 = (be(&bytes, be(&bytes, 40) as usize) & 0x00ff_ffff_ffff_fe00) as usize;
        // Refcounts too high and too low, data that is not referred to any more, a flag.
        for _ in 0..=rng.below(3) {
            let n = rng.below(200) as usize;
            match rng.below(4) {
                0 => bytes[refblock + 2 * n + 1] = 0,
                1 => bytes[refblock + 2 * n + 1] = 2,
                2 => bytes[l2 + 8 * n..][..8].fill(0),
                _ => bytes[l2 + 8 * n] ^= 0x80,
            }
        }
        fs::write(&image, &bytes).unwrap();
        let json = common::qemu_img_output(&["check", "-f", "qcow2", "--output=json", path(&image)]).stdout;
        let json = String::from_utf8(json).unwrap();
        let number = |key: &str| -> u64 {
            let Some((_, rest)) = json.split_once(&format!("\"{key}\": ")) else { return 0 };
            rest.split([',', '\n']).next().unwrap().trim().parse().unwrap()
        };
        let report = check(&image, None).unwrap();
        assert_eq!(
            (report.leaks, report.errors),
            (number("leaks"), number("corruptions")),
            "{json}\n{report}"
        );
        assert_eq!(report.total_clusters, number("total-clusters"));
        assert_eq!(report.is_clean(), report.problems.is_empty());
    }
    assert!(matches!(check(&image, Some(Format::Raw)).unwrap_err().kind(), ErrorKind::Invalid(_)));
}

#[test]
fn check_knows_snapshots_and_bitmaps() {
    let dir = tempfile::tempdir().unwrap();
    for (n, options) in
        ["compat=1.1", "compat=0.10", "refcount_bits=8", "refcount_bits=2"].into_iter().enumerate()
    {
        let image = dir.path().join(format!("image{n}"));
        qemu_img(&["create", "-f", "qcow2", "-o", options, path(&image), "64M"]);
        let disk = || open(&DiskOptions::new(&image)).unwrap();
        disk().write_at(123, &content()).unwrap();
        qemu_img(&["snapshot", "-c", "a long name for a snapshot", path(&image)]);
        disk().write_at(1 << 20, &content()).unwrap();
        qemu_img(&["snapshot", "-c", "two", path(&image)]);
        disk().discard(0, 3 << 20).unwrap();
        if options != "compat=0.10" {
            qemu_img(&["bitmap", "--add", path(&image), "bits"]);
        }
        assert_clean(&image);
    }
}

#[test]
fn resize_grows_with_zeroes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let content = vec![0x55; SIZE as usize];
    fs::write(at("base"), &content).unwrap();
    let grow = |image: &Path, size| resize(&DiskOptions::new(image), ResizeOptions { size, shrink: false });

    for format in [Format::Raw, Format::Qcow2] {
        let image = at(&format.to_string());
        convert(&DiskOptions::new(at("base")), &image, &ConvertOptions::new(format), |_, _| {}).unwrap();
        grow(&image, 2 * SIZE).unwrap();
        let mut model = content.clone();
        model.resize(2 * SIZE as usize, 0);
        assert_same(&read_by_qemu(&image, &format.to_string()), &model, "grown");
        grow(&image, 2 * SIZE).unwrap();
    }
    assert_clean(&at("qcow2"));

    // What a longer backing file has beyond the old end does not appear, not even in the last cluster.
    for size in [SIZE - 100_352, 3 << 20] {
        let image = at(&format!("overlay{size}"));
        create(&image, &CreateOptions { size: Some(size), ..CreateOptions::new_overlay("base") }).unwrap();
        let disk = open(&DiskOptions::new(&image)).unwrap();
        disk.write_at(size - 10, &[0x66; 10]).unwrap(); // copies the rest of the cluster
        drop(disk);
        grow(&image, SIZE).unwrap();
        let mut model = content.clone();
        model[size as usize - 10..size as usize].fill(0x66);
        model[size as usize..].fill(0);
        assert_same(&read_all(&*open(&DiskOptions::new(&image)).unwrap()), &model, "overlay");
        assert_same(&read_by_qemu(&image, "qcow2"), &model, "overlay, as QEMU reads it");
        assert_clean(&image);
    }
}

#[test]
fn resize_shrinks_only_if_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let content = vec![0x55; SIZE as usize];
    fs::write(at("base"), &content).unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        let image = at(&format.to_string());
        convert(&DiskOptions::new(at("base")), &image, &ConvertOptions::new(format), |_, _| {}).unwrap();
        let options = DiskOptions::new(&image);
        let small = 1_000_448;
        let error = resize(&options, ResizeOptions { size: small, shrink: false }).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
        resize(&options, ResizeOptions { size: small, shrink: true }).unwrap();
        assert_same(&read_by_qemu(&image, &format.to_string()), &content[..small as usize], "shrunk");
        // What was cut off does not come back.
        resize(&options, ResizeOptions { size: SIZE, shrink: false }).unwrap();
        let mut model = content[..small as usize].to_vec();
        model.resize(SIZE as usize, 0);
        assert_same(&read_all(&*open(&options).unwrap()), &model, "grown again");
    }
    let image = at("qcow2");
    assert_clean(&image);
    qemu_img(&["snapshot", "-c", "one", path(&image)]);
    let error = resize(&DiskOptions::new(&image), ResizeOptions { size: 512, shrink: true }).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    let huge = ResizeOptions { size: u64::MAX, shrink: false };
    let error = resize(&DiskOptions::new(&image), huge).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
}
