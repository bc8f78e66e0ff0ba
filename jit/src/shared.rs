//! What the vCPUs of one machine share: the code memory, and which block is where in it.
//!
//! # Publication and reuse
//!
//! All changes are made under one lock, whose holder never waits for anything: code is written and put into the map, jumps
//! are linked and unlinked, blocks are dropped. Running code takes no lock; it reaches a block by a linked jump, by its vCPU's
//! jump cache, or through [`JitShared::find`].
//!
//! A dropped block is unlinked and found no more, but its memory stays as it is: a vCPU may be in the middle of it, and may
//! find it in its jump cache until it has seen that the epoch has moved ([`emu_core::exec::BlockMap::epoch`]), which it does
//! at the next barrier. Memory is reused by segments, the oldest first. The blocks of a segment are dropped, the epoch is moved,
//! and the segment is written again only when every vCPU has been out of translated code since then: each counts its
//! entries and exits, and checks the epoch after it has counted an entry. Nobody waits for that: until it is so, new
//! blocks are interpreted.

mod pages;
pub(crate) mod regions;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};

use emu_core::exec::{BlockMap, Isa, Translations};
use emu_core::ir::{BlockKey, SlotInfo};
use emu_core::mem::PAGE_SIZE;
use emu_core::sync::Group;
use parking_lot::Mutex;

use self::pages::Pages;
pub(crate) use self::regions::Publication;
use crate::cache::CodeMemory;
use crate::faults::{self, Faults};
use crate::frame::PLAIN_EXIT;
use crate::region::{self, Dump, Looks, Queue, RegionConfig};
use crate::stats::{Counters, JitStats};
use crate::stubs::Stubs;
use crate::template::{Code, Exit, Features};
use crate::warm::{Damaged, Warm};

/// Bytes of a segment of the code memory, unless there would be fewer than [`LEAST_SEGMENTS`]. Emptying one takes some milliseconds.
const SEGMENT: usize = 8 << 20;
/// Segments that the code memory is divided into at least.
const LEAST_SEGMENTS: usize = 8;
/// What a vCPU takes from a segment at a time.
const CHUNK: usize = 64 << 10;
/// How far before the place that a jump goes to while it is not linked is the one that looks its target up.
pub(crate) const LOOKUP: usize = 5;
/// Room for the stubs, at the start of the memory.
const STUBS: usize = 4096;

/// How a machine's JIT is set up.
#[derive(Clone, Copy, Debug)]
pub struct JitConfig {
    /// Bytes of code memory, in [`JitConfig::CODE_BYTES`]; what lies outside is taken as the nearer end.
    pub code_bytes: usize,
    /// How regions are found; none: there is tier 1 only.
    pub regions: Option<RegionConfig>,
    /// Whether accesses may go through windows, where the machine's memory allows it
    /// ([`emu_core::mem::RamBuilder::windows`]).
    pub windows: bool,
    /// Whether a thread looks where the vCPUs are every now and then; else that is seen only when they are interrupted anyway,
    /// so that what runs depends on nothing else.
    pub sampled: bool,
    /// Regions to show as they are compiled.
    pub dump: Option<Dump>,
    /// Whether translations are kept for later runs, and those of earlier ones used ([`JitShared::load`],
    /// [`JitShared::save`]).
    pub keeps: bool,
}

impl JitConfig {
    /// Sizes that code memory can have.
    pub const CODE_BYTES: RangeInclusive<usize> = 256 << 10..=1 << 30;
}

impl Default for JitConfig {
    fn default() -> Self {
        Self {
            code_bytes: 256 << 20,
            regions: Some(RegionConfig::default()),
            windows: true,
            sampled: true,
            dump: None,
            keeps: false,
        }
    }
}

/// The multiplicative hash of small keys.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// The hash of block numbers. Those that follow each other, which run at the same time, lie together.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The table takes the lower bits for the place, and the upper ones to tell what is there apart.
        self.0 ^ self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xff << 56
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = value.into();
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Which version of a block's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// Accesses at small distances from each other share one check, for which they must lie in one page.
    Merged,
    /// Every access checks for itself.
    Plain,
}

/// A block that has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Host address of its code; zero if the interpreter must run it.
    pub code: usize,
    /// RAM offset of the page that it reaches into, which must be where it was.
    pub next_page: Option<usize>,
}

/// A piece of the code memory that one vCPU fills.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chunk {
    start: usize,
    end: usize,
    segment: usize,
    serial: u32,
}

