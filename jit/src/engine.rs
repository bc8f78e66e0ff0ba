//! The engine: the dispatcher around translated code.
#![allow(unsafe_code, reason = "enters translated code")]

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use emu_core::exec::{Access, CodePage, Engine, Exit, Isa, Limits, Stop, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::{Block, BlockKey, View};
use emu_core::mem::{PAGE_SIZE, WINDOWED, next_page};

use crate::frame::PLAIN_EXIT;
use crate::helpers::{self, Context, Table};
use crate::region::Samples;
use crate::region::place::Compiled;
use crate::shared::{Chunk, Found, JitShared, Ready, Variant};
use crate::stats::JitStats;
use crate::stubs::Left;
use crate::template::guess::Guess;
use crate::template::{Code, Compiler, Features};
use crate::warm::{Finding, PageRecords, Record};

/// Runs one vCPU on translated code. Each vCPU thread has its own; they share a [`JitShared`].
pub struct Jit<I: Isa> {
    shared: Arc<JitShared>,
    context: Box<Context>,
    helpers: Box<Table>,
    compiler: Compiler,
    chunk: Chunk,
    interpreter: Interpreter,
    /// The exit that has just been taken and can be linked.
    unlinked: Option<[u32; 2]>,
    /// Where the plain variant is wanted.
    plain_at: Option<u64>,
    /// Translated code leaves at its first poll.
    briefly: bool,
    samples: Samples,
    /// Instructions retired in regions that have been counted.
    in_regions: u64,
    isa: std::marker::PhantomData<fn(I)>,
}

/// Finds translated blocks for one vCPU.
pub(crate) struct Finder {
    shared: Arc<JitShared>,
    /// Direct-mapped, by key. What was found in an earlier epoch is out of date.
    cache: Vec<Cached>,
    /// The epoch that this vCPU has seen.
    epoch: u64,
    /// Finds nothing while a block runs alone.
    alone: bool,
}

/// What was found for a key, in an epoch: where the code is. Blocks that reach into a second page are not cached.
#[derive(Clone, Copy, Default)]
struct Cached {
    pa: u64,
    ctx: u32,
    epoch: u32,
    /// Zero in an empty entry.
    code: usize,
}

impl Finder {
    const ENTRIES: usize = 1 << 14;

    fn new(shared: Arc<JitShared>) -> Self {
        Self { shared, cache: vec![Cached::default(); Self::ENTRIES], epoch: 0, alone: false }
    }

    /// The code at the program counter, if that takes no translation, and no check that can fail. From then on it is in
    /// the jump cache, unless it is the plain variant.
    pub(crate) fn find<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, variant: Variant) -> Option<usize> {
        if self.alone || vcpu.blocks().epoch() != self.epoch {
            return None;
        }
        let pc = vcpu.state.pc;
        let key = vcpu.cached_block_key()?;
        let code = match variant {
            Variant::Merged => self.find_cached(vcpu, key)?,
            Variant::Plain => Self::code_of(vcpu, self.shared.find(key, variant)?)?,
        };
        vcpu.state.page_base = pc & !(PAGE_SIZE - 1);
        if variant == Variant::Merged {
            vcpu.mmu.cache_jump(pc, code as u64);
        }
        Some(code)
    }

    fn find_cached<I: Isa>(&mut self, vcpu: &Vcpu<I>, key: BlockKey) -> Option<usize> {
        let epoch = self.epoch as u32; // an entry does not last for four billion epochs
        let slot = &mut self.cache[key.hash() % Self::ENTRIES];
        if slot.pa == key.pa && slot.ctx == key.ctx && slot.epoch == epoch && slot.code != 0 {
            return Some(slot.code);
        }
        let found = self.shared.find(key, Variant::Merged)?;
        let code = Self::code_of(vcpu, found)?;
        if found.next_page.is_none() {
            *slot = Cached { pa: key.pa, ctx: key.ctx, epoch, code };
        }
        Some(code)
    }

    /// Where the code of a block at the program counter is, if it has been compiled, and a second page that it reaches into
    /// is where it was.
    fn code_of<I: Isa>(vcpu: &Vcpu<I>, found: Found) -> Option<usize> {
        if let Some(next) = found.next_page {
            let mapped = vcpu.mmu.lookup(View::Current, next_page(vcpu.state.pc), 2, Access::Fetch)?;
            if mapped != next {
                return None;
            }
        }
        (found.code != 0).then_some(found.code)
    }

    /// Takes over that blocks have been dropped.
    fn sync<I: Isa>(&mut self, vcpu: &mut Vcpu<I>) {
        while vcpu.blocks().epoch() != self.epoch {
            self.epoch = vcpu.blocks().epoch();
            vcpu.sync_code();
        }
    }
}

