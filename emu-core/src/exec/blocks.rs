//! Lifted blocks: the machine's shared map, and each vCPU's own cache of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::RwLock;

use super::code::{CodePage, CodeRead, CodeReader};
use super::exit::Exception;
use super::isa::Isa;
use super::vcpu::Vcpu;
use crate::interp::Code;
use crate::ir::{Block, BlockKey};
use crate::mem::{PAGE_SIZE, Ram, next_page};
use crate::sync::Request;

/// A block as the engine keeps it.
#[derive(Debug)]
pub(crate) struct Cached {
    block: Block,
    /// Where the page lies that a straddling last instruction reaches into.
    next_page: Option<usize>,
    /// The interpreter's form of it.
    code: OnceLock<Code>,
}

impl Cached {
    /// The block itself.
    #[inline]
    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    /// The block in the interpreter's form.
    #[inline]
    pub(crate) fn code(&self) -> &Code {
        self.code.get_or_init(|| Code::new(&self.block))
    }
}

#[derive(Default)]
struct Inner {
    blocks: HashMap<BlockKey, Arc<Cached>>,
    /// The keys of blocks that depend on a page, by RAM offset.
    pages: HashMap<usize, Vec<BlockKey>>,
}

/// A compiler's translations of one machine's code, which are dropped together with the blocks that they come from.
pub trait Translations: Send + Sync {
    /// Drops everything that was translated from the pages at these RAM offsets.
    fn drop_pages(&self, pages: &[usize]);
    /// Drops everything.
    fn clear(&self);
}

/// All blocks of one machine. vCPUs share them.
#[derive(Default)]
pub struct BlockMap {
    inner: RwLock<Inner>,
    /// Counts the times that blocks have been dropped.
    epoch: AtomicU64,
    translations: OnceLock<Weak<dyn Translations>>,
}

