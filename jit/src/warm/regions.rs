//! Regions that are kept: found by the plan that they were compiled from, as a whole.
//!
//! | bytes | |
//! |---|---|
//! | 4 each | bytes of the plan and of the function, the function's alignment, how many links and accesses |
//! | | the plan ([`identity`]) |
//! | | the function |
//! | 8 each | links: target, and 1 if it goes to the plain version |
//! | 8 each | accesses that may fault: offset, and where to go on |

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use emu_core::ir::{Block, Op, ValKind};

use super::Damaged;
use crate::region::expected_at_entry;
use crate::region::place::Compiled;
use crate::region::plan::{Node, Plan, PlannedPage};

/// Bytes that all kept regions may have together.
const MOST_BYTES: usize = 16 << 20;
/// The largest number in a record's header: no region comes near it.
const MOST: usize = 1 << 20;
/// Bytes of the header.
const HEADER: usize = 20;

/// Takes the bytes of what is hashed as they are.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// All that the code of a region depends on: not where its pages lie, which is told to it where it is placed.
pub(crate) fn identity(plan: &Plan, ctx: u32) -> Vec<u8> {
    // By all their fields, so that none is forgotten.
    let Plan { base: _, pages, nodes, entries, windowed, seen, in_memory, around: _ } = plan;
    let mut bytes = Bytes::default();
    (ctx, entries, windowed, in_memory).hash(&mut bytes);
    pages.len().hash(&mut bytes);
    for PlannedPage { delta, ram: _, context } in pages {
        (delta, context).hash(&mut bytes);
    }
    nodes.len().hash(&mut bytes);
    for (node, Node { block, page, returns, edges, accesses: _ }) in nodes.iter().enumerate() {
        let Block { key: _, insts, consts, marks, temps, terminal, crosses_page } = block;
        (insts, consts, marks, temps, terminal, crosses_page).hash(&mut bytes);
        (page, plan.place(node), returns, edges).hash(&mut bytes);
        let Some(guess) = seen else { continue };
        for (at, inst) in insts.iter().enumerate() {
            // What forms registers are kept in, and where accesses are expected to go.
            if let ValKind::Slot(n) = inst.dst.kind() {
                i32::try_from(guess.slot(n) as i64).is_ok().hash(&mut bytes);
            }
            if *windowed {
                expected_at_entry(plan, block, at).hash(&mut bytes);
                if matches!(inst.op, Op::Load | Op::Store) {
                    (plan.segments(node, at), plan.varies(node, at)).hash(&mut bytes);
                }
            }
        }
    }
    bytes.0
}

/// The kept regions, by identity, and whether each has been found.
#[derive(Default)]
pub(super) struct Regions {
    all: HashMap<Vec<u8>, (Vec<u8>, bool)>,
    bytes: usize,
    /// Those of the ones that have been made here.
    new: usize,
}

impl Regions {
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Bytes of those that have been made here.
    pub(super) fn new_bytes(&self) -> usize {
        self.new
    }

    /// The region of this identity.
    pub(super) fn find(&mut self, identity: &[u8]) -> Option<Compiled> {
        let (record, used) = self.all.get_mut(identity)?;
        *used = true;
        Some(parts(record)?.1)
    }

    pub(super) fn keep(&mut self, identity: Vec<u8>, region: &Compiled) {
        if let Some(record) = write(&identity, region) {
            self.new += self.add(identity, record, true);
        }
    }

    /// Adds one that is not there, if there is room; how many bytes that are.
    fn add(&mut self, identity: Vec<u8>, record: Vec<u8>, used: bool) -> usize {
        let len = record.len();
        if self.bytes + len > MOST_BYTES || self.all.contains_key(&identity) {
            return 0;
        }
        self.bytes += len;
        self.all.insert(identity, (record, used));
        len
    }

    /// Adds what [`Regions::save`] has saved.
    pub(super) fn load(&mut self, mut saved: &[u8]) -> Result<(), Damaged> {
        while !saved.is_empty() {
            let (identity, _, len) = parts(saved).ok_or(Damaged)?;
            let (record, rest) = saved.split_at(len);
            self.add(identity.to_vec(), record.to_vec(), false);
            saved = rest;
        }
        Ok(())
    }

    /// Adds those that are not here yet.
    pub(super) fn merge(&mut self, other: Self) {
        self.new += other.new;
        for (identity, (record, used)) in other.all {
            self.add(identity, record, used);
        }
    }

    /// Appends all; those that have not been found only if there is much room.
    pub(super) fn save(&self, to: &mut Vec<u8>) {
        let crowded = self.bytes > MOST_BYTES / 2;
        self.all
            .values()
            .filter(|(_, used)| *used || !crowded)
            .for_each(|(record, _)| to.extend_from_slice(record));
    }
}

fn write(identity: &[u8], region: &Compiled) -> Option<Vec<u8>> {
    let Compiled { function, align, links, faults, .. } = region;
    let mut record = Vec::new();
    for number in [identity.len(), function.len(), *align, links.len(), faults.len()] {
        record.extend(u32::try_from(number).ok().filter(|_| number <= MOST)?.to_le_bytes());
    }
    record.extend_from_slice(identity);
    record.extend_from_slice(function);
    for &(target, plain) in links {
        record.extend(target.to_le_bytes());
        record.extend(u32::from(plain).to_le_bytes());
    }
    for &(at, slow) in faults {
        record.extend(at.to_le_bytes());
        record.extend(slow.to_le_bytes());
    }
    Some(record)
}

/// The record at the start of `bytes`: its identity, the region, and how long it is. None if it has not the right form.
fn parts(bytes: &[u8]) -> Option<(&[u8], Compiled, usize)> {
    let numbers: &[[u8; 4]; HEADER / 4] = bytes.get(..HEADER)?.as_chunks().0.try_into().ok()?;
    let [identity, function, align, links, faults] =
        numbers.map(|number| u32::from_le_bytes(number) as usize);
    if [identity, function, align, links, faults].iter().any(|&number| number > MOST) {
        return None;
    }
    let mut at = HEADER;
    let mut take = |len: usize| {
        let taken = bytes.get(at..at + len);
        at += len;
        taken
    };
    let (identity, function) = (take(identity)?, take(function)?);
    let (links, faults) = (take(8 * links)?, take(8 * faults)?);
    let pairs = |bytes: &[u8]| -> Vec<(u32, u32)> {
        let (words, _) = bytes.as_chunks::<8>();
        words
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
            })
            .collect()
    };
    let (links, faults) = (pairs(links), pairs(faults));
    let inside =
        |&(at, slow): &(u32, u32)| (at as usize) < function.len() && (slow as usize) < function.len();
    let valid = align.is_power_of_two()
        && align <= 64
        && !function.is_empty()
        && links.iter().all(|&(_, plain)| plain <= 1)
        && faults.iter().all(inside);
    let links = links.into_iter().map(|(target, plain)| (target as i32, plain != 0)).collect();
    let region = Compiled { function: function.to_vec(), align, links, faults, listing: None };
    valid.then_some((identity, region, at))
}
