//! Regions of tier 2 among the translated blocks: their heads are elected, they are compiled elsewhere, and published in the
//! place of blocks.

use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use emu_core::ir::BlockKey;

use super::{Found, Inner, JitShared, Published, Variant};
use crate::region::place::Compiled;
use crate::region::plan::Plan;

/// What a region that is given up has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It was left too soon, could not be made, or is no better than those that it took the place of: the next may be another.
    Left,
    /// It was measured to be slower than tier 1: the next will hardly be another, but the measurement may have been wrong.
    Slow,
}

impl Flaw {
    /// How long its place is left alone at first, how many times as long each time after that, and the longest.
    const fn rest(self) -> (Duration, u32, Duration) {
        match self {
            Self::Left => (Duration::from_millis(20), 2, Duration::from_secs(20)),
            Self::Slow => (Duration::from_secs(1), 60, Duration::from_secs(1200)),
        }
    }
}

/// A region that is being compiled.
pub(super) struct Ticket {
    number: u64,
    /// RAM offsets of the pages that its code was read from.
    pages: Vec<usize>,
    /// It has changed since.
    stale: bool,
}

/// What is known of a place that has been chosen as the head of a region.
#[derive(Default)]
pub(super) struct Election {
    /// It is left alone until then: its region was given up, or none could be made. Else it is not to be chosen again.
    rests_until: Option<Instant>,
    /// How long it was left alone last.
    rest: Duration,
}

/// What became of a region that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publication {
    Done,
    /// Its code has changed, or there was no room.
    Outdated,
    /// There is a larger one at one of its entries.
    Outdone,
}

impl Election {
    fn has_rested(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() >= until)
    }

    /// Has the place left alone for a while, each time a longer one.
    fn rest(&mut self, flaw: Flaw) {
        let (first, times, longest) = flaw.rest();
        self.rest = (times * self.rest).clamp(first, longest);
        self.rests_until = Some(Instant::now() + self.rest);
    }
}

impl JitShared {
    /// Whether tier 1 has code for the block with this key.
    pub(crate) fn is_translated(&self, key: BlockKey) -> bool {
        self.inner.lock().pages.get(key, Variant::Merged).is_some_and(|(_, found)| found.code != 0)
    }

    /// Interrupts the vCPUs that run translated code, so that they can be seen, and says whether all of them need not be seen often;
    /// none if there is no such vCPU.
    pub(crate) fn interrupt_running(&self) -> Option<bool> {
        let runs = |count: &AtomicU64| !count.load(Relaxed).is_multiple_of(2);
        let vcpus = self.passages.iter().zip(self.group.ports()).enumerate();
        let running = vcpus.filter(|(_, (count, _))| runs(count)).map(|(vcpu, (_, port))| {
            let settled = self.looks.ask_for(vcpu);
            port.interrupt();
            settled
        });
        running.reduce(|all, settled| all && settled)
    }

    /// The number of the region that can be entered at the block with this key.
    pub(crate) fn region_at(&self, key: BlockKey) -> Option<u32> {
        self.inner.lock().entry(key)?.region.first().copied()
    }

    /// Whether there is a region that is as large, at one of the places where this can be entered.
    pub(crate) fn is_outdone(&self, plan: &Plan, ctx: u32) -> bool {
        self.inner.lock().is_outdone(plan, ctx)
    }

    /// Whether there are regions that can be entered at places in this one.
    pub(crate) fn has_regions_in(&self, plan: &Plan) -> bool {
        let inner = self.inner.lock();
        plan.nodes.iter().any(|node| !inner.entries_with(node.block.key).is_empty())
    }

    /// Lets a place be elected again, at once.
    pub(crate) fn end_rest(&self, key: BlockKey) {
        self.inner.lock().elected.entry(key).or_default().rests_until = Some(Instant::now());
    }

    /// Has a place left alone for a while.
    pub(crate) fn let_rest(&self, key: BlockKey) {
        self.inner.lock().elected.entry(key).or_default().rest(Flaw::Left);
    }

    /// Takes the region that can be entered there out of use for a while, which is longer each time: after that its places may be
    /// elected again.
    pub(crate) fn retire_region(&self, key: BlockKey, flaw: Flaw) {
        let mut inner = self.inner.lock();
        let Some((id, _)) = inner.pages.get(key, Variant::Merged) else { return };
        let entries = inner.entries_with(key);
        if entries.is_empty() {
            return;
        }
        self.drop_block(&mut inner, id);
        entries.into_iter().for_each(|key| inner.elected.entry(key).or_default().rest(flaw));
        self.blocks.advance_epoch();
        drop(inner);
        self.counters.regions_retired.fetch_add(1, Relaxed);
        self.group.ports().iter().for_each(|port| port.interrupt());
    }

