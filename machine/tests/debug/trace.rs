//! What traces say of a small program.

use machine::{Ended, Machine, TraceConfig};

use crate::program::{COUNT, config};

/// Runs `COUNT` and returns what it traces, but for what the reset ROM does.
fn trace(exec: bool, exceptions: bool, mmio: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trace");
    let mut config = config(dir.path(), COUNT, 1);
    config.trace = TraceConfig { exec, exceptions, mmio, file: Some(file.clone()) };
    assert_eq!(Machine::new(config).unwrap().run().unwrap(), Ended::Off { code: 0 });
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.contains(" pc=000000000000"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn everything() {
    let expected = include_str!("everything.txt");
    let found = trace(true, true, true);
    assert_eq!(found, expected, "found:\n{found}");
}

#[test]
fn one_thing() {
    let expected = include_str!("everything.txt");
    for (kind, found) in [
        ("exec ", trace(true, false, false)),
        ("trap ", trace(false, true, false)),
        ("mmio ", trace(false, false, true)),
    ] {
        let lines = expected.lines().filter(|line| line.starts_with(kind));
        assert_eq!(found, lines.map(|line| format!("{line}\n")).collect::<String>());
    }
}

#[test]
fn refuses_a_file_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), COUNT, 1);
    config.trace =
        TraceConfig { exec: true, file: Some(dir.path().join("no/where")), ..TraceConfig::default() };
    let error = Machine::new(config).err().unwrap();
    assert!(error.to_string().contains("no/where"), "{error}");
}
