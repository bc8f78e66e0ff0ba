use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;
use crate::test_packages::{ar, deb, tar_of, xz};
use crate::tests::hostile_bytes;

fn names(deb: &[u8]) -> Result<Vec<String>> {
    Ok(read_files(deb, "test", |_| true)?.into_iter().map(|file| file.path).collect())
}

fn reason(deb: &[u8]) -> String {
    names(deb).unwrap_err().to_string()
}

/// A package whose tar archive `fill` makes.
fn deb_with(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    fill(&mut tar);
    deb_of("data.tar", &tar.into_inner().unwrap())
}

fn deb_of(member: &str, data: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (member, data)])
}

fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    // As bytes, for the library refuses what these tests are about.
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header.set_cksum();
    header
}

#[test]
fn files_are_read_and_links_passed_over() {
    let bytes = deb_with(|tar| {
        tar.append(&header("./usr/bin/", EntryType::Directory, 0), &b""[..]).unwrap();
        tar.append(&header("./usr/bin/tool", EntryType::Regular, 4), &b"tool"[..]).unwrap();
        tar.append(&header("./usr/bin/link", EntryType::Symlink, 0), &b""[..]).unwrap();
        tar.append(&header("./usr/bin/hard", EntryType::Link, 0), &b""[..]).unwrap();
        tar.append(&header("./dev/null", EntryType::Char, 0), &b""[..]).unwrap();
        let mut plain = header("/etc/plain", EntryType::Regular, 3);
        plain.set_mode(0o644);
        plain.set_cksum();
        tar.append(&plain, &b"abc"[..]).unwrap();
    });
    let files = read_files(&bytes[..], "test", |_| true).unwrap();
    let tool = File { path: "usr/bin/tool".into(), executable: true, content: b"tool".to_vec() };
    let plain = File { path: "etc/plain".into(), executable: false, content: b"abc".to_vec() };
    assert_eq!(files, [tool, plain]);
    let wanted = read_files(&bytes[..], "test", |path| path.starts_with("etc")).unwrap();
    assert_eq!(wanted.len(), 1);
}

#[test]
fn all_compressions_of_packages_are_read() {
    let tar = tar_of(&[("a/b", b"content")]);
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(&tar).unwrap();
    let zst = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    let forms = [
        ("data.tar", tar.clone()),
        ("data.tar.gz", gz.finish().unwrap()),
        ("data.tar.xz", xz(&tar)),
        ("data.tar.zst", zst),
    ];
    for (member, data) in forms {
        assert_eq!(names(&deb_of(member, &data)).unwrap(), ["a/b"], "{member}");
        // Members may be named the GNU way, with a slash.
        assert!(data.len() < 16 || names(&deb_of(&format!("{member}/"), &data)).is_ok());
        let cut = names(&deb_of(member, &data[..data.len() / 3]));
        assert!(cut.is_err(), "{member} cut off was read as {cut:?}");
    }
    assert!(reason(&deb_of("data.tar.lz4", &tar)).contains("not supported"));
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for path in ["../etc/passwd", "./a/../../b", "a/..", ".."] {
        let bytes = deb_with(|tar| {
            tar.append(&header(path, EntryType::Regular, 1), &b"x"[..]).unwrap();
        });
        assert!(reason(&bytes).contains("leads out of the tree"), "{path}");
    }
    let by_long_name = deb_with(|tar| {
        tar.append(&header("././@LongLink", EntryType::GNULongName, 5), &b"../x\0"[..]).unwrap();
        tar.append(&header("x", EntryType::Regular, 1), &b"x"[..]).unwrap();
    });
    assert!(reason(&by_long_name).contains("leads out of the tree"));
}

#[test]
fn long_names_are_read_up_to_a_limit() {
    let path = format!("./{}end", "directory/".repeat(30));
    assert_eq!(names(&deb(&[(&path, b"x")])).unwrap(), [&path[2..]]);
    let endless = deb_with(|tar| {
        let name = vec![b'a'; PATH_LIMIT as usize + 1];
        tar.append(&header("././@LongLink", EntryType::GNULongName, name.len() as u64), &name[..]).unwrap();
    });
    assert!(reason(&endless).contains("too long"));
}

