//! Names the sources of all that translations depend on: what one build has kept is of no use to another
//! (`translations.rs`).

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Adds a file, or all files in a directory, in order of their names.
fn add(hasher: &mut blake3::Hasher, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let mut paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        return paths.iter().try_for_each(|path| add(hasher, path));
    }
    let content = fs::read(path)?;
    hasher.update(path.as_os_str().as_encoded_bytes()).update(&(content.len() as u64).to_le_bytes());
    hasher.update(&content);
    Ok(())
}

fn main() -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    for source in
        ["emu-core/src", "emu-core/Cargo.toml", "frontends", "jit/src", "jit/Cargo.toml", "machine/src"]
    {
        let path = Path::new("..").join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        add(&mut hasher, &path)?;
    }
    // Other versions of what these use, if this is built as a part of the workspace.
    let lock = Path::new("../Cargo.lock");
    if lock.exists() {
        println!("cargo::rerun-if-changed={}", lock.display());
        add(&mut hasher, lock)?;
    }
    let compiler = env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("-vV").output().ok());
    hasher.update(&compiler.map(|output| output.stdout).unwrap_or_default());
    for name in
        ["TARGET", "PROFILE", "OPT_LEVEL", "DEBUG", "CARGO_ENCODED_RUSTFLAGS", "CARGO_CFG_TARGET_FEATURE"]
    {
        println!("cargo::rerun-if-env-changed={name}");
        hasher.update(env::var(name).unwrap_or_default().as_bytes()).update(&[0]);
    }
    println!("cargo::rustc-env=FERRY_SOURCES={}", hasher.finalize().to_hex());
    Ok(())
}
