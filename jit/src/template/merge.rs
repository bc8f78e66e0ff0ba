//! Which memory accesses of a block share one check of the soft TLB.
//!
//! Accesses at small distances from the same address mostly lie in one page: fields of a structure, the slots of a stack
//! frame. Such accesses form a *group*. The first of them, the leader, looks up the page of the lowest byte that any of them
//! touches and compares its tag with the page of the highest; if they match, the whole range lies in one page that may be
//! accessed, and the others need no check of their own: the leader leaves the host address in a temporary.
//!
//! If they do not match, and it is not for want of a cached translation, the block leaves before the leader's instruction for
//! another version of its rest, which is compiled without groups ([`crate::shared::Variant::Plain`]). So a leader must be an
//! access before which its instruction has done nothing yet, and at whose instruction another block could begin.

use emu_core::exec::SLOTS;
use emu_core::ir::{Block, MemAttr, Op, Ty, Val, ValKind};

use super::regs::Regs;

/// Bytes that a group may span.
const SPAN: i64 = 1024;
/// Groups that are followed at a time.
const OPEN: usize = 4;

/// An address as far as it is known: a value that nothing is known of, and the distance from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    root: u32,
    offset: i64,
}

/// Accesses that share a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    place: Place,
    view: u8,
    /// The bytes touched, from the root: first, and behind the last.
    low: i64,
    high: i64,
    /// One of them is a store.
    pub write: bool,
    /// The operations that the first and the last of them are.
    leader: u32,
    last: u32,
    members: u32,
    /// The temporary that holds the host address of the leader's base.
    pub host: Val,
}

/// An access that is part of a group.
#[derive(Clone, Copy, Debug)]
struct Member {
    inst: u32,
    group: u32,
    /// The unit's distance from the root.
    offset: i64,
}

/// What an access is to its group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// It checks for all. The bytes they touch, from its base register: first and last; and whether one of them writes.
    Leader { host: Val, first: i32, last: i32, write: bool },
    /// It finds its unit at this distance from the host address.
    Follower { host: Val, distance: i32 },
}

/// The groups of one block.
#[derive(Default)]
pub(crate) struct Groups {
    groups: Vec<Group>,
    members: Vec<Member>,
    open: Vec<u32>,
    next: usize,
    roots: u32,
    slots: Vec<Option<Place>>,
    temps: Vec<Option<Place>>,
}

