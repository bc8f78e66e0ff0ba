//! Compiles the decode tables.

use std::path::Path;

use decode_build::{Table, compile, compile_dispatch};

fn main() {
    for result in [riscv(), aarch64()] {
        if let Err(message) = result {
            println!("cargo::error={message}");
        }
    }
}

/// The files of the A64 table, in their order.
const A64: &[&str] = &[
    "src/aarch64/a64/data.dec",
    "src/aarch64/a64/branch.dec",
    "src/aarch64/a64/memory.dec",
    "src/aarch64/a64/structure.dec",
    "src/aarch64/a64/simd.dec",
    "src/aarch64/a64/simd_fp.dec",
    "src/aarch64/a64/crypto.dec",
    "src/aarch64/a64/fp.dec",
];

fn aarch64() -> Result<(), String> {
    let table = read(A64)?;
    write("aarch64_a64.rs", &compile(&table, "FeatureSet", "Feature"))?;
    let code = compile_dispatch(&table, "decode", None, "Lifter<'_>", "dispatch");
    write("aarch64_lift.rs", &code.map_err(|error| error.to_string())?)
}

fn riscv() -> Result<(), String> {
    let long = read(&["src/riscv/insn32.dec"])?;
    let short = read(&["src/riscv/insn16.dec"])?;
    write("riscv_insn32.rs", &compile(&long, "ExtSet", "Ext"))?;
    write("riscv_insn16.rs", &compile(&short, "ExtSet", "Ext"))?;
    let mut lift = String::new();
    let target = Some((&long, "insn32"));
    for (table, module, target, name) in
        [(&long, "insn32", None, "dispatch32"), (&short, "insn16", target, "dispatch16")]
    {
        let code = compile_dispatch(table, module, target, "Lifter<'_>", name);
        lift += &code.map_err(|error| format!("src/riscv/{module}.dec: {error}"))?;
    }
    write("riscv_lift.rs", &lift)
}

fn read(paths: &[&str]) -> Result<Table, String> {
    let mut table = Table::new();
    for path in paths {
        println!("cargo::rerun-if-changed={path}");
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        table.add(&text).map_err(|error| format!("{path}: {error}"))?;
    }
    table.check_overlaps().map_err(|error| format!("{}: {error}", paths.join(", ")))?;
    Ok(table)
}

fn write(name: &str, text: &str) -> Result<(), String> {
    let out = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    std::fs::write(Path::new(&out).join(name), text).map_err(|error| format!("{name}: {error}"))
}
