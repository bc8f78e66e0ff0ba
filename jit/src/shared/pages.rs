//! Which blocks begin in a page, and what else has been made of its code.

use std::hash::{Hash, Hasher};

use emu_core::ir::BlockKey;
use emu_core::mem::PAGE_SIZE;

use super::{Found, Map, Variant};

/// The blocks of all pages, by RAM offset. Those of one page lie together: what runs now is mostly in few of them.
#[derive(Default)]
pub(super) struct Pages(Map<usize, Page>);

#[derive(Default)]
struct Page {
    blocks: Map<Local, (u32, Found)>,
    /// Blocks of other pages that reach into this one, and regions. They may be gone.
    others: Vec<u32>,
    /// The contexts in which its kept translations have been asked for as a whole.
    asked: Vec<u32>,
}

/// A block's code among those of its page.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Local {
    ctx: u32,
    offset: u16,
    variant: Variant,
}

impl Hash for Local {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { ctx, offset, variant } = *self;
        state.write_u64(u64::from(ctx) << 32 | u64::from(offset) << 1 | u64::from(variant == Variant::Plain));
    }
}

/// The page of a block, and which one it is there.
fn split(key: BlockKey, variant: Variant) -> (usize, Local) {
    let offset = key.pa & (PAGE_SIZE - 1);
    ((key.pa - offset) as usize, Local { ctx: key.ctx, offset: offset as u16, variant })
}

impl Pages {
    /// Contexts of one page that are told from each other as long as it is the same.
    const MOST_CONTEXTS: usize = 16;

    /// What is executed for a block.
    pub(super) fn get(&self, key: BlockKey, variant: Variant) -> Option<(u32, Found)> {
        let (page, local) = split(key, variant);
        self.0.get(&page)?.blocks.get(&local).copied()
    }

    /// Enters what is to be executed for a block; the number of what was before.
    pub(super) fn insert(
        &mut self,
        (key, variant): (BlockKey, Variant),
        (id, found): (u32, Found),
    ) -> Option<u32> {
        let (page, local) = split(key, variant);
        let old = self.0.entry(page).or_default().blocks.insert(local, (id, found));
        old.map(|(id, _)| id)
    }

    /// Forgets a block, unless it has been replaced.
    pub(super) fn remove(&mut self, (key, variant): (BlockKey, Variant), id: u32) {
        let (page, local) = split(key, variant);
        let Some(page) = self.0.get_mut(&page) else { return };
        if page.blocks.get(&local).is_some_and(|&(current, _)| current == id) {
            page.blocks.remove(&local);
        }
    }

    /// Notes that something depends on a page that begins elsewhere; `is_alive` tells what is not gone.
    pub(super) fn depend(&mut self, page: usize, id: u32, is_alive: impl Fn(u32) -> bool) {
        let others = &mut self.0.entry(page).or_default().others;
        if others.len() == others.capacity() {
            // Those that have been evicted would pile up.
            others.retain(|&id| is_alive(id));
        }
        others.push(id);
    }

    /// Takes all that depends on a page, whose code has changed.
    pub(super) fn take(&mut self, page: usize) -> Vec<u32> {
        let Some(page) = self.0.get_mut(&page) else { return Vec::new() };
        let mut ids = std::mem::take(&mut page.others);
        ids.extend(std::mem::take(&mut page.blocks).into_values().map(|(id, _)| id));
        ids
    }

    /// Whether nobody has asked for the kept translations of this page in this context before.
    pub(super) fn ask(&mut self, page: usize, ctx: u32) -> bool {
        let asked = &mut self.0.entry(page).or_default().asked;
        let first = asked.len() < Self::MOST_CONTEXTS && !asked.contains(&ctx);
        if first {
            asked.push(ctx);
        }
        first
    }

    /// Lets that be asked again.
    pub(super) fn forget(&mut self, page: usize, ctx: u32) {
        if let Some(page) = self.0.get_mut(&page) {
            page.asked.retain(|&asked| asked != ctx);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