#[test]
fn unknown_entries_and_false_sizes_are_refused() {
    let pax = deb_with(|tar| tar.append(&header("x", EntryType::XHeader, 3), &b"a=b"[..]).unwrap());
    assert!(reason(&pax).contains("unknown tar entry type"));
    let mut huge = header("huge", EntryType::Regular, FILE_LIMIT + 1).as_bytes().to_vec();
    huge.extend([0; 512]);
    assert!(reason(&deb_of("data.tar", &huge)).contains("larger than"));
    let mut cut = header("cut", EntryType::Regular, 5000).as_bytes().to_vec();
    cut.extend([0; 512]);
    assert!(reason(&deb_of("data.tar", &cut)).contains("ends within"));
}

#[test]
fn what_is_no_package_is_refused() {
    assert!(reason(b"").contains("not an ar archive"));
    assert!(reason(b"!<arch>\n").contains("no data.tar"));
    assert!(reason(&ar(&[("other", b"")])).contains("first member"));
    assert!(reason(&ar(&[("debian-binary", b"2.0\n")])).contains("no data.tar"));
    let good = deb(&[("a", b"x")]);
    assert!(reason(&good[..70]).contains("ends within its member"));
    assert!(reason(&good[..100]).contains("ends within"));
    let number = [&good[..8 + 48], b"lots", &good[8 + 52..]].concat();
    assert!(reason(&number).contains("not a number"));
}

#[test]
fn a_compression_bomb_is_stopped() {
    // 1 MiB of zeros takes a few hundred bytes.
    let bomb = xz(&vec![0; 1 << 20]);
    assert!(bomb.len() < 1000);
    assert!(matches!(unxz(&bomb, 1000, "bomb"), Err(Error::TooLarge { .. })));
    assert_eq!(unxz(&bomb, 1 << 20, "bomb").unwrap().len(), 1 << 20);
    // A dictionary of 1 GiB, claimed by the block header's filter properties (0xff x 0.5 binary order steps).
    let mut claim = bomb.clone();
    let filter = claim.windows(3).position(|w| w[0] == 0x21 && w[1] == 1).unwrap();
    claim[filter + 2] = 36;
    assert!(unxz(&claim, 1 << 20, "claim").is_err());
}

#[test]
fn patterns() {
    for (pattern, path) in [
        ("a/b", "a/b"),
        ("a/*", "a/b"),
        ("a/*.bin", "a/fw_jump.bin"),
        ("*/x*z/*", "a/xyz/c"),
        ("a*b*c", "a1b2b3c"),
        ("*", ""),
    ] {
        assert!(matches(pattern, path), "{pattern} {path}");
    }
    for (pattern, path) in [
        ("a/*", "a/b/c"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("ab*ba", "aba"),
        ("*.bin", "a.binx"),
        ("a*b*c", "acb"),
    ] {
        assert!(!matches(pattern, path), "{pattern} {path}");
    }
}

#[test]
fn hostile_packages_are_read_without_panic() {
    let content: &[(&str, &[u8])] = &[("./usr/bin/a", b"content"), ("./b", &[7; 600])];
    let plain = deb_of("data.tar", &tar_of(content));
    for seed in [plain, deb(content)] {
        hostile_bytes(&seed, |bytes| {
            if let Ok(files) = read_files(bytes, "test", |_| true) {
                assert!(files.iter().all(|file| !file.path.split('/').any(|part| part == "..")));
            }
        });
    }
}

#[test]
fn packages_are_unpacked_for_dpkg() {
    let tar = tar_of(&[("./a/b", b"content"), ("./c", b"more")]);
    for odd in [b"odd".as_slice(), b"even"] {
        let packed = ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", odd), ("data.tar.xz", &xz(&tar))]);
        let plain = unpacked(&packed[..], "test").unwrap();
        let expected = ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", odd), ("data.tar", &tar)]);
        // How dates and owners of members are written matters to nobody.
        assert_eq!(plain.len(), expected.len());
        assert_eq!(names(&plain).unwrap(), ["a/b", "c"]);
        assert_eq!(unpacked(&plain[..], "test").unwrap(), plain, "nothing is left to do");
        for cut in [packed.len() / 2, 80, 7] {
            assert!(unpacked(&packed[..cut], "test").is_err(), "{cut}");
        }
    }
    hostile_bytes(&deb(&[("a/b", b"content")]), |bytes| {
        let _ = unpacked(bytes, "test");
    });
}
