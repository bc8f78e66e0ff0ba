//! Runs the golden files on the interpreter. `BLESS=1 cargo test -p emu-core --test golden` writes them.

use std::path::Path;

use emu_core::interp::Interpreter;
use emu_core::testing::run_golden;

#[test]
fn interpreter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the golden files are missing");
    for file in files {
        let mut interpreter = Interpreter::new();
        run_golden(&file, |vcpu, block| interpreter.execute(vcpu, block));
        run_golden(&file, |vcpu, block| interpreter.execute_handlers(vcpu, block));
    }
}

/// Every operation of the table occurs in a golden file.
#[test]
fn every_operation_is_covered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text: String = folder
        .read_dir()
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let covered = |name: &str| {
        words
            .iter()
            .any(|word| word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let missing: Vec<_> =
        emu_core::ir::Op::ALL.iter().map(|op| op.info().name).filter(|n| !covered(n)).collect();
    assert!(missing.is_empty(), "no golden case for {missing:?}");
}
