//! Random programs: their shape, which is the same for all instruction sets.
//!
//! A program is a tree of straight runs, loops, conditional parts, calls and choices between several targets. A run is made
//! of pieces that the instruction set's [`Writer`] knows: instructions of its decode tables, accesses to memory, changes of
//! page tables, of privilege, of code, and so on. Whatever of it traps goes on behind the run that it is in. Loops count down
//! registers that nothing else writes, so that every program ends.

use emu_core::testing::Random;

/// Where memory begins.
pub const RAM: u64 = 0x8000_0000;
/// Bytes of memory.
pub const RAM_LEN: u64 = 1 << 20;
/// Where the program's code begins; handlers lie before it.
pub const CODE: u64 = RAM + 0x1000;
/// Where the code must end.
pub const CODE_END: u64 = RAM + 0x4_0000;
/// Where the data begins, which programs work on.
pub const DATA: u64 = RAM + 0x4_0000;
/// How many pages of data there are.
pub const DATA_PAGES: u64 = 32;
/// Where page tables lie.
pub const TABLES: u64 = RAM + 0x8_0000;
/// A device: any access ends a stretch.
pub const BELL: u64 = 0x1000_0000;
/// Writing here ends the program.
pub const END: u64 = 0xff8;

/// The bit that makes a virtual address one of the unprivileged.
pub const USER: u64 = 1 << 32;
/// Where small pages are mapped.
pub const WINDOW: u64 = 0x10_0000_0000;
/// How many of these there are.
pub const WINDOW_PAGES: u64 = 64;
/// Where larger ones are mapped.
pub const LARGE: u64 = WINDOW + (1 << 30);
/// How many of these there are.
pub const LARGE_PAGES: u64 = 8;
/// Address spaces.
pub const SPACES: u64 = 3;
/// Pages of tables for each.
pub const SPACE_TABLES: u64 = 8;

/// Loops may be nested so deep.
pub const DEPTH: usize = 2;
/// Functions of a program.
const FUNCTIONS: usize = 4;
/// Pieces of a run, at most.
const PIECES: u64 = 14;

/// A place in the code that is filled in later.
#[derive(Clone, Copy, Debug)]
pub struct Hole(pub usize);

/// A function: where it is.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its first instruction.
    pub start: usize,
    /// Which link register it returns by, of the two that there are.
    pub link: usize,
    /// How many instructions behind the call it returns to.
    pub skips: usize,
}

/// Writes a program for an instruction set.
pub trait Writer {
    /// Where the next instruction goes, from the start of the code.
    fn at(&self) -> usize;

    /// One piece of a straight run.
    fn piece(&mut self, random: &mut Random);

    /// Begins a straight run: what traps from here on goes on at its end.
    fn begin_run(&mut self) -> Hole;

    /// Ends it.
    fn end_run(&mut self, run: Hole);

    /// Begins a loop of `count` rounds, at a depth below [`DEPTH`]; where it begins.
    fn begin_loop(&mut self, depth: usize, count: u64) -> usize;

    /// Ends it.
    fn end_loop(&mut self, depth: usize, start: usize);

    /// Skips what follows, or does not, as registers have it.
    fn skip(&mut self, random: &mut Random) -> Hole;

    /// Goes to another place.
    fn jump(&mut self) -> Hole;

    /// Goes to one of `count` places (a power of two), as registers have it: these are the jumps to them.
    fn choose(&mut self, count: usize, random: &mut Random) -> Vec<Hole>;

    /// Lets a jump go to here.
    fn land(&mut self, hole: Hole);

    /// Calls a function.
    fn call(&mut self, function: Function, random: &mut Random);

    /// Returns from one.
    fn ret(&mut self, function: Function);

    /// Whether there is room for much more code.
    fn has_room(&self) -> bool;

    /// The end of the program.
    fn end(&mut self);
}

/// Writes a whole program; where it starts.
pub fn write<W: Writer>(writer: &mut W, random: &mut Random) -> usize {
    let mut functions = Vec::new();
    for n in 0..FUNCTIONS {
        let start = writer.at();
        let skips = if random.below(4) == 0 { 1 } else { 0 };
        let function = Function { start, link: n % 2, skips };
        // Those that return by the second register may call those that return by the first.
        let callable: Vec<Function> =
            functions.iter().copied().filter(|f: &Function| f.link < n % 2).collect();
        body(writer, random, DEPTH, &callable);
        writer.ret(function);
        functions.push(function);
    }
    let start = writer.at();
    for _ in 0..8 {
        body(writer, random, 0, &functions);
    }
    writer.end();
    start
}

fn run<W: Writer>(writer: &mut W, random: &mut Random) {
    let run = writer.begin_run();
    for _ in 0..=random.below(PIECES) {
        writer.piece(random);
    }
    writer.end_run(run);
}

fn body<W: Writer>(writer: &mut W, random: &mut Random, depth: usize, functions: &[Function]) {
    for _ in 0..=random.below(4) {
        if !writer.has_room() {
            return;
        }
        match random.below(10) {
            0..=1 if depth < DEPTH => {
                let count = 1 + random.below(12 * (1 + depth as u64));
                let start = writer.begin_loop(depth, count);
                body(writer, random, depth + 1, functions);
                writer.end_loop(depth, start);
            }
            2 => {
                let hole = writer.skip(random);
                run(writer, random);
                writer.land(hole);
            }
            3..=4 if !functions.is_empty() => {
                let function = random.pick(functions);
                writer.call(function, random);
            }
            5 => {
                let count = 1 << random.below(3);
                let holes = writer.choose(count, random);
                let mut ends = Vec::new();
                for hole in holes {
                    writer.land(hole);
                    run(writer, random);
                    ends.push(writer.jump());
                }
                ends.into_iter().for_each(|end| writer.land(end));
            }
            _ => run(writer, random),
        }
    }
}