impl BlockMap {
    /// Blocks that are kept; beyond that all are dropped and lifted again as they are needed.
    const MAX_BLOCKS: usize = 200_000;

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.inner.read().blocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, key: &BlockKey) -> Option<Arc<Cached>> {
        self.inner.read().blocks.get(key).cloned()
    }

    /// Counts the times that blocks have been dropped. What was made from code read in an earlier epoch may be out of date;
    /// it is incremented before anything that is out of date is dropped.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Begins a new epoch: a compiler has dropped translations of blocks that have not changed.
    pub fn advance_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes a compiler's translations follow the blocks, as long as they live. Only the first call has an effect.
    pub fn attach(&self, translations: Weak<dyn Translations>) {
        let _ = self.translations.set(translations);
    }

    fn translations(&self) -> Option<Arc<dyn Translations>> {
        self.translations.get()?.upgrade()
    }

    /// Adds a block that was lifted in `epoch`, unless blocks have been dropped since: its code may have changed.
    fn insert(&self, block: &Arc<Cached>, page: usize, epoch: u64) {
        let mut inner = self.inner.write();
        if self.epoch() != epoch {
            return;
        }
        if inner.blocks.len() >= Self::MAX_BLOCKS {
            *inner = Inner::default();
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        let key = block.block.key;
        if inner.blocks.insert(key, Arc::clone(block)).is_none() {
            inner.pages.entry(page).or_default().push(key);
        }
        if let Some(next) = block.next_page {
            let keys = inner.pages.entry(next).or_default();
            // A block whose last instruction goes on now in one page, now in another, comes here again and again.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }

    /// Drops the blocks of all pages that have been written since their code was read.
    fn drop_stale(&self, ram: &Ram) {
        if !ram.code_pages().any_stale() {
            return;
        }
        let mut inner = self.inner.write();
        let stale = ram.code_pages().take_stale();
        if stale.is_empty() {
            return ram.code_pages().dropped();
        }
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for page in &stale {
            for key in inner.pages.remove(page).unwrap_or_default() {
                inner.blocks.remove(&key);
            }
        }
        if let Some(translations) = self.translations() {
            translations.drop_pages(&stale);
        }
        // Not before: whoever finds nothing stale takes the epoch for settled, and keeps its jumps.
        ram.code_pages().dropped();
    }

    /// Drops everything: the machine has been reset or its memory replaced.
    pub fn clear(&self) {
        let mut inner = self.inner.write();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        *inner = Inner::default();
        if let Some(translations) = self.translations() {
            translations.clear();
        }
    }
}

impl<I: Isa> Vcpu<I> {
    /// The block that is identified by `key` and lies at the program counter, lifted if need be.
    pub(crate) fn find_or_lift(&mut self, key: BlockKey) -> Result<Arc<Cached>, Exception> {
        if let Some(cached) = self.blocks.get(&key)
            && self.same_next_page(&cached)?
        {
            return Ok(cached);
        }
        let epoch = self.blocks.epoch();
        let cached = Arc::new(self.lift(key, usize::MAX)?);
        self.blocks.insert(&cached, page_of(key.pa as usize), epoch);
        Ok(cached)
    }

    /// Whether the page that the block at the program counter reaches into is mapped as it was when the block was lifted.
    pub(crate) fn same_next_page(&mut self, cached: &Cached) -> Result<bool, Exception> {
        if cached.next_page.is_none() {
            return Ok(true);
        }
        let next = self.fetch_place(next_page(self.state.pc))?;
        Ok(cached.next_page == Some(next))
    }

    /// What identifies the block at the program counter.
    pub fn block_key(&mut self) -> Result<BlockKey, Exception> {
        let (offset, context) = self.find_code(self.state.pc)?;
        Ok(BlockKey { pa: offset as u64, ctx: self.mode.ctx | context })
    }

    /// The same, if the translation of the program counter is cached.
    #[inline]
    pub fn cached_block_key(&self) -> Option<BlockKey> {
        let (offset, context) = self.mmu.lookup_code(self.state.pc)?;
        Some(BlockKey { pa: offset as u64, ctx: self.mode.ctx | context })
    }

    /// Lifts the block with this key, which is that of the program counter, for a compiler: the block, and the RAM offset of
    /// the page that its last instruction reaches into, if it straddles. What is made of it is out of date if
    /// [`BlockMap::epoch`] has moved since before this call.
    pub fn lift_block(&mut self, key: BlockKey) -> Result<(Block, Option<usize>), Exception> {
        let cached = self.lift(key, usize::MAX)?;
        Ok((cached.block, cached.next_page))
    }

    /// What the block was made of that has been lifted last.
    pub fn code_read(&self) -> &CodeRead {
        &self.code_read
    }

    /// The page of the block with this key, for a compiler that may know the block's code. What is known of it is out of date
    /// if [`BlockMap::epoch`] has moved since before this call.
    pub fn code_page(&mut self, key: BlockKey) -> CodePage<'_> {
        let page = page_of(key.pa as usize);
        self.protect_code(page);
        CodePage { ram: self.bus.ram(), page }
    }

    /// Lifts the block with this key, wherever it lies, for a compiler. None if it reaches out of its page. What is made of it
    /// is out of date if [`BlockMap::epoch`] has moved since before this call.
    pub fn lift_within_page(&mut self, key: BlockKey) -> Option<Block> {
        let offset = key.pa as usize;
        let page = page_of(offset);
        self.protect_code(page);
        let (ram, read) = (self.bus.ram(), &mut self.code_read);
        read.clear();
        let mut code = CodeReader { ram, page, next: None, wants_next: false, read };
        let start = (offset - page) as u32;
        let block = self.isa.lift(&mut self.builder, key, start, &mut code, usize::MAX).ok()?;
        #[cfg(debug_assertions)]
        verified(&block, I::SLOTS);
        Some(block)
    }

    /// Lifts one block without keeping it: for single steps, where no block but this has this length.
    pub(crate) fn lift_one(&mut self) -> Result<Block, Exception> {
        Ok(self.lift_alone()?.block)
    }

    /// Lifts one instruction and checks that all of it may be fetched. That is how code runs in pages with protection finer
    /// than the page, too: a longer block could reach beyond what may be executed.
    pub(crate) fn lift_alone(&mut self) -> Result<Cached, Exception> {
        let key = self.block_key()?;
        let pc = self.state.pc;
        let cached = self.lift(key, 1)?;
        let len = cached.block.marks.first().map_or(2, |mark| u64::from(mark.len));
        for unit in (u64::from(I::FETCH_UNIT)..len).step_by(I::FETCH_UNIT.into()) {
            self.fetch_place(pc.wrapping_add(unit))?;
        }
        Ok(cached)
    }

    fn lift(&mut self, key: BlockKey, limit: usize) -> Result<Cached, Exception> {
        let offset = key.pa as usize;
        let page = page_of(offset);
        self.protect_code(page);
        let start = (offset - page) as u32;
        let mut reached = None;
        loop {
            let ram = self.bus.ram();
            let read = &mut self.code_read;
            read.clear();
            let mut code = CodeReader { ram, page, next: reached, wants_next: false, read };
            let lifted = self.isa.lift(&mut self.builder, key, start, &mut code, limit);
            let wants_next = code.wants_next;
            match lifted {
                Ok(block) => {
                    #[cfg(debug_assertions)]
                    verified(&block, I::SLOTS);
                    let next_page = reached.filter(|_| block.crosses_page);
                    return Ok(Cached { block, next_page, code: OnceLock::new() });
                }
                Err(_) if wants_next && reached.is_none() => {
                    let next = self.fetch_place(next_page(self.state.pc))?;
                    self.protect_code(page_of(next));
                    reached = Some(page_of(next));
                }
                Err(exception) => return Err(exception),
            }
        }
    }

    /// Makes every vCPU's writes to the page at `offset` slow, before its code is read.
    fn protect_code(&mut self, offset: usize) {
        if !self.bus.ram().code_pages().mark_code(offset) {
            return;
        }
        self.request(0..self.group().len(), Request::Protect(offset));
        self.bus.ram().code_pages().set_protected(offset);
    }

    /// Makes code written before visible to instructions fetched after: `fence.i`, `IC` with its barriers.
    pub fn sync_code(&mut self) {
        self.blocks.drop_stale(self.bus.ram());
        let epoch = self.blocks.epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.mmu.clear_jumps();
        }
    }
}

#[cfg(debug_assertions)]
fn verified(block: &Block, slots: &[crate::ir::SlotInfo]) {
    if let Err(error) = crate::ir::verify(block, slots) {
        panic!("the lifter made an invalid block: {error}\n{}", block.display(slots));
    }
}

fn page_of(offset: usize) -> usize {
    offset & !(PAGE_SIZE as usize - 1)
}
