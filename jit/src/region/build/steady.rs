//! Bases whose segment of the window is looked at only where the region is entered: those that the region changes by short steps
//! alone, or not at all.
//!
//! A base that leaves its segment leaves it by as little as it moves between two accesses, and the window has room on both sides
//! of a segment that is never mapped ([`GUARD`]). So the first access from outside is refused by the host, and the region is
//! left: provided that no node moves the base without an access by it.

use emu_core::ir::{Class, SlotInfo, Val, ValKind};
use emu_core::mem::GUARD;

use super::mem::{Group, Groups};
use super::step;
use crate::region::plan::Plan;
use crate::template::guess::Likely;

/// Bytes that a node may move a base by, and that accesses may be away from it. Between what two accesses touch, one after the
/// other, lie four such distances at most: that of each from the base, and what is left of two nodes.
const NEAR: u64 = GUARD / 4;

/// A base that is looked at once.
pub(super) struct Steady {
    pub slot: u16,
    /// Where it points to.
    pub likely: Likely,
}

/// Whether nothing but short steps changes the slot, each in a node with an access by it.
fn moves_little(plan: &Plan, slot: Val, all: &[Groups]) -> bool {
    plan.nodes.iter().zip(all).all(|(node, (groups, _))| {
        let own = node.block.insts.iter().filter(|inst| inst.dst == slot);
        let moved = own
            .map(|inst| step(&node.block, inst))
            .try_fold(0u64, |sum, by| sum.checked_add(by?.unsigned_abs()));
        let near = |distance: i32| u64::from(distance.unsigned_abs()) <= NEAR;
        let mut by_it = groups.iter().filter(|group| group.through && group.base == slot);
        let accesses = by_it.clone().next().is_some();
        by_it.all(|group: &Group| near(group.first) && near(group.last))
            && moved.is_some_and(|moved| moved == 0 || accesses && moved <= NEAR)
    })
}

/// Whether accesses by the slot have gone to several segments.
fn varies(plan: &Plan, slot: Val) -> bool {
    plan.nodes.iter().enumerate().any(|(number, node)| {
        let is_by_it = |at: usize| node.block.insts.get(at).is_some_and(|inst| inst.a == slot);
        node.accesses.iter().any(|seen| is_by_it(seen.at) && plan.varies(number, seen.at))
    })
}

/// Those bases; the groups of accesses by them say so.
pub(super) fn steady(plan: &Plan, infos: &[SlotInfo], all: &mut [Groups]) -> Vec<Steady> {
    let Some(guess) = &plan.seen else { return Vec::new() };
    let mut found = Vec::new();
    for info in infos.iter().filter(|info| info.class == Class::Int) {
        let slot = Val::slot(info.index);
        let is_base =
            all.iter().any(|(groups, _)| groups.iter().any(|group| group.through && group.base == slot));
        if !is_base || !moves_little(plan, slot, all) {
            continue;
        }
        let Some(likely) = guess.of_slot(info.index) else { continue };
        if varies(plan, slot) {
            continue;
        }
        found.push(Steady { slot: info.index, likely });
        for group in all.iter_mut().flat_map(|(groups, _)| groups) {
            if group.through && matches!(group.base.kind(), ValKind::Slot(n) if n == info.index) {
                group.looked_at = Some(likely);
            }
        }
    }
    found
}
