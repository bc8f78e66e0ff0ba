use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const CONTENT: &[u8] = b"what is kept";

fn directory() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("below/translations");
    (root, path)
}

fn files(path: &Path) -> io::Result<Files> {
    Files::open(path, "a CPU", "a host")
}

fn kept(path: &Path) -> Result<Vec<u8>, io::ErrorKind> {
    files(path).and_then(|files| files.read()).map_err(|error| error.kind())
}

/// A directory with something kept, and the file that it is in.
fn with_content() -> (TempDir, PathBuf, PathBuf) {
    let (root, path) = directory();
    let files = files(&path).unwrap();
    files.save(CONTENT.to_vec()).unwrap();
    let file = path.join(&files.name);
    (root, path, file)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_saved_is_read() {
    let (_root, path) = directory();
    assert_eq!(kept(&path), Err(io::ErrorKind::NotFound));
    for content in [CONTENT, b"", b"something else"] {
        files(&path).unwrap().save(content.to_vec()).unwrap();
        assert_eq!(kept(&path), Ok(content.to_vec()));
    }
    assert_eq!(mode(&path), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].ends_with(SUFFIX) && names[1] == KEY, "{names:?}");
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused() {
    let (_root, path, file) = with_content();
    let whole = fs::read(&file).unwrap();
    for len in 0..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        assert_eq!(kept(&path), Err(io::ErrorKind::InvalidData), "{len} bytes");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert_eq!(kept(&path), Err(io::ErrorKind::InvalidData), "byte {at}");
    }
    // It is replaced at the end of a run.
    files(&path).unwrap().save(CONTENT.to_vec()).unwrap();
    assert_eq!(kept(&path), Ok(CONTENT.to_vec()));
    // A larger one is not even read.
    File::options().write(true).open(&file).unwrap().set_len(MOST_BYTES + 1).unwrap();
    assert_eq!(kept(&path), Err(io::ErrorKind::InvalidData));
}

#[test]
fn each_configuration_has_its_own() {
    let (_root, path, file) = with_content();
    for (configuration, fingerprint) in
        [("another CPU", "a host"), ("a CPU", "another host"), ("a CPUa", " host")]
    {
        let other = Files::open(&path, configuration, fingerprint).unwrap();
        assert_eq!(other.read().unwrap_err().kind(), io::ErrorKind::NotFound);
        // Under the other's name it is of no use.
        fs::copy(&file, path.join(&other.name)).unwrap();
        assert_eq!(other.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    // Nor with another key.
    fs::remove_file(path.join(KEY)).unwrap();
    assert_eq!(kept(&path), Err(io::ErrorKind::InvalidData));
}

#[test]
fn what_others_can_write_is_refused() {
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let (_root, path, file) = with_content();
    let key = path.join(KEY);
    for (changed, own, wrong) in
        [(&path, 0o700, 0o720), (&path, 0o700, 0o702), (&file, 0o600, 0o620), (&key, 0o600, 0o640)]
    {
        set(changed, wrong);
        assert_eq!(kept(&path), Err(io::ErrorKind::PermissionDenied), "{}", changed.display());
        set(changed, own);
        assert_eq!(kept(&path), Ok(CONTENT.to_vec()));
    }
    let refusal = |path: &Path| kept(path).unwrap_err();
    fs::write(&key, b"too short").unwrap();
    assert_eq!(refusal(&path), io::ErrorKind::PermissionDenied);
}

#[test]
fn links_are_not_followed() {
    let (root, path, file) = with_content();
    let link = root.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(kept(&link).is_err());
    let elsewhere = root.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(kept(&path).is_err());
    fs::remove_file(&file).unwrap();
    fs::rename(&elsewhere, &file).unwrap();
    assert_eq!(kept(&path), Ok(CONTENT.to_vec()));
}

#[test]
fn the_sets_used_longest_ago_go_when_there_are_too_many() {
    let (_root, path, file) = with_content();
    let sparse = |name: &str, len: u64, age: u64| {
        let file = File::create(path.join(name)).unwrap();
        file.set_len(len).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    let set = |digit: &str| format!("{}{SUFFIX}", digit.repeat(32));
    let new = |digit: &str| format!("{NEW}{}", digit.repeat(16));
    sparse(&set("0"), MOST_IN_ALL / 2, 300);
    sparse(&set("1"), MOST_IN_ALL / 2, 200);
    sparse(&set("2"), MOST_IN_ALL / 4, 100);
    sparse(&new("0"), 1, 2 * NEW_LIMIT.as_secs());
    sparse(&new("1"), 1, 1);
    // What the user has there is not touched, whatever it is called.
    let others = ["unrelated", "new-report.txt", "other.ftc", ".ferry-new-idea"];
    others.iter().for_each(|name| sparse(name, MOST_IN_ALL, 2 * NEW_LIMIT.as_secs()));
    files(&path).unwrap().save(CONTENT.to_vec()).unwrap();
    let left = |name: &str| path.join(name).exists();
    assert!(!left(&set("0")) && !left(&new("0")));
    assert!(left(&set("1")) && left(&set("2")) && left(&new("1")) && left(KEY));
    assert!(others.into_iter().all(left));
    assert!(file.exists());
}
