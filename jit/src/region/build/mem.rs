//! Loads and stores, and copies and fills of ranges. Accesses of a block that have one base share a check, as in tier 1; through a window they share the host
//! address, but each has a branch of its own. For bases that move on in short steps
//! the region keeps the page that was accessed last: as long as the next address lies in it, there is nothing to look up.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, SourceLoc, TrapCode, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::ir::{Block, Inst, MemAttr, Op, Ty, Val, ValKind, View};
use emu_core::mem::{GUARD, PAGE_SIZE, SEGMENT_BITS, SEGMENTS, TlbEntry};

use super::bases::{Base, Fixed};
use super::{Any, FLAGS, Gen, Plan, step};
use crate::bulk::REFUSED;
use crate::frame;
use crate::region::place::{COPY_AT, FILL_AT};
use crate::template::guess::Likely;
use crate::template::mem::ENTRY_SHIFT;

/// Pages that a region keeps at most: each takes two registers, or room on the stack.
const MOST_CACHES: usize = 4;
/// A base that moves on by more bytes than this is in another page too often; measured: the wrong guesses of the host's branch
/// prediction then cost more than looking the page up.
const LONGEST_STEP: u64 = 64;
/// Bytes that one check covers at most.
const MOST_BYTES: i32 = 512;
/// The largest distance of an access from its base that regions have a form for.
const MOST_DISTANCE: u32 = 1 << 20;
const PAGE_MASK: i64 = -(PAGE_SIZE as i64);
/// What no address compares equal to, of which the bits of the page and the lowest are kept: see [`Gen::kept`].
const NO_PAGE: i64 = PAGE_SIZE as i64 / 2;
/// Guest memory: there, but aligned or not.
const GUEST: MemFlagsData = MemFlagsData::new().with_notrap();

/// Guest memory in the window: there or not.
const THROUGH: MemFlagsData = MemFlagsData::new().with_trap_code(Some(UNMAPPED));
/// What such accesses are known by in Cranelift's code.
pub(crate) const UNMAPPED: TrapCode = TrapCode::unwrap_user(1);

/// The number of an access in a region, not zero.
pub(super) fn site(node: usize, at: usize) -> u32 {
    // Far less than that many nodes, and operations in each.
    (node as u32 + 1) << 16 | at as u32
}

/// What to add to the addresses of each segment of the window, as long as a region runs. What else there is to know of it is
/// compared with where it lies in memory: registers are scarcer.
#[derive(Clone, Copy)]
pub(super) struct Window {
    addends: [Value; SEGMENTS],
}

impl Window {
    pub(super) fn load(f: &mut FunctionBuilder<'_>, state: Value) -> Self {
        let addend = |n| f.ins().load(types::I64, FLAGS, state, frame::segment(n).1.disp);
        Self { addends: std::array::from_fn(addend) }
    }

    /// The host address for an address in a segment.
    pub(super) fn host(self, f: &mut FunctionBuilder<'_>, address: Value, segment: Likely) -> Value {
        f.ins().iadd(address, self.addends[segment.segment()])
    }
}

/// Whether an address is not in the segment where it is thought to be.
pub(super) fn is_outside(f: &mut FunctionBuilder<'_>, state: Value, address: Value, likely: Likely) -> Value {
    let (what, of, differs) = match likely {
        Likely::Low => (address, frame::LOW, IntCC::UnsignedGreaterThanOrEqual),
        Likely::In(n) => {
            let own = f.ins().ushr_imm_u(address, i64::from(SEGMENT_BITS));
            (own, frame::segment(n).0, IntCC::NotEqual)
        }
    };
    let with = f.ins().load(types::I64, FLAGS, state, of.disp);
    f.ins().icmp(differs, what, with)
}

/// Whether the access has a form here.
pub(super) fn supports(inst: &Inst) -> bool {
    !matches!(inst.ty, Ty::F16)
        && !MemAttr::from_bits(inst.attr).exclusive
        && inst.imm.unsigned_abs() <= MOST_DISTANCE
}

/// Accesses of one block that share a check: those with one base while it does not change.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub base: Val,
    view: View,
    /// The bytes that are touched, from the base: first and last.
    pub first: i32,
    pub last: i32,
    write: bool,
    /// They go through the window.
    pub through: bool,
    /// The segment that the base has been found to be in where the region was entered.
    pub looked_at: Option<Likely>,
    cache: Option<usize>,
    /// What to add a distance from the base to, once the check has been made.
    host: Option<Value>,
}

/// The groups of a block, and for each operation the number of its group.
pub(super) type Groups = (Vec<Group>, Vec<Option<usize>>);

/// The page that was accessed last.
#[derive(Clone, Copy)]
pub(super) struct PageCache {
    /// The slot that all who share it have as base.
    slot: u16,
    /// It is looked up for writing.
    write: bool,
    /// Its virtual address.
    page: Variable,
    /// What to add to addresses in it.
    addend: Variable,
}