/// What became of the wish to have a block translated.
enum Prepared {
    /// It is, or is to be tried again.
    Ready,
    /// The interpreter must run it.
    Block,
    /// The interpreter must run one instruction.
    Instruction,
}

/// What is known of a block that was compiled elsewhere.
enum Kept {
    /// It is published.
    Found,
    /// Nothing.
    Unknown,
    /// There is no room for it now.
    NoRoom,
}

/// Kept translations of one page that are looked at together. Few pages have more.
const MOST_TOGETHER: usize = 1024;

/// Kept blocks that are to be published together.
#[derive(Default)]
struct ReadyBlocks {
    blocks: Vec<Ready>,
    /// Instructions in them.
    instructions: u64,
    /// What they leave of the chunk.
    left: Chunk,
}

impl ReadyBlocks {
    /// Adds a block, for which there is room.
    fn add(&mut self, shared: &JitShared, key: BlockKey, record: Record<'_>) {
        let id = shared.new_id();
        let code = record.code(shared.start(&self.left), id);
        self.left = self.left.behind(code.bytes.len());
        self.instructions += record.instructions();
        self.blocks.push(Ready { key, variant: Variant::Merged, next_page: None, id, code: Some(code) });
    }
}

impl<I: Isa> Jit<I> {
    /// An engine for one vCPU.
    pub fn new(shared: Arc<JitShared>) -> Self {
        let context = Context {
            link: [0; 2],
            mxcsr: 0,
            stop: None,
            panic: None,
            finder: Finder::new(Arc::clone(&shared)),
            misses: 0,
            calls: 0,
            finds: 0,
        };
        let mut compiler = Compiler::new(shared.hot, shared.slots, Features::of_host(), shared.stubs);
        compiler.use_windows(shared.windows);
        Self {
            context: Box::new(context),
            helpers: Box::new(helpers::table::<I>()),
            compiler,
            chunk: Chunk::default(),
            interpreter: Interpreter::new(),
            unlinked: None,
            plain_at: None,
            briefly: false,
            samples: Samples::default(),
            in_regions: 0,
            isa: std::marker::PhantomData,
            shared,
        }
    }

    /// What the engines of this machine have done so far.
    pub fn stats(&self) -> JitStats {
        self.shared.stats()
    }

    /// Translates `block`, which lies at the program counter, and runs it alone. No instruction in it may use another's
    /// temporaries.
    ///
    /// # Panics
    /// If it cannot be translated, or there is no room.
    pub fn execute(&mut self, vcpu: &mut Vcpu<I>, block: &Block) -> Result<(), Stop> {
        let features = self.compiler.features();
        let code = match self.samples.block_alone(&self.shared, block, features) {
            Some(region) => self.place_region_alone(vcpu, &region),
            None => self.place_alone(vcpu, block, Variant::Merged),
        };
        self.context.finder.alone = true;
        vcpu.state.page_base = vcpu.state.pc & !(PAGE_SIZE - 1);
        // SAFETY: it was just written into a chunk of this engine's own, which it goes on filling behind it.
        let mut left = unsafe { self.enter(vcpu, code) };
        if left == Left::Link && self.context.link[1] & PLAIN_EXIT != 0 {
            let offset = vcpu.state.pc.wrapping_sub(vcpu.state.page_base) as i32;
            let number = block.marks.iter().position(|mark| mark.offset == offset);
            let rest = block.suffix(number.expect("a plain exit goes to an instruction of its block"));
            let code = self.place_alone(vcpu, &rest, Variant::Plain);
            // SAFETY: as above.
            left = unsafe { self.enter(vcpu, code) };
        }
        debug_assert!(left != Left::Link || self.context.link[1] & PLAIN_EXIT == 0);
        self.context.finder.alone = false;
        self.context.stop.take().map_or(Ok(()), Err)
    }