impl Chunk {
    pub(crate) fn room(&self) -> usize {
        self.end - self.start
    }

    /// What is left of it behind `len` bytes of code.
    pub(crate) fn behind(self, len: usize) -> Self {
        Self { start: (self.start + len).next_multiple_of(16).min(self.end), ..self }
    }
}

/// A block to be published.
pub(crate) struct Ready {
    pub key: BlockKey,
    pub variant: Variant,
    /// RAM offset of the page that it reaches into.
    pub next_page: Option<usize>,
    pub id: u32,
    /// None if the interpreter must run it.
    pub code: Option<Code>,
}

struct Published {
    key: BlockKey,
    variant: Variant,
    found: Found,
    /// Offset of the code.
    start: usize,
    exits: Vec<Exit>,
    /// The exits that are linked to it.
    incoming: Vec<Link>,
    /// All entries of the region that it is one of; empty for a block.
    region: Vec<u32>,
    /// Blocks that the region is made of; none for a block.
    nodes: usize,
}

/// An exit that is linked. Its block may be gone; its place is what it was as long as its segment has not been emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    /// Offset of the displacement in the code memory.
    site: u32,
    /// The displacement while it is not linked.
    cold: i32,
    /// That of its segment.
    serial: u32,
}

struct Segment {
    start: usize,
    next: usize,
    end: usize,
    /// Counts how often it has been emptied.
    serial: u32,
    blocks: Vec<u32>,
}

/// A segment that has been emptied, but that some vCPUs may still be in.
struct Draining {
    segment: usize,
    /// The count of each vCPU at that time.
    counts: Vec<u64>,
}

#[derive(Default)]
struct Inner {
    blocks: HashMap<u32, Published, BuildHasherDefault<IdHasher>>,
    pages: Pages,
    segments: Vec<Segment>,
    current: usize,
    draining: Option<Draining>,
    /// The places that have been chosen as heads of regions.
    elected: HashMap<BlockKey, regions::Election>,
    /// The regions that are being compiled.
    tickets: Vec<regions::Ticket>,
    last_ticket: u64,
}

/// The translated code of one machine.
pub struct JitShared {
    memory: CodeMemory,
    pub(crate) faults: Faults,
    /// Whether accesses may go through windows.
    pub(crate) windows: bool,
    pub(crate) stubs: Stubs,
    pub(crate) hot: &'static [u16],
    pub(crate) slots: &'static [SlotInfo],
    pub(crate) counters: Counters,
    pub(crate) regions: Option<RegionConfig>,
    pub(crate) queue: OnceLock<Queue>,
    pub(crate) dump: Option<Dump>,
    /// Translations of earlier runs, and for later ones.
    pub(crate) warm: Option<Warm>,
    /// Where the next region goes.
    region_chunk: Mutex<Chunk>,
    group: Arc<Group>,
    blocks: Arc<BlockMap>,
    inner: Mutex<Inner>,
    last_id: AtomicU32,
    /// For each vCPU how often it has entered and left translated code: odd while it is in it.
    passages: Box<[AtomicU64]>,
    pub(crate) looks: Looks,
}

impl JitShared {
    /// Code memory for a machine of instruction set `I` with these vCPUs, whose blocks it follows.
    pub fn new<I: Isa>(
        config: JitConfig,
        group: Arc<Group>,
        blocks: &Arc<BlockMap>,
    ) -> io::Result<Arc<Self>> {
        let (least, most) = (*JitConfig::CODE_BYTES.start(), *JitConfig::CODE_BYTES.end());
        let bytes = config.code_bytes.clamp(least, most);
        let count = (bytes / SEGMENT).max(LEAST_SEGMENTS);
        let segment = (bytes / count) & !(PAGE_SIZE as usize - 1);
        let memory = CodeMemory::new(segment * count)?;
        let faults = Faults::new(memory.address(0)..memory.address(segment * count), count);
        let (stubs, code) = Stubs::build(I::HOT_SLOTS, memory.address(0));
        assert!(code.len() <= STUBS, "the stubs do not fit their place");
        memory.write(0, &code);
        let segments = (0..count).map(|i| {
            let start = if i == 0 { STUBS } else { i * segment };
            Segment { start, next: start, end: (i + 1) * segment, serial: 0, blocks: Vec::new() }
        });
        let inner = Inner { segments: segments.collect(), ..Inner::default() };
        let passages = (0..group.len()).map(|_| AtomicU64::new(0)).collect();
        let looks = Looks::new(config.sampled, group.len());
        let shared = Arc::new(Self {
            memory,
            faults,
            windows: config.windows && faults::install(),
            stubs,
            hot: I::HOT_SLOTS,
            slots: I::SLOTS,
            counters: Counters::default(),
            regions: config.regions,
            queue: OnceLock::new(),
            dump: config.dump,
            warm: config.keeps.then(Warm::default),
            region_chunk: Mutex::default(),
            group,
            blocks: Arc::clone(blocks),
            inner: Mutex::new(inner),
            last_id: AtomicU32::new(0),
            passages,
            looks,
        });
        let weak: Weak<dyn Translations> = Arc::<Self>::downgrade(&shared);
        blocks.attach(weak);
        if let Some(regions) = config.regions {
            region::start(&shared, regions)?;
        }
        if config.sampled && (shared.windows || config.regions.is_some()) {
            region::start_sampler(&shared)?;
        }
        Ok(shared)
    }

