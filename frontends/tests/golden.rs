//! What instructions are lifted to: `tests/golden/*.lift`. `BLESS=1 cargo test -p frontends --test golden`
//! writes what follows the arrows and the disassembly.
//!
//! ```text
//! ctx m dirty rne            privilege, FS (off, clean, dirty), frm
//! at 0xffe limit 1           where the code starts in its page (0), and how long a block may be (64)
//! 00c58533  add a0,a1,a2
//! =>
//! block …
//! ---                        between cases
//! ```

mod support;

use std::fmt::Write;
use std::path::Path;

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{BlockBuilder, BlockKey, parse, verify};
use frontends::riscv::decode::length;
use frontends::riscv::disas::disassemble;
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::lift::lift;
use frontends::riscv::{Context, Privilege, SLOTS};

const ALL: ExtSet = ExtSet::of(Ext::ALL);

struct Case {
    comments: Vec<String>,
    ctx: String,
    place: String,
    words: Vec<u32>,
}

struct Code {
    start: u32,
    bytes: Vec<u8>,
}

impl FetchCode for Code {
    fn half(&mut self, offset: u32) -> Result<u16, Exception> {
        let at = offset.wrapping_sub(self.start) as usize;
        match self.bytes.get(at..at + 2) {
            Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
            _ => Ok(0),
        }
    }
}

fn cases(text: &str) -> Vec<Case> {
    let case = |text: &str| {
        let mut case = Case {
            comments: Vec::new(),
            ctx: "ctx m dirty rne".into(),
            place: String::new(),
            words: Vec::new(),
        };
        for line in text.lines().map(str::trim).take_while(|line| *line != "=>") {
            match line.split_whitespace().next() {
                None => {}
                Some("#") => case.comments.push(line.into()),
                Some("ctx") => case.ctx = line.into(),
                Some("at" | "limit") => case.place = line.into(),
                Some(word) => {
                    case.words.push(u32::from_str_radix(word, 16).unwrap_or_else(|_| panic!("`{line}`")))
                }
            }
        }
        case
    };
    text.split("---\n").map(case).collect()
}

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

fn number(line: &str, name: &str) -> Option<usize> {
    let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().map(|word| match word.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    })
}

/// The case as it should stand in the file.
fn render(case: &Case, builder: &mut BlockBuilder) -> String {
    let start = number(&case.place, "at").unwrap_or(0) as u32;
    let limit = number(&case.place, "limit").unwrap_or(64);
    let mut text = String::new();
    for line in case.comments.iter().chain([&case.ctx]).chain((!case.place.is_empty()).then_some(&case.place))
    {
        let _ = writeln!(text, "{line}");
    }
    let mut code = Code { start, bytes: Vec::new() };
    for &word in &case.words {
        let len = usize::from(length(word as u16));
        let pc = u64::from(start) + code.bytes.len() as u64;
        let _ = writeln!(text, "{word:0width$x}  {}", disassemble(word, pc, ALL), width = 2 * len);
        code.bytes.extend(&word.to_le_bytes()[..len]);
    }
    let key = BlockKey { pa: start.into(), ctx: context(&case.ctx).bits() };
    let block = lift(ALL, builder, key, start, &mut code, limit).unwrap();
    verify(&block, SLOTS).unwrap();
    let dump = block.display(SLOTS).to_string();
    let read = parse(&dump, SLOTS).unwrap();
    assert_eq!(read.display(SLOTS).to_string(), dump, "the text form does not round-trip");
    let _ = write!(text, "=>\n{dump}");
    text
}

#[test]
fn lifted_blocks_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the golden files are missing");
    let mut builder = BlockBuilder::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let wanted: Vec<String> = cases(&text).iter().map(|case| render(case, &mut builder)).collect();
        let wanted = wanted.join("---\n");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, wanted).unwrap();
        } else {
            let line = text.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or(0) + 1;
            assert!(text == wanted, "{}:{line} differs from\n{wanted}", file.display());
        }
    }
}
