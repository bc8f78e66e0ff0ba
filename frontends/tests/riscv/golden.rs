//! What instructions are lifted to; the form of the files is described in [`crate::common::golden`].
//!
//! ```text
//! ctx m dirty rne            privilege, FS (off, clean, dirty), frm
//! ```

use frontends::riscv::decode::length;
use frontends::riscv::disas::disassemble;
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::lift::lift;
use frontends::riscv::{Context, Privilege, SLOTS};

use crate::common::golden::Golden;

const ALL: ExtSet = ExtSet::of(Ext::ALL);

fn context(line: &str) -> Context {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, privilege, fs, frm] = words[..] else { panic!("`{line}` is not: ctx PRIVILEGE FS FRM") };
    Context {
        privilege: match privilege {
            "u" => Privilege::User,
            "s" => Privilege::Supervisor,
            "m" => Privilege::Machine,
            _ => panic!("`{privilege}` is no privilege"),
        },
        fp_on: fs != "off",
        fp_dirty: fs == "dirty",
        frm: ["rne", "rtz", "rdn", "rup", "rmm", "5", "6", "7"].iter().position(|name| *name == frm).unwrap()
            as u8,
        zero: privilege == "m",
    }
}

#[test]
fn lifted_blocks_are_as_written() {
    let golden = Golden {
        folder: "riscv/golden",
        files: 5,
        usual: "ctx m dirty rne",
        context: |line| context(line).bits(),
        address: !0,
        length: |word| length(word as u16).into(),
        disassemble: |word, pc| disassemble(word, pc, ALL).to_string(),
        lift: |builder, key, start, code, limit| lift(ALL, builder, key, start, code, limit),
        slots: SLOTS,
    };
    golden.check();
}