/// The groups of a block.
pub(super) fn groups(block: &Block, windowed: bool) -> Groups {
    let mut groups: Vec<Group> = Vec::new();
    let mut of = vec![None; block.insts.len()];
    let mut open: Vec<usize> = Vec::new();
    for (at, inst) in block.insts.iter().enumerate() {
        if matches!(inst.op, Op::Load | Op::Store) {
            let view = MemAttr::from_bits(inst.attr).view;
            let (first, last) = (inst.imm, inst.imm.saturating_add(inst.ty.bytes() as i32 - 1));
            let fits = |group: &Group| {
                group.base == inst.a
                    && group.view == view
                    && last.max(group.last).saturating_sub(first.min(group.first)) < MOST_BYTES
            };
            let number = match open.iter().find(|&&number| fits(&groups[number])) {
                Some(&number) => number,
                None => {
                    let (write, through) = (false, windowed && view == View::Current);
                    let base = inst.a;
                    let (looked_at, cache, host) = (None, None, None);
                    groups.push(Group { base, view, first, last, write, through, looked_at, cache, host });
                    open.push(groups.len() - 1);
                    groups.len() - 1
                }
            };
            let group = &mut groups[number];
            group.first = group.first.min(first);
            group.last = group.last.max(last);
            group.write |= inst.op == Op::Store;
            of[at] = Some(number);
        }
        open.retain(|&number| groups[number].base != inst.dst);
    }
    for group in &mut groups {
        let near = |distance: i32| u64::from(distance.unsigned_abs()) <= GUARD;
        group.through &= near(group.first) && near(group.last);
    }
    (groups, of)
}

/// Whether the slot does not change in the region but by short steps.
fn steps_only(plan: &Plan, slot: u16) -> bool {
    let slot = Val::slot(slot);
    plan.nodes.iter().all(|node| {
        let is_short =
            |inst: &Inst| step(&node.block, inst).is_some_and(|by| by.unsigned_abs() <= LONGEST_STEP);
        node.block.insts.iter().all(|inst| inst.dst != slot || is_short(inst))
    })
}

/// Declares what the region keeps of pages, of which nothing is known at first; the groups of each node know theirs.
pub(super) fn plan_caches(f: &mut FunctionBuilder<'_>, plan: &Plan, groups: &mut [Groups]) -> Vec<PageCache> {
    let mut caches: Vec<PageCache> = Vec::new();
    for (groups, _) in groups {
        for group in groups {
            let slot = match group.base.kind() {
                ValKind::Slot(n) if group.view == View::Current && !group.through && steps_only(plan, n) => n,
                _ => continue,
            };
            if let Some(number) = caches.iter().position(|cache| cache.slot == slot) {
                caches[number].write |= group.write;
                group.cache = Some(number);
            } else if caches.len() < MOST_CACHES {
                let (page, addend) = (f.declare_var(types::I64), f.declare_var(types::I64));
                let (none, zero) = (f.ins().iconst(types::I64, NO_PAGE), f.ins().iconst(types::I64, 0));
                f.def_var(page, none);
                f.def_var(addend, zero);
                group.cache = Some(caches.len());
                caches.push(PageCache { slot, write: group.write, page, addend });
            }
        }
    }
    caches
}

impl Gen<'_, '_> {
    /// The address of the entry for `va` among the translations at `table`, whose offsets are masked by `mask`.
    pub(super) fn tlb_entry(&mut self, va: Value, table: Value, mask: Value) -> Value {
        let shifted = self.f.ins().ushr_imm_u(va, i64::from(ENTRY_SHIFT));
        let offset = self.f.ins().band(shifted, mask);
        self.f.ins().iadd(offset, table)
    }

    /// The host address of the base of an access, which may be made from there on, and how.
    fn reach(&mut self, at: usize) -> (Value, MemFlagsData) {
        let number = self.group_of[at].unwrap_or_else(|| unreachable!("every access has a group"));
        let group = self.groups[number];
        let (Some(window), true) = (self.window, group.through) else {
            return (self.reach_by_tlb(number, group), GUEST);
        };
        // What an access does that the host refuses is what the branch just before it would have done: each has one of its own,
        // and nothing may come between.
        let site = site(self.node, at);
        let firm = self.outside.firm.contains(&site);
        let (host, outside) = match group.host {
            Some(host) => (host, None),
            None => match group.looked_at {
                Some(likely) => (self.host_in(window, likely, group.base, at), None),
                None => {
                    let base = self.int_of(group.base);
                    self.find_segment(window, base, at)
                }
            },
        };
        // What has been cast is no part of another's address, so it is made before the branch, and needs one register.
        let host = if firm { self.bits_as(types::I64, host) } else { host };
        let outside = outside.unwrap_or_else(|| self.f.ins().icmp_imm_u(IntCC::Equal, self.state, 0));
        self.bail_out_if(outside);
        self.groups[number].host = Some(host);
        self.f.set_srcloc(SourceLoc::new(site));
        (host, THROUGH)
    }

