use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// Builds the entry `e` with one file, or fails the test if it need not be built.
fn build(cache: &Cache, revision: &str, content: &[u8]) -> Entry {
    let mut built = false;
    let entry = cache.entry("e", revision, &mut (), |builder, _| {
        built = true;
        builder.note("Fact", "two\nlines");
        builder.add_file("dir/file", true, content)
    });
    assert!(built);
    entry.unwrap()
}

fn reuse(cache: &Cache, revision: &str) -> Entry {
    cache.entry("e", revision, &mut (), |_, _| panic!("the entry is built again")).unwrap()
}

#[test]
fn an_entry_is_built_once_and_private() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("below/cache");
    let cache = Cache::open(&root).unwrap();
    build(&cache, "1", b"content");
    let entry = reuse(&cache, "1");
    assert_eq!(entry.fact("fact"), Some("two lines"));
    let file = entry.path("dir/file");
    assert!(entry.files().eq([file.as_path()]));
    assert_eq!(fs::read(&file).unwrap(), b"content");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&root), mode(&root.join("e")), mode(&file)), (0o700, 0o700, 0o700));
    let mut left: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["e", "lock"], "nothing else is left over");
}

#[test]
fn changed_entries_and_other_revisions_are_built_again() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let file = build(&cache, "1", b"content").path("dir/file");
    let manifest = root.path().join("e/manifest");
    let original = fs::read_to_string(&manifest).unwrap();
    let damage: [&dyn Fn(); 6] = [
        &|| fs::write(&file, "contenT").unwrap(),
        &|| fs::write(&file, "content and more").unwrap(),
        &|| fs::remove_file(&file).unwrap(),
        &|| fs::remove_file(&manifest).unwrap(),
        &|| fs::write(&manifest, "garbage").unwrap(),
        &|| fs::write(&manifest, original.replace("dir/file", "../lock")).unwrap(),
    ];
    for damage in damage {
        damage();
        build(&cache, "1", b"content");
        reuse(&cache, "1");
    }
    build(&cache, "2", b"new");
    build(&cache, "1", b"content");
}

#[test]
fn a_failed_build_leaves_the_old_entry() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    build(&cache, "1", b"content");
    let failed = cache.entry("e", "2", &mut (), |builder, _| {
        builder.add_file("dir/file", false, b"half")?;
        Err(Error::NoMirror)
    });
    assert!(matches!(failed, Err(Error::NoMirror)));
    reuse(&cache, "1");
}

#[test]
fn names_that_leave_the_entry_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    for name in ["../x", "/x", "a/../b", "", ".", "manifest", "a\nb", " a", "a "] {
        let result = cache.entry("e", "1", &mut (), |builder, _| builder.add_file(name, false, b""));
        assert!(matches!(result, Err(Error::Malformed { .. })), "{name:?}");
    }
}

#[test]
fn finished_downloads_are_kept_until_the_entry_is() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let (content, hash) = (b"content", Sha256Hex::of(b"content"));
    let download = |builder: &Builder, body: &[u8], fetched: &mut bool| {
        let file = builder.download(content.len() as u64, &hash, "test", |sink| {
            *fetched = true;
            sink.write_all(b"from a try that failed").unwrap();
            sink.restart().unwrap();
            sink.write_all(body).unwrap();
            Ok(())
        })?;
        assert_eq!(io::read_to_string(file).unwrap().as_bytes(), content);
        Ok(())
    };
    let mut fetched = false;
    let mut run = |body: &[u8], fail: bool| {
        fetched = false;
        let result = cache.entry("e", "1", &mut (), |builder, _| {
            download(builder, body, &mut fetched)?;
            if fail { Err(Error::NoMirror) } else { Ok(()) }
        });
        (result.map(drop), fetched)
    };
    assert!(matches!(run(b"conTent", true), (Err(Error::Mismatch { .. }), true)));
    assert!(matches!(run(b"content!", true), (Err(Error::Mismatch { .. }), true)));
    assert!(matches!(run(content, true), (Err(Error::NoMirror), true)));
    fs::write(root.path().join("downloads").join(hash.to_string()), "spoilt").unwrap();
    assert!(matches!(run(content, true), (Err(Error::NoMirror), true)));
    assert!(matches!(run(content, false), (Ok(()), false)));
    assert!(!root.path().join("downloads").exists());
}

#[test]
fn the_second_of_two_at_once_waits_for_the_first() {
    let root = tempfile::tempdir().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let path = root.path();
    thread::scope(|scope| {
        let first = scope.spawn(move || {
            Cache::open(path).unwrap().entry("e", "1", &mut (), |builder, _| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                builder.add_file("file", false, b"content")
            })
        });
        has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        struct Waits<'a>(&'a mpsc::Sender<()>);
        impl Progress for Waits<'_> {
            fn message(&mut self, text: &str) {
                assert!(text.contains("waiting"), "{text}");
                self.0.send(()).unwrap();
            }
        }
        // The first goes on only when the second says that it waits.
        let second = Cache::open(path).unwrap();
        let entry = second.entry("e", "1", &mut Waits(&go_on), |_, _| panic!("built a second time"));
        assert!(entry.is_ok());
        assert!(first.join().unwrap().is_ok());
    });
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Cache::open(&file.path().join("cache")).unwrap_err();
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}
