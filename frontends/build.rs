//! Compiles the decode tables.

use std::path::Path;

use decode_build::{Table, compile, compile_dispatch};

fn main() {
    if let Err(message) = riscv() {
        println!("cargo::error={message}");
    }
}

fn riscv() -> Result<(), String> {
    let long = read("src/riscv/insn32.dec")?;
    let short = read("src/riscv/insn16.dec")?;
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

fn read(path: &str) -> Result<Table, String> {
    println!("cargo::rerun-if-changed={path}");
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Table::parse(&text).map_err(|error| format!("{path}: {error}"))
}

fn write(name: &str, text: &str) -> Result<(), String> {
    let out = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    std::fs::write(Path::new(&out).join(name), text).map_err(|error| format!("{name}: {error}"))
}
