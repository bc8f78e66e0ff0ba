//! Runs the golden files of the IR on translated code.

use std::path::Path;

use emu_core::testing::{Toy, run_golden};
use jit::{Jit, JitConfig, JitShared, RegionConfig};

#[test]
fn tier1() {
    run(None);
}

/// Blocks that regions have no form for are tier 1's all the same.
#[test]
fn regions() {
    run(Some(RegionConfig { threshold: 1, background: false }));
}

fn run(regions: Option<RegionConfig>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../emu-core/tests/golden");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the golden files are missing");
    for file in files {
        run_golden(&file, |vcpu, block| {
            let shared = JitShared::new::<Toy>(
                JitConfig { code_bytes: 2 << 20, regions, sampled: false, ..JitConfig::default() },
                vcpu.group().clone(),
                vcpu.blocks(),
            );
            Jit::new(shared.unwrap()).execute(vcpu, block)
        });
    }
}