    /// Makes a place the head of a region; false if it has been before, and is not to be again now.
    pub(crate) fn elect(&self, key: BlockKey) -> bool {
        match self.inner.lock().elected.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Election::default());
                true
            }
            Entry::Occupied(mut place) => {
                let election = place.get_mut();
                let has_rested = election.has_rested();
                if has_rested {
                    election.rests_until = None;
                }
                has_rested
            }
        }
    }

    /// Whether a place may be made the head of a region now.
    pub(crate) fn may_be_elected(&self, key: BlockKey) -> bool {
        self.inner.lock().elected.get(&key).is_none_or(Election::has_rested)
    }

    /// Notes that a region is to be compiled, whose code has been read since `epoch` was seen; none if that is out of date.
    pub(crate) fn open_ticket(&self, plan: &Plan, epoch: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        if self.blocks.epoch() != epoch {
            return None;
        }
        inner.last_ticket += 1;
        let number = inner.last_ticket;
        let pages = plan.pages.iter().map(|page| page.ram).collect();
        inner.tickets.push(Ticket { number, pages, stale: false });
        Some(number)
    }

    /// Forgets about a region that was to be compiled. True if its code is still what it was.
    pub(crate) fn close_ticket(&self, number: u64) -> bool {
        self.inner.lock().close_ticket(number)
    }

    /// Publishes a region in the place of the blocks at its entries.
    pub(crate) fn publish_region(
        &self,
        plan: &Plan,
        (ctx, host_base): (u32, u64),
        ticket: u64,
        compiled: &Compiled,
    ) -> Publication {
        let entries: Vec<i32> = plan.entries.iter().map(|&node| plan.place(node) as i32).collect();
        let hosts: Vec<u64> = plan.pages.iter().map(|page| host_base + page.ram as u64).collect();
        let room = compiled.room(entries.len(), hosts.len());
        let mut place = self.region_chunk.lock();
        if place.room() < room || self.inner.lock().segments[place.segment].serial != place.serial {
            // Nobody runs anything here: it waits for all vCPUs.
            let Some(chunk) = self.chunk(usize::MAX, room) else { return Publication::Outdated };
            *place = chunk;
        }
        let chunk = &mut *place;
        let base = self.place(chunk);
        let ids: Vec<u32> = plan.entries.iter().map(|_| self.new_id()).collect();
        let placed = compiled.place(&entries, &hosts, self.hot, &self.stubs, base, ids[0]);
        let Some(placed) = placed else { return Publication::Outdated };
        let mut inner = self.inner.lock();
        let valid = inner.segments[chunk.segment].serial == chunk.serial && inner.close_ticket(ticket);
        if !valid || chunk.room() < placed.code.bytes.len() {
            return Publication::Outdated;
        }
        let keys: Vec<BlockKey> = plan.entry_keys(ctx).collect();
        if inner.is_outdone(plan, ctx) {
            // A loop around this one has become a region meanwhile.
            inner.elected.entry(keys[0]).or_default().rest(Flaw::Left);
            return Publication::Outdone;
        }
        let start = chunk.start;
        let code = self.write(chunk, &placed.code.bytes);
        self.faults.insert(code, placed.code.faults);
        for exit in &placed.code.exits {
            self.memory.patch(start + exit.site as usize, exit.cold_displacement());
        }
        let mut exits = placed.code.exits;
        for gone in keys.iter().flat_map(|&key| inner.entries_with(key)).collect::<Vec<_>>() {
            // It is a part of this one now, and may be what it was if this is given up.
            if let Some(election) = inner.elected.get_mut(&gone).filter(|_| gone != keys[0]) {
                election.rests_until = Some(Instant::now());
            }
        }
        for ((&id, &key), offset) in ids.iter().zip(&keys).zip(placed.entries) {
            let found = Found { code: code + offset, next_page: None };
            if let Some(old) = inner.pages.insert((key, Variant::Merged), (id, found)) {
                self.drop_block(&mut inner, old);
            }
            inner.segments[chunk.segment].blocks.push(id);
            let Inner { pages, blocks, .. } = &mut *inner;
            for page in &plan.pages[1..] {
                pages.depend(page.ram, id, |id| blocks.contains_key(&id));
            }
            let published = Published {
                key,
                variant: Variant::Merged,
                found,
                start: start + offset,
                exits: std::mem::take(&mut exits),
                incoming: Vec::new(),
                region: ids.clone(),
                nodes: plan.blocks(),
            };
            inner.blocks.insert(id, published);
        }
        self.counters.code_bytes.fetch_add(placed.code.bytes.len() as u64, Relaxed);
        // Those who know the blocks must look the region up.
        self.blocks.advance_epoch();
        drop(inner);
        self.group.ports().iter().for_each(|port| port.interrupt());
        Publication::Done
    }
}

impl Inner {
    /// What is executed for the block with this key.
    fn entry(&self, key: BlockKey) -> Option<&Published> {
        self.blocks.get(&self.pages.get(key, Variant::Merged)?.0)
    }

    /// Where the region can be entered that has an entry there; nowhere if there is none.
    fn entries_with(&self, key: BlockKey) -> Vec<BlockKey> {
        let ids = self.entry(key).map_or(&[][..], |entry| &entry.region);
        ids.iter().filter_map(|id| Some(self.blocks.get(id)?.key)).collect()
    }

    fn is_outdone(&self, plan: &Plan, ctx: u32) -> bool {
        let is_as_large = |entry: &Published| entry.nodes >= plan.blocks();
        plan.entry_keys(ctx).any(|key| self.entry(key).is_some_and(is_as_large))
    }

    fn close_ticket(&mut self, number: u64) -> bool {
        let place = self.tickets.iter().position(|ticket| ticket.number == number);
        place.is_some_and(|place| !self.tickets.swap_remove(place).stale)
    }

    /// Notes that the code in these pages, by RAM offset, has changed.
    pub(super) fn outdate_tickets(&mut self, changed: impl Fn(usize) -> bool) {
        for ticket in &mut self.tickets {
            ticket.stale |= ticket.pages.iter().any(|&page| changed(page));
        }
    }
}