impl Groups {
    /// Forgets the last block's groups.
    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.members.clear();
        self.open.clear();
        self.next = 0;
    }

    /// Finds the groups of `block`, and gives each a temporary.
    pub(crate) fn find(&mut self, block: &Block, regs: &mut Regs) {
        self.clear();
        self.roots = 0;
        self.slots.clear();
        self.slots.resize(SLOTS, None);
        self.temps.clear();
        self.temps.resize(usize::from(block.temps), None);
        let mut marks = block.marks.iter().peekable();
        // Whether another block could begin with the instruction at hand, and it has done nothing yet.
        let mut fresh = false;
        let mut live_until = 0;
        for (at, inst) in block.insts.iter().enumerate() {
            while marks.peek().is_some_and(|mark| usize::from(mark.inst) <= at) {
                marks.next();
                fresh = (live_until as usize) < at || at == 0;
            }
            match inst.op {
                Op::Load | Op::Store => self.access(block, at, fresh),
                Op::Call => {
                    // It may change every slot, and how addresses translate.
                    self.open.clear();
                    self.slots.fill(None);
                }
                _ => {}
            }
            fresh &= !matches!(
                inst.op,
                Op::Store
                    | Op::Zero
                    | Op::Copy
                    | Op::Fill
                    | Op::Amo
                    | Op::Cas
                    | Op::Cas128
                    | Op::Call
                    | Op::ExitIf
            );
            let known = self.result(block, at);
            match inst.dst.kind() {
                ValKind::Slot(n) => {
                    self.slots[usize::from(n) % SLOTS] = known;
                    fresh = false;
                }
                ValKind::Temp(n) => {
                    self.temps[usize::from(n)] = known;
                    live_until = live_until.max(regs.last_use(inst.dst).unwrap_or(0));
                }
                ValKind::Const(_) | ValKind::None => {}
            }
        }
        for group in self.groups.iter_mut().filter(|group| group.members > 1) {
            group.host = regs.add_temp(group.last);
        }
    }

    /// What the access that is operation `at` is to a group, if it is in one. Called in the order of operations.
    pub(crate) fn role(&mut self, at: usize) -> Option<Role> {
        while self.members.get(self.next).is_some_and(|member| (member.inst as usize) < at) {
            self.next += 1;
        }
        let member = self.members.get(self.next).filter(|member| member.inst as usize == at)?;
        let group = self.groups[member.group as usize];
        if group.members < 2 {
            return None;
        }
        let base = group.place.offset;
        let from_base = |offset: i64| (offset - base) as i32; // SPAN and the limits of offsets bound it
        Some(if group.leader == member.inst {
            Role::Leader {
                host: group.host,
                first: from_base(group.low),
                last: from_base(group.high - 1),
                write: group.write,
            }
        } else {
            Role::Follower { host: group.host, distance: from_base(member.offset) }
        })
    }

    fn place(&mut self, val: Val) -> Option<Place> {
        let known = match val.kind() {
            ValKind::Slot(n) => &mut self.slots[usize::from(n) % SLOTS],
            ValKind::Temp(n) => &mut self.temps[usize::from(n)],
            ValKind::Const(_) | ValKind::None => return None,
        };
        Some(*known.get_or_insert_with(|| {
            self.roots += 1;
            Place { root: self.roots, offset: 0 }
        }))
    }

    /// What is known of the result of operation `at`.
    fn result(&mut self, block: &Block, at: usize) -> Option<Place> {
        let inst = &block.insts[at];
        let (from, distance) = match inst.op {
            Op::Mov if inst.ty == Ty::I64 => (inst.a, 0),
            Op::Add if inst.ty == Ty::I64 => match (block.constant(inst.a), block.constant(inst.b)) {
                (None, Some(value)) => (inst.a, value as i64),
                (Some(value), None) => (inst.b, value as i64),
                _ => return None,
            },
            Op::Sub if inst.ty == Ty::I64 => (inst.a, (block.constant(inst.b)? as i64).checked_neg()?),
            _ => return None,
        };
        let place = self.place(from)?;
        let offset = place.offset.checked_add(distance).filter(|sum| sum.unsigned_abs() < 1 << 24)?;
        Some(Place { offset, ..place })
    }

    fn access(&mut self, block: &Block, at: usize, fresh: bool) {
        let inst = &block.insts[at];
        let attr = MemAttr::from_bits(inst.attr);
        if attr.exclusive || inst.ty.bytes() == 0 {
            return;
        }
        let Some(place) = self.place(inst.a) else { return };
        let (view, write, at) = (attr.view as u8, inst.op == Op::Store, at as u32);
        let low = place.offset + i64::from(inst.imm);
        let high = low + inst.ty.bytes() as i64;
        if let Some(&number) = self.open.iter().find(|&&number| {
            let group = &self.groups[number as usize];
            let span = group.high.max(high) - group.low.min(low);
            group.place.root == place.root && group.view == view && span <= SPAN
        }) {
            let group = &mut self.groups[number as usize];
            (group.low, group.high) = (group.low.min(low), group.high.max(high));
            group.write |= write;
            group.last = at;
            group.members += 1;
            self.members.push(Member { inst: at, group: number, offset: low });
        } else if fresh {
            let number = self.groups.len() as u32;
            let group =
                Group { place, view, low, high, write, leader: at, last: at, members: 1, host: Val::NONE };
            self.groups.push(group);
            self.members.push(Member { inst: at, group: number, offset: low });
            self.open.retain(|&open| self.groups[open as usize].place.root != place.root);
            if self.open.len() >= OPEN {
                self.open.remove(0);
            }
            self.open.push(number);
        }
    }
}
