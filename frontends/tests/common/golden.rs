//! Golden files of lifted blocks, `golden/*.lift` of each instruction set. With `BLESS=1` set, what follows the arrows and the
//! disassembly is written.
//!
//! ```text
//! ctx …                      what the front end says there
//! at 0xffe limit 1           where the code starts in its page (0), and how long a block may be (64)
//! 00c58533  add a0,a1,a2
//! =>
//! block …
//! ---                        between cases
//! ```

use std::fmt::Write;
use std::path::Path;

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{Block, BlockBuilder, BlockKey, SlotInfo, parse, verify};

/// What the golden files of an instruction set need.
pub struct Golden {
    /// Its folder under `tests`.
    pub folder: &'static str,
    /// How many files there are at least.
    pub files: usize,
    /// The line that says the usual context.
    pub usual: &'static str,
    /// Reads such a line.
    pub context: fn(&str) -> u32,
    /// The bits of where code starts that are its address.
    pub address: u32,
    /// The length in bytes of an instruction.
    pub length: fn(u32) -> usize,
    pub disassemble: fn(u32, u64) -> String,
    pub lift: Lift,
    pub slots: &'static [SlotInfo],
}

/// Lifts a block: its key, where it starts in its page, its code, and how long it may be.
type Lift = fn(&mut BlockBuilder, BlockKey, u32, &mut dyn FetchCode, usize) -> Result<Block, Exception>;

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

fn number(line: &str, name: &str) -> Option<usize> {
    let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().map(|word| match word.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    })
}

impl Golden {
    fn cases(&self, text: &str) -> Vec<Case> {
        let case = |text: &str| {
            let mut case = Case {
                comments: Vec::new(),
                ctx: self.usual.into(),
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
                        let word = u32::from_str_radix(word, 16).unwrap_or_else(|_| panic!("`{line}`"));
                        case.words.push(word);
                    }
                }
            }
            case
        };
        text.split("---\n").map(case).collect()
    }

    /// The case as it should stand in the file.
    fn render(&self, case: &Case, builder: &mut BlockBuilder) -> String {
        let start = number(&case.place, "at").unwrap_or(0) as u32;
        let limit = number(&case.place, "limit").unwrap_or(64);
        let mut text = String::new();
        let place = (!case.place.is_empty()).then_some(&case.place);
        for line in case.comments.iter().chain([&case.ctx]).chain(place) {
            let _ = writeln!(text, "{line}");
        }
        let mut code = Code { start: start & self.address, bytes: Vec::new() };
        for &word in &case.words {
            let len = (self.length)(word);
            let pc = u64::from(code.start) + code.bytes.len() as u64;
            let _ = writeln!(text, "{word:0width$x}  {}", (self.disassemble)(word, pc), width = 2 * len);
            code.bytes.extend(&word.to_le_bytes()[..len]);
        }
        let key = BlockKey { pa: start.into(), ctx: (self.context)(&case.ctx) };
        let block = (self.lift)(builder, key, start, &mut code, limit).unwrap();
        verify(&block, self.slots).unwrap();
        let dump = block.display(self.slots).to_string();
        let read = parse(&dump, self.slots).unwrap();
        assert_eq!(read.display(self.slots).to_string(), dump, "the text form does not round-trip");
        let _ = write!(text, "=>\n{dump}");
        text
    }

    /// Checks or writes all files.
    pub fn check(&self) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(self.folder);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= self.files, "golden files are missing");
        let mut builder = BlockBuilder::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let cases = self.cases(&text);
            let wanted: Vec<String> = cases.iter().map(|case| self.render(case, &mut builder)).collect();
            let wanted = wanted.join("---\n");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&file, wanted).unwrap();
            } else {
                let line = text.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or(0) + 1;
                assert!(text == wanted, "{}:{line} differs from\n{wanted}", file.display());
            }
        }
    }
}