    /// vCPU `index` enters or leaves translated code. It looks at the epoch after it has entered.
    pub(crate) fn pass(&self, index: usize) {
        self.passages[index].fetch_add(1, SeqCst);
    }

    /// The published code of the block with this key.
    pub(crate) fn find(&self, key: BlockKey, variant: Variant) -> Option<Found> {
        self.counters.searches.fetch_add(1, Relaxed);
        Some(self.inner.lock().pages.get(key, variant)?.1)
    }

    /// Whether there is a block with this key, whatever its code is.
    pub(crate) fn is_known(&self, key: BlockKey) -> bool {
        self.inner.lock().pages.get(key, Variant::Merged).is_some()
    }

    /// Whether this page's kept translations are to be taken over as a whole: the first time that somebody asks.
    pub(crate) fn ask_for_page(&self, page: usize, ctx: u32) -> bool {
        self.inner.lock().pages.ask(page, ctx)
    }

    /// Lets that be asked again.
    pub(crate) fn forget_page(&self, page: usize, ctx: u32) {
        self.inner.lock().pages.forget(page, ctx);
    }

    /// A piece of code memory with room for `bytes` bytes, unless there is none now.
    pub(crate) fn chunk(&self, me: usize, bytes: usize) -> Option<Chunk> {
        let mut inner = self.inner.lock();
        let segment = inner.segments[inner.current].end - inner.segments[inner.current].start;
        let size = bytes.max(CHUNK.min(segment / 4)).next_multiple_of(64);
        let next = match &inner.draining {
            // The current segment is full.
            Some(draining) => draining.segment,
            None => {
                let segment = &inner.segments[inner.current];
                if segment.end - segment.next >= size {
                    return Some(inner.take(size));
                }
                let next = (inner.current + 1) % inner.segments.len();
                if size > inner.segments[next].end - inner.segments[next].start {
                    return None;
                }
                self.empty(&mut inner, next);
                next
            }
        };
        let out = |(i, count): (usize, &u64)| {
            i == me || count.is_multiple_of(2) || self.passages[i].load(SeqCst) != *count
        };
        let drained = inner.draining.as_ref().is_some_and(|d| d.counts.iter().enumerate().all(out));
        if !drained {
            return None;
        }
        inner.draining = None;
        inner.current = next;
        let segment = &mut inner.segments[next];
        segment.next = segment.start;
        self.faults.clear(next);
        (segment.end - segment.start >= size).then(|| inner.take(size))
    }

    /// Drops all blocks of a segment, so that it can be reused.
    fn empty(&self, inner: &mut Inner, index: usize) {
        let segment = &mut inner.segments[index];
        segment.serial += 1;
        let ids = std::mem::take(&mut segment.blocks);
        let evicts = !ids.is_empty();
        if evicts {
            self.counters.evictions.fetch_add(1, SeqCst);
            for id in ids {
                self.drop_block(inner, id);
            }
            inner.elected.clear();
            self.blocks.advance_epoch();
        }
        let counts = self.passages.iter().map(|count| if evicts { count.load(SeqCst) } else { 0 });
        inner.draining = Some(Draining { segment: index, counts: counts.collect() });
        if evicts {
            // Makes those who run leave; there is nothing else for them to do.
            self.group.ports().iter().for_each(|port| port.interrupt());
        }
    }

    /// A number for a block that is about to be compiled.
    pub(crate) fn new_id(&self) -> u32 {
        // After four billion blocks old numbers come again; zero is nobody's.
        match self.last_id.fetch_add(1, Relaxed).wrapping_add(1) {
            0 => self.new_id(),
            id => id,
        }
    }