    /// The address of code for `block` that nothing else can reach.
    fn place_alone(&mut self, vcpu: &Vcpu<I>, block: &Block, variant: Variant) -> usize {
        loop {
            let base = self.shared.place(&self.chunk);
            let code = self.compiler.compile(block, variant, 0, base);
            let code = code.unwrap_or_else(|error| panic!("{error}"));
            #[cfg(debug_assertions)]
            self.check_moved(block, variant, &code);
            if let Some(place) = self.write_alone(vcpu, code) {
                return place;
            }
        }
    }

    /// As [`Jit::place_alone`], for a region of one entry.
    fn place_region_alone(&mut self, vcpu: &Vcpu<I>, region: &Compiled) -> usize {
        let shared = Arc::clone(&self.shared);
        loop {
            let placed = region.place(&[0], &[], shared.hot, &shared.stubs, shared.place(&self.chunk), 0);
            let placed = placed.unwrap_or_else(|| panic!("the assembler failed"));
            let entry = placed.entries[0];
            if let Some(place) = self.write_alone(vcpu, placed.code) {
                return place + entry;
            }
        }
    }

    /// Writes code whose jumps are not to be linked; none if that takes another chunk, for which it must be made again.
    fn write_alone(&mut self, vcpu: &Vcpu<I>, code: Code) -> Option<usize> {
        if code.bytes.len() > self.chunk.room() {
            let chunk = self.shared.chunk(vcpu.index(), code.bytes.len());
            self.chunk = chunk.unwrap_or_else(|| panic!("no room for {} bytes of code", code.bytes.len()));
            return None;
        }
        let mut bytes = code.bytes;
        for exit in &code.exits {
            let cold = exit.cold_displacement().to_le_bytes();
            bytes[exit.site as usize..][..4].copy_from_slice(&cold);
        }
        let place = self.shared.write(&mut self.chunk, &bytes);
        self.shared.faults.insert(place, code.faults);
        Some(place)
    }

    /// Runs translated code until it comes back.
    ///
    /// # Safety
    /// As [`helpers::enter`].
    unsafe fn enter(&mut self, vcpu: &mut Vcpu<I>, code: usize) -> Left {
        let Self { shared, helpers, context, briefly, .. } = self;
        let tables = &raw const vcpu.state.tables;
        // SAFETY: the caller's promise; the table was made for this instruction set.
        let enter = || unsafe { helpers::enter(&shared.stubs, helpers, context, vcpu, code, *briefly) };
        let left = shared.faults.during(tables, enter);
        if let Some(panic) = self.context.panic.take() {
            resume_unwind(panic);
        }
        left
    }

    /// Runs from the program counter until translated code comes back.
    fn run_code(&mut self, vcpu: &mut Vcpu<I>) -> Result<(), Stop> {
        let plain = self.plain_at.take() == Some(vcpu.state.pc);
        let variant = if plain { Variant::Plain } else { Variant::Merged };
        let Some(left) = self.find_and_enter(vcpu, variant) else {
            match self.prepare(vcpu, variant)? {
                Prepared::Ready => {}
                Prepared::Block => {
                    return self.interpret(vcpu, Interpreter::run_next);
                }
                Prepared::Instruction => {
                    return self.interpret(vcpu, Interpreter::step);
                }
            }
            if let Some(exit) = self.unlinked.take() {
                self.shared.link(exit);
            }
            return match self.find_and_enter(vcpu, variant) {
                Some(left) => self.left(vcpu, left),
                // Progress is certain only so.
                None => self.interpret(vcpu, Interpreter::run_next),
            };
        };
        self.left(vcpu, left)
    }