    /// The host address for `base`, that of the operation `at`, which is in that segment.
    fn host_in(&mut self, window: Window, likely: Likely, base: Val, at: usize) -> Value {
        let block = self.block();
        let own = Base::of(block, base, at).filter(|_| matches!(base.kind(), ValKind::Temp(_)));
        let own = own.and_then(|own| Some((own, block.insts[block.made(base, at)?].b)));
        let mut sums = [own, Base::below(block, base, at)].into_iter().flatten();
        let fixed = sums.find_map(|(base, moving)| {
            let is_it = |fixed: &&Fixed| (fixed.base, fixed.likely) == (base, likely);
            Some((self.fixed.iter().find(is_it)?.host, moving))
        });
        if let Some((fixed, moving)) = fixed {
            let moving = self.int_of(moving);
            return self.f.ins().iadd(moving, fixed);
        }
        let base = self.int_of(base);
        window.host(&mut self.f, base, likely)
    }

    /// The host address for `base`, that of the operation `at`; and whether it is none, if that is yet to be seen to. Segments where
    /// the access goes more seldom are looked at aside.
    fn find_segment(&mut self, window: Window, base: Value, at: usize) -> (Value, Option<Value>) {
        let segments = self.plan.segments(self.node, at);
        let (&last, others) = segments.split_last().unwrap_or_else(|| unreachable!("there is one at least"));
        let state = self.state;
        let in_segment = |f: &mut FunctionBuilder<'_>, segment: Likely| {
            let host = window.host(f, base, segment);
            (host, is_outside(f, state, base, segment))
        };
        if others.is_empty() {
            let (host, outside) = in_segment(&mut self.f, last);
            return (host, Some(outside));
        }
        // What it writes back is found here, on the way to all that goes there.
        let again = self.again();
        let found = self.f.create_block();
        self.f.append_block_param(found, types::I64);
        for &segment in others {
            let (host, outside) = in_segment(&mut self.f, segment);
            let aside = self.f.create_block();
            self.f.set_cold_block(aside);
            self.f.ins().brif(outside, aside, &[], found, &[host.into()]);
            self.begin(aside);
        }
        let (host, outside) = in_segment(&mut self.f, last);
        self.f.ins().brif(outside, again, &[], found, &[host.into()]);
        self.begin(found);
        (self.f.block_params(found)[0], None)
    }

    fn reach_by_tlb(&mut self, number: usize, group: Group) -> Value {
        if let Some(host) = group.host {
            return host;
        }
        let base = self.int_of(group.base);
        let first = self.plus(base, i64::from(group.first));
        let len = i64::from(group.last - group.first) + 1;
        let addend = match group.cache {
            Some(cache) => {
                let cache = self.pages[cache];
                self.kept(cache, group.view, first, len)
            }
            None => {
                let (_, addend) = self.look_up(group.view, group.write, first, len);
                addend
            }
        };
        let host = self.f.ins().iadd(base, addend);
        self.groups[number].host = Some(host);
        host
    }

    /// What to add to an address in the page where `len` bytes from `first` on are: the one kept, if they are there.
    fn kept(&mut self, cache: PageCache, view: View, first: Value, len: i64) -> Value {
        let (look, hit) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(look);
        let last = self.f.use_var(cache.page);
        // A unit of its own size is all in one page if it is aligned.
        let unit = len <= 8 && (len as u64).is_power_of_two();
        let page = self.f.ins().band_imm_s(first, PAGE_MASK | if unit { len - 1 } else { 0 });
        let same = self.f.ins().icmp(IntCC::Equal, page, last);
        if unit {
            self.f.ins().brif(same, hit, &[], look, &[]);
        } else {
            let fits = self.f.create_block();
            self.f.ins().brif(same, fits, &[], look, &[]);
            self.begin(fits);
            let within = self.f.ins().band_imm_s(first, PAGE_SIZE as i64 - 1);
            let crosses = self.f.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, within, PAGE_SIZE as i64 - len);
            self.f.ins().brif(crosses, look, &[], hit, &[]);
        }
        self.begin(look);
        let (page, addend) = self.look_up(view, cache.write, first, len);
        self.f.def_var(cache.page, page);
        self.f.def_var(cache.addend, addend);
        self.f.ins().jump(hit, &[]);
        self.begin(hit);
        self.f.use_var(cache.addend)
    }

    /// Looks the page of `len` bytes from `first` on up: its address, and what to add to addresses in it. Where that is not all,
    /// the region is left.
    fn look_up(&mut self, view: View, write: bool, first: Value, len: i64) -> (Value, Value) {
        let table = self.state_load(types::I64, frame::tlb(view as usize));
        let mask = self.state_load(types::I64, frame::tlb_mask(view as usize));
        let entry = self.tlb_entry(first, table, mask);
        let end = self.plus(first, len - 1);
        let page = self.f.ins().band_imm_s(end, PAGE_MASK);
        let tag = if write { offset_of!(TlbEntry, write) } else { offset_of!(TlbEntry, read) };
        let tag = self.f.ins().load(types::I64, FLAGS, entry, tag as i32);
        let differs = self.f.ins().icmp(IntCC::NotEqual, page, tag);
        self.bail_out_if(differs);
        let addend = self.f.ins().load(types::I64, FLAGS, entry, offset_of!(TlbEntry, addend) as i32);
        (page, addend)
    }

    pub(super) fn load(&mut self, inst: &Inst, at: usize) {
        let (host, flags) = self.reach(at);
        let imm = inst.imm;
        let signed = MemAttr::from_bits(inst.attr).signed;
        let ty = types::I64;
        let value = match (inst.ty, signed) {
            (Ty::I8, false) => self.f.ins().uload8(ty, flags, host, imm),
            (Ty::I8, true) => self.f.ins().sload8(ty, flags, host, imm),
            (Ty::I16, false) => self.f.ins().uload16(ty, flags, host, imm),
            (Ty::I16, true) => self.f.ins().sload16(ty, flags, host, imm),
            (Ty::I32, false) => self.f.ins().uload32(flags, host, imm),
            (Ty::I32, true) => self.f.ins().sload32(flags, host, imm),
            (Ty::F32, _) => self.f.ins().load(types::F32, flags, host, imm),
            (Ty::F64, _) => self.f.ins().load(types::F64, flags, host, imm),
            (Ty::V128, _) => self.f.ins().load(types::I8X16, flags, host, imm),
            _ => self.f.ins().load(ty, flags, host, imm),
        };
        let value = match inst.ty {
            Ty::F32 => Any::Single(value),
            Ty::F64 => Any::Double(value),
            Ty::V128 => Any::Vector(value),
            _ => Any::Int(value),
        };
        self.f.set_srcloc(SourceLoc::default());
        self.set(inst.dst, value);
    }

    /// Copies or fills a range by a function that does so where that is simple; else tier 1 does.
    pub(super) fn bulk(&mut self, inst: &Inst) {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([AbiParam::new(types::I64); 4]);
        signature.returns.push(AbiParam::new(types::I64));
        let signature = self.f.import_signature(signature);
        let at = if inst.op == Op::Copy { COPY_AT } else { FILL_AT };
        let function = self.f.ins().load(types::I64, FLAGS, self.places, at);
        let [a, b, c] = [inst.a, inst.b, inst.c].map(|val| self.int_of(val));
        let call = self.f.ins().call_indirect(signature, function, &[self.state, a, b, c]);
        let left = self.f.inst_results(call)[0];
        let refuses = self.f.ins().icmp_imm_s(IntCC::Equal, left, REFUSED);
        self.bail_out_if(refuses);
        self.set(inst.dst, Any::Int(left));
    }

    /// The same value, made by an instruction of its own.
    fn made_here(&mut self, ty: Ty, value: Value) -> Value {
        match ty {
            Ty::F32 | Ty::F64 | Ty::V128 => self.f.ins().bor(value, value),
            _ => self.f.ins().iadd_imm_s(value, 0),
        }
    }

    pub(super) fn store(&mut self, inst: &Inst, at: usize) {
        let value = match inst.ty {
            Ty::F32 => self.single_of(inst.b),
            Ty::F64 => self.double_of(inst.b),
            Ty::V128 => self.vector_of(inst.b),
            _ => self.int_of(inst.b),
        };
        // What has just been made is in a register at the branch, and is not to be fetched behind it.
        let through = self.group_of[at].is_some_and(|group| self.groups[group].through);
        let firm = through && self.outside.firm.contains(&site(self.node, at));
        let value = if firm { self.made_here(inst.ty, value) } else { value };
        let (host, flags) = self.reach(at);
        let imm = inst.imm;
        match inst.ty {
            Ty::I8 => self.f.ins().istore8(flags, value, host, imm),
            Ty::I16 => self.f.ins().istore16(flags, value, host, imm),
            Ty::I32 => self.f.ins().istore32(flags, value, host, imm),
            _ => self.f.ins().store(flags, value, host, imm),
        };
        self.f.set_srcloc(SourceLoc::default());
        if MemAttr::from_bits(inst.attr).release {
            self.f.ins().fence();
        }
    }
}