    /// Host address of the next block in `chunk`.
    pub(crate) fn place(&self, chunk: &Chunk) -> usize {
        self.memory.address(chunk.start)
    }

    /// Host address of a place in the code memory.
    #[cfg(debug_assertions)]
    pub(crate) fn address(&self, start: usize) -> usize {
        self.memory.address(0) + start
    }

    /// Where the next block in `chunk` is, from the start of the code memory.
    pub(crate) fn start(&self, chunk: &Chunk) -> usize {
        chunk.start
    }

    /// Writes code at the start of `chunk`, without letting anyone know.
    pub(crate) fn write(&self, chunk: &mut Chunk, code: &[u8]) -> usize {
        let start = chunk.start;
        self.memory.write(start, code);
        *chunk = chunk.behind(code.len());
        self.memory.address(start)
    }

    /// Writes the code of blocks, one behind the other, at the start of `chunk`, and publishes it; their guest code was read in
    /// `epoch`. False if it is out of date, or the chunk is. If they are to be `linked`, their jumps are at once.
    pub(crate) fn publish(&self, blocks: Vec<Ready>, epoch: u64, chunk: &mut Chunk, linked: bool) -> bool {
        let mut inner = self.inner.lock();
        if self.blocks.epoch() != epoch {
            return false;
        }
        let ids: Vec<u32> = if linked { blocks.iter().map(|block| block.id).collect() } else { Vec::new() };
        for block in blocks {
            if !self.publish_one(&mut inner, block, chunk) {
                return false;
            }
        }
        for id in ids {
            let exits = inner.blocks.get(&id).map_or(0, |block| block.exits.len());
            (0..exits).for_each(|number| self.link_in(&mut inner, id, number));
        }
        true
    }

    fn publish_one(&self, inner: &mut Inner, block: Ready, chunk: &mut Chunk) -> bool {
        let Ready { key, variant, next_page, id, code } = block;
        let mut published = Published {
            key,
            variant,
            found: Found { code: 0, next_page },
            start: chunk.start,
            exits: Vec::new(),
            incoming: Vec::new(),
            region: Vec::new(),
            nodes: 0,
        };
        if let Some(code) = code {
            let segment = &mut inner.segments[chunk.segment];
            if segment.serial != chunk.serial || chunk.room() < code.bytes.len() {
                return false;
            }
            segment.blocks.push(id);
            published.found.code = self.write(chunk, &code.bytes);
            self.faults.insert(published.found.code, code.faults);
            published.exits = code.exits;
            for exit in &published.exits {
                self.memory.patch(published.start + exit.site as usize, exit.cold_displacement());
            }
        }
        let found = published.found;
        if let Some(old) = inner.pages.insert((key, variant), (id, found)) {
            self.drop_block(inner, old);
        }
        if let Some(page) = next_page {
            let Inner { pages, blocks, .. } = &mut *inner;
            pages.depend(page, id, |id| blocks.contains_key(&id));
        }
        inner.blocks.insert(id, published);
        true
    }

    /// Links exit `number` of block `id` to its target, if both are there.
    pub(crate) fn link(&self, [id, number]: [u32; 2]) {
        self.link_in(&mut self.inner.lock(), id, (number & !PLAIN_EXIT) as usize);
    }

    fn link_in(&self, inner: &mut Inner, id: u32, number: usize) {
        let Some(block) = inner.blocks.get(&id) else { return };
        let Some(exit) = block.exits.get(number) else { return };
        let variant = if exit.plain { Variant::Plain } else { Variant::Merged };
        let page = block.key.pa & !(PAGE_SIZE - 1);
        let key = BlockKey { pa: page.wrapping_add_signed(exit.target.into()), ctx: block.key.ctx };
        let site = block.start + exit.site as usize;
        let Some((target_id, _)) = inner.pages.get(key, variant) else { return };
        let Some(target) = inner.blocks.get(&target_id) else { return };
        // A block that reaches into another page is only found through the jump cache, which knows where that page is.
        let direct = target.found.next_page.is_none() && target.found.code != 0;
        if exit.plain && !direct {
            // The jump cache knows the other variant only.
            return;
        }
        let to = if direct { target.start } else { block.start + exit.cold as usize - LOOKUP };
        self.memory.patch(site, (to as i64 - (site as i64 + 4)) as i32);
        self.counters.links.fetch_add(1, SeqCst);
        let serial = inner.segments[segment_of(&inner.segments, site)].serial;
        let link = Link { site: site as u32, cold: exit.cold_displacement(), serial };
        let Inner { blocks, segments, .. } = &mut *inner;
        if let Some(target) = blocks.get_mut(&target_id) {
            if target.incoming.len() >= 64 {
                target.incoming.retain(|link| link.is_alive(segments));
            }
            if !target.incoming.contains(&link) {
                target.incoming.push(link);
            }
        }
    }