    /// Lets the interpreter run a block or an instruction.
    fn interpret(
        &mut self,
        vcpu: &mut Vcpu<I>,
        run: impl FnOnce(&mut Interpreter, &mut Vcpu<I>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let before = vcpu.state.retired;
        let outcome = run(&mut self.interpreter, vcpu);
        let counters = &self.shared.counters;
        counters.interpreted.fetch_add(1, Relaxed);
        counters.interpreted_instructions.fetch_add(vcpu.state.retired.wrapping_sub(before), Relaxed);
        outcome
    }

    fn find_and_enter(&mut self, vcpu: &mut Vcpu<I>, variant: Variant) -> Option<Left> {
        let index = vcpu.index();
        self.shared.pass(index);
        self.context.finder.sync(vcpu);
        let left = match self.context.finder.find(vcpu, variant) {
            Some(code) => {
                if let Some(exit) = self.unlinked.take() {
                    self.shared.link(exit);
                }
                // SAFETY: it was found among the published blocks after this vCPU's entry had been counted, so that its
                // segment is not reused before the second `pass`.
                Some(unsafe { self.enter(vcpu, code) })
            }
            None => None,
        };
        self.shared.pass(index);
        left
    }

    /// Takes over how translated code came back.
    fn left(&mut self, vcpu: &mut Vcpu<I>, left: Left) -> Result<(), Stop> {
        let counters = &self.shared.counters;
        let counter = match left {
            Left::Stopped => &counters.stops,
            Left::Link => {
                self.unlinked = Some(self.context.link);
                if self.context.link[1] & PLAIN_EXIT != 0 {
                    self.plain_at = Some(vcpu.state.pc);
                }
                &counters.unlinked
            }
            Left::Lookup => &counters.lookups,
            Left::Attention => {
                if self.shared.windows {
                    vcpu.found_running();
                }
                counters.attentions.fetch_add(1, Relaxed);
                if !self.shared.looks.take(vcpu.index()) {
                    return Ok(());
                }
                let features = self.compiler.features();
                return self.samples.take(vcpu, &mut self.interpreter, &self.shared, features);
            }
        };
        counter.fetch_add(1, Relaxed);
        match self.context.stop.take() {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    /// Sees to it that the block at the program counter can be found.
    fn prepare(&mut self, vcpu: &mut Vcpu<I>, variant: Variant) -> Result<Prepared, Stop> {
        let key = vcpu.block_key()?;
        let pc = vcpu.state.pc;
        if vcpu.cached_block_key().is_none() {
            // Protection is finer than a page here: every instruction must be checked by itself.
            return Ok(Prepared::Instruction);
        }
        if let Some(found) = self.shared.find(key, variant) {
            let Some(next) = found.next_page else {
                return Ok(if found.code == 0 { Prepared::Block } else { Prepared::Ready });
            };
            vcpu.probe(View::Current, next_page(pc), Access::Fetch)?;
            match vcpu.mmu.lookup(View::Current, next_page(pc), 2, Access::Fetch) {
                None => return Ok(Prepared::Instruction),
                Some(mapped) if mapped == next => {
                    return Ok(if found.code == 0 { Prepared::Block } else { Prepared::Ready });
                }
                Some(_) => {}
            }
        }
        self.translate(vcpu, key, variant)
    }

    #[cold]
    fn translate(&mut self, vcpu: &mut Vcpu<I>, key: BlockKey, variant: Variant) -> Result<Prepared, Stop> {
        let begun = Instant::now();
        let epoch = vcpu.blocks().epoch();
        if variant == Variant::Merged {
            match self.find_kept(vcpu, key, epoch) {
                Kept::Found => {
                    self.shared.counters.kept_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
                    return Ok(Prepared::Ready);
                }
                Kept::Unknown => {}
                Kept::NoRoom => return Ok(Prepared::Block),
            }
        }
        let (block, next_page) = vcpu.lift_block(key)?;
        let id = self.shared.new_id();
        let counters = &self.shared.counters;
        if key.ctx & WINDOWED != 0 {
            self.compiler.guess_by(Guess::of_block(vcpu, &block));
        }
        let code = loop {
            let base = self.shared.place(&self.chunk);
            let Ok(code) = self.compiler.compile(&block, variant, id, base) else {
                counters.refused.fetch_add(1, Relaxed);
                break None;
            };
            if code.bytes.len() <= self.chunk.room() {
                break Some(code);
            }
            match self.shared.chunk(vcpu.index(), code.bytes.len()) {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(Prepared::Block),
            }
        };
        if variant == Variant::Merged
            && next_page.is_none()
            && let (Some(warm), Some(code)) = (&self.shared.warm, &code)
        {
            warm.keep(key, vcpu.code_read(), block.len(), code, self.shared.start(&self.chunk));
            #[cfg(debug_assertions)]
            self.check_moved(&block, variant, code);
        }
        let len = code.as_ref().map_or(0, |code| code.bytes.len());
        if self.publish(vec![Ready { key, variant, next_page, id, code }], epoch, false) {
            let counters = &self.shared.counters;
            counters.blocks.fetch_add(1, Relaxed);
            counters.instructions.fetch_add(block.len() as u64, Relaxed);
            counters.code_bytes.fetch_add(len as u64, Relaxed);
        }
        self.shared.counters.translate_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        Ok(Prepared::Ready)
    }

    /// Sees to it that code which is kept and moved is what would be made for that place: that all is known of it that depends
    /// on where it is.
    #[cfg(debug_assertions)]
    fn check_moved(&mut self, block: &Block, variant: Variant, code: &Code) {
        let (start, id) = (0x12_3450, 0x0089_abcd);
        let moved = crate::warm::moved(code, self.shared.start(&self.chunk), (start, id));
        // Some are too large to be kept.
        let Some(moved) = moved else { return };
        let made = self.compiler.compile(block, variant, id, self.shared.address(start));
        let made = made.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(moved, made, "code that is moved is not what is made there");
    }

    /// Publishes the block with this key, which is that of the program counter, if its code is known from elsewhere; and if it
    /// is the first of its page, all that is known of that.
    fn find_kept(&mut self, vcpu: &mut Vcpu<I>, key: BlockKey, epoch: u64) -> Kept {
        let shared = Arc::clone(&self.shared);
        let Some(warm) = &shared.warm else { return Kept::Unknown };
        let index = vcpu.index();
        let page = vcpu.code_page(key);
        let mut ready = ReadyBlocks::default();
        let found = warm.find(key, &page, |record| {
            if record.len() > self.chunk.room() {
                self.chunk = shared.chunk(index, record.len())?;
            }
            ready.left = self.chunk;
            ready.add(&shared, key, record);
            Some(())
        });
        let others = match found {
            Some(Finding { made: Some(()), page }) => page,
            Some(Finding { made: None, .. }) => return Kept::NoRoom,
            None => {
                shared.counters.kept_misses.fetch_add(1, Relaxed);
                return Kept::Unknown;
            }
        };
        let start = key.pa & !(PAGE_SIZE - 1);
        if let Some(others) = others {
            warm.settle(start as usize, others);
        }
        let others = others.filter(|_| shared.ask_for_page(start as usize, key.ctx));
        let added = others.is_none_or(|others| self.add_page(others, &page, key, epoch, index, &mut ready));
        let published = added && self.publish_kept(&mut ready, epoch);
        if others.is_some() && !published {
            shared.forget_page(start as usize, key.ctx);
        }
        Kept::Found
    }

    /// Adds the other blocks that are known of the page of this key, and publishes those that fill a chunk; false if they are
    /// out of date.
    fn add_page(
        &mut self,
        others: PageRecords<'_>,
        page: &CodePage<'_>,
        key: BlockKey,
        epoch: u64,
        index: usize,
        ready: &mut ReadyBlocks,
    ) -> bool {
        let shared = Arc::clone(&self.shared);
        shared.counters.kept_pages.fetch_add(1, Relaxed);
        let start = key.pa & !(PAGE_SIZE - 1);
        for record in others.records().take(MOST_TOGETHER) {
            let place = record.place();
            let other = BlockKey { pa: start + u64::from(place.offset), ctx: place.ctx };
            let wanted = other != key && other.ctx == key.ctx && !shared.is_known(other);
            if !wanted || !record.is_of(place, page) {
                continue;
            }
            if record.len() > ready.left.room() {
                if !self.publish_kept(ready, epoch) {
                    return false;
                }
                let Some(chunk) = shared.chunk(index, record.len()) else { break };
                (self.chunk, ready.left) = (chunk, chunk);
            }
            ready.add(&shared, other, record);
        }
        true
    }

    /// Publishes what is ready; false if it is out of date.
    fn publish_kept(&mut self, ready: &mut ReadyBlocks, epoch: u64) -> bool {
        let (blocks, instructions) =
            (std::mem::take(&mut ready.blocks), std::mem::take(&mut ready.instructions));
        let count = blocks.len() as u64;
        let published = self.publish(blocks, epoch, true);
        if published {
            let counters = &self.shared.counters;
            counters.kept_blocks.fetch_add(count, Relaxed);
            counters.kept_instructions.fetch_add(instructions, Relaxed);
        }
        published
    }

    /// Publishes blocks that were made for the present chunk; false if they are out of date.
    fn publish(&mut self, blocks: Vec<Ready>, epoch: u64, linked: bool) -> bool {
        let published = self.shared.publish(blocks, epoch, &mut self.chunk, linked);
        if !published {
            // The chunk may have been taken away.
            self.chunk = Chunk::default();
        }
        published
    }

    fn run_guest(&mut self, vcpu: &mut Vcpu<I>) -> Exit {
        loop {
            if let Some(exit) = self.run_stretch(vcpu) {
                return exit;
            }
        }
    }

    /// Attends to what wants it, and runs until translated code comes back.
    fn run_stretch(&mut self, vcpu: &mut Vcpu<I>) -> Option<Exit> {
        if vcpu.port().wants_attention()
            && let Some(exit) = vcpu.attend()
        {
            return Some(exit);
        }
        vcpu.limit_exclusive();
        let ran = if vcpu.is_exclusive() && !vcpu.is_alone() {
            self.interpreter.run_next(vcpu)
        } else {
            self.run_code(vcpu)
        };
        ran.err().and_then(|stop| vcpu.stopped_by(stop))
    }

    /// Runs a short stretch: until translated code first polls the attention flags, or comes back for another reason. None
    /// if nothing is asked of the machine. An engine that runs so can be compared with another every few blocks.
    pub fn run_briefly(&mut self, vcpu: &mut Vcpu<I>) -> Option<Exit> {
        self.briefly = true;
        let exit = self.in_guest(vcpu, Self::run_stretch);
        self.briefly = false;
        exit
    }

    /// Does `run` as guest code, and counts what it has done.
    fn in_guest<T>(&mut self, vcpu: &mut Vcpu<I>, run: impl FnOnce(&mut Self, &mut Vcpu<I>) -> T) -> T {
        vcpu.enter_guest();
        let outcome = run(self, vcpu);
        vcpu.leave_guest();
        let counters = &self.shared.counters;
        counters.misses.fetch_add(std::mem::take(&mut self.context.misses), Relaxed);
        counters.calls.fetch_add(std::mem::take(&mut self.context.calls), Relaxed);
        counters.finds.fetch_add(std::mem::take(&mut self.context.finds), Relaxed);
        let in_regions = vcpu.state.regions.iter().fold(0u64, |all, one| all.wrapping_add(one.instructions));
        let more = in_regions.wrapping_sub(std::mem::replace(&mut self.in_regions, in_regions));
        counters.region_instructions.fetch_add(more, Relaxed);
        counters.region_bail_outs.fetch_add(std::mem::take(&mut vcpu.state.bail_outs), Relaxed);
        outcome
    }
}

impl<I: Isa> Engine<I> for Jit<I> {
    fn run(&mut self, vcpu: &mut Vcpu<I>, limits: Limits<'_>) -> Exit {
        if limits.single_step() {
            return self.interpreter.run(vcpu, limits);
        }
        self.in_guest(vcpu, Self::run_guest)
    }
}