    /// Makes a block unreachable, but for jump caches. Its memory stays.
    fn drop_block(&self, inner: &mut Inner, id: u32) {
        let Some(block) = inner.blocks.remove(&id) else { return };
        inner.pages.remove((block.key, block.variant), id);
        // A region's exits are those of its first entry: it lives and dies as a whole.
        for sibling in block.region {
            self.drop_block(inner, sibling);
        }
        for link in block.incoming.iter().filter(|link| link.is_alive(&inner.segments)) {
            self.memory.patch(link.site as usize, link.cold);
        }
    }

    /// Drops translations that nothing is wrong with: a quarter of the blocks or, now and then, all. `random` chooses them. It
    /// must make no difference to any guest.
    pub fn drop_some(&self, random: u64) {
        let mut inner = self.inner.lock();
        let all = random.is_multiple_of(8);
        let chosen = |id: u32| {
            let mut hasher = KeyHasher(random);
            hasher.write_u32(id);
            all || (hasher.finish() >> 40).is_multiple_of(4)
        };
        let ids: Vec<u32> = inner.blocks.keys().copied().filter(|&id| chosen(id)).collect();
        for id in ids {
            self.drop_block(&mut inner, id);
        }
        inner.elected.clear();
        drop(inner);
        self.blocks.advance_epoch();
        self.group.ports().iter().for_each(|port| port.interrupt());
    }

    /// What the engines of this machine have done so far.
    pub fn stats(&self) -> JitStats {
        self.counters.read()
    }

    /// What translations depend on besides this program and how the guest's CPUs are configured. What was kept
    /// where one of these was another is not to be loaded.
    pub fn fingerprint(&self) -> String {
        let Self { stubs, windows, hot, .. } = self;
        format!("{:?} {:?} {windows} {hot:?}", Features::of_host(), stubs.relative())
    }

    /// Lets blocks be found among the translations that an earlier run has kept. Only the first call has an effect.
    ///
    /// # Errors
    /// They do not have the form that [`JitShared::save`] gives them.
    pub fn load(&self, saved: Vec<u8>) -> Result<(), Damaged> {
        let Some(warm) = &self.warm else { return Ok(()) };
        let count = warm.load(saved, &self.counters)?;
        // Most of them will be wanted.
        let mut inner = self.inner.lock();
        inner.blocks.reserve(count);
        Ok(())
    }

    /// The translations that a later run should find; none if it finds them already.
    pub fn save(&self) -> Option<Vec<u8>> {
        self.warm.as_ref()?.save(&self.counters)
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.inner.lock().blocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Link {
    /// Whether the exit may be there still.
    fn is_alive(&self, segments: &[Segment]) -> bool {
        segments[segment_of(segments, self.site as usize)].serial == self.serial
    }
}

/// Which of the segments a place in the code memory is in: they are of one size.
fn segment_of(segments: &[Segment], place: usize) -> usize {
    place / segments[0].end
}

impl Inner {
    /// Takes `size` bytes of the current segment, which has them.
    fn take(&mut self, size: usize) -> Chunk {
        let index = self.current;
        let segment = &mut self.segments[index];
        let start = segment.next;
        segment.next += size;
        Chunk { start, end: segment.next, segment: index, serial: segment.serial }
    }
}

impl Translations for JitShared {
    fn drop_pages(&self, pages: &[usize]) {
        let mut inner = self.inner.lock();
        let page_of = |pa: u64| pa as usize & !(PAGE_SIZE as usize - 1);
        inner.elected.retain(|key, _| !pages.contains(&page_of(key.pa)));
        inner.outdate_tickets(|page| pages.contains(&page));
        for page in pages {
            for id in inner.pages.take(*page) {
                self.drop_block(&mut inner, id);
            }
        }
    }

    fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.pages.clear();
        inner.elected.clear();
        inner.outdate_tickets(|_| true);
        let ids: Vec<u32> = inner.blocks.keys().copied().collect();
        for id in ids {
            self.drop_block(&mut inner, id);
        }
    }
}
