//! The ways out of a region, and from block to block in it.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, Value, types};
use emu_core::ir::{Cc, Class, Inst};
use emu_core::mem::{PAGE_SIZE, TLB_ENTRIES, TlbEntry};

use super::flags::LateHeld;
use super::slots::{Form, Slot, lanes_like};
use super::{FLAGS, Gen};
use crate::frame;
use crate::region::place::{EXIT_GO, EXIT_LEAVE, EXIT_LINKS, PAGES_AT};
use crate::region::plan::Edge;
use crate::template::asm::Mem;

/// The mask of offsets of entries for fetches, whose number is fixed.
const FETCH_MASK: i64 = ((TLB_ENTRIES - 1) * size_of::<TlbEntry>()) as i64;

/// What the registers hold where a region is left.
struct Held {
    /// What the slots hold whose memory may be out of date, and how.
    slots: Vec<(u16, (Class, Form), Value)>,
    retired: Value,
    flags: Option<LateHeld>,
}

/// A way out, which is made when everything else has been.
pub(super) struct Departure {
    block: ir::Block,
    held: Held,
    /// Instructions that are retired but not counted.
    more: usize,
    to: To,
}

/// Where a way out leads to.
enum To {
    /// It has the address and the number of the exit as parameters.
    Given,
    /// Tier 1 does the instruction at `offset` from the first page again; by a jump that can be linked, or not.
    Again { offset: i64, linked: bool },
}

impl Gen<'_, '_> {
    /// What the registers hold now.
    fn held(&mut self) -> Held {
        let dirty = self.dirty.iter().filter(|&n| !self.is_late(n));
        let held: Vec<(u16, Slot)> = dirty.filter_map(|n| Some((n, self.slots[usize::from(n)]?))).collect();
        let held = held.into_iter().map(|(n, slot)| (n, (slot.class, slot.form), self.f.use_var(slot.var)));
        let at_hand = self.at_hand.iter().filter(|(_, (_, changed))| *changed);
        let at_hand = at_hand.map(|(&n, &(value, _))| (n, (Class::Int, Form::Whole), value));
        let slots = held.chain(at_hand).collect();
        Held { slots, retired: self.f.use_var(self.retired), flags: self.late_held() }
    }

    /// Writes back what the state does not have yet, and has `more` instructions been retired.
    fn write_back(&mut self, held: &Held, more: usize) {
        for &(n, (class, form), value) in &held.slots {
            let at = frame::slot(n);
            match form {
                Form::Whole => {
                    let value = if class == Class::Int { self.extended_here(value) } else { value };
                    self.state_store(at, value);
                }
                Form::Half => {
                    let value = self.f.ins().sextend(types::I64, value);
                    self.state_store(at, value);
                }
                Form::Boxed => {
                    self.state_store(at, value);
                    let upper = self.f.ins().iconst(types::I32, -1);
                    self.state_store(Mem { disp: at.disp + 4, ..at }, upper);
                }
                Form::Low(ty) => {
                    let value = self.f.ins().scalar_to_vector(lanes_like(ty), value);
                    self.state_store(at, value);
                }
            }
        }
        let count = self.plus(held.retired, more as i64);
        self.state_store(frame::RETIRED, count);
    }

    fn leave(&mut self, exit: Value) {
        self.tell_way(None);
        let out = self.out;
        self.f.ins().jump(out, &[exit.into()]);
    }

    /// Makes the ways out that have been left open.
    pub(super) fn depart(&mut self) {
        for Departure { block, held, more, to } in std::mem::take(&mut self.departures) {
            self.begin(block);
            self.set_late(&held.flags);
            match to {
                To::Given => {
                    self.write_back(&held, more);
                    let &[pc, exit] = self.f.block_params(block) else { unreachable!("it has two") };
                    self.state_store(frame::PC, pc);
                    self.leave(exit);
                }
                To::Again { offset, linked } => {
                    let count = self.state_load(types::I64, frame::BAIL_OUTS);
                    let count = self.f.ins().iadd_imm_s(count, 1);
                    self.state_store(frame::BAIL_OUTS, count);
                    self.write_back(&held, more);
                    let exit = if linked {
                        self.new_link(offset, true)
                    } else {
                        let pc = self.address(offset);
                        self.state_store(frame::PC, pc);
                        EXIT_GO
                    };
                    let exit = self.f.ins().iconst(types::I32, i64::from(exit));
                    self.leave(exit);
                }
            }
        }
    }

    /// A way out from here, after `more` instructions that have not been counted; it is told where it leads to.
    fn way_out(&mut self, more: usize) -> ir::Block {
        let block = self.f.create_block();
        self.f.set_cold_block(block);
        self.f.append_block_param(block, types::I64);
        self.f.append_block_param(block, types::I32);
        let held = self.held();
        self.departures.push(Departure { block, held, more, to: To::Given });
        block
    }

    /// The way out from the end of the block in hand, which has been counted.
    fn end(&mut self) -> ir::Block {
        if let Some(end) = self.ending {
            return end;
        }
        let end = self.way_out(0);
        self.ending = Some(end);
        end
    }

    /// Leaves the block in hand, at its end, for this address.
    pub(super) fn leave_to(&mut self, pc: Value) {
        let way = self.end();
        self.leave_by(way, pc, EXIT_GO);
    }

    fn leave_by(&mut self, way: ir::Block, pc: Value, exit: u32) {
        let exit = self.f.ins().iconst(types::I32, i64::from(exit));
        self.f.ins().jump(way, &[pc.into(), exit.into()]);
    }

    /// Leaves the block in hand, at its end, for the virtual address at `offset` from the first page.
    pub(super) fn leave_for(&mut self, offset: i64, exit: u32) {
        let way = self.end();
        let pc = self.address(offset);
        self.leave_by(way, pc, exit);
    }

    /// The number of a new exit by a jump that can be linked, to what is at `offset` in the first page.
    fn new_link(&mut self, offset: i64, plain: bool) -> u32 {
        self.links.push((offset as i32, plain));
        EXIT_LINKS + self.links.len() as u32 - 1
    }

    /// Leaves for what is at `offset` from the first page.
    fn go_out(&mut self, way: ir::Block, offset: i64) {
        let in_page = |offset: i64| (0..PAGE_SIZE as i64).contains(&offset);
        let start = self.delta() + i64::from(self.block().marks[0].offset);
        let linked = in_page(start) && in_page(offset);
        let pc = self.address(offset);
        let exit = if linked { self.new_link(offset, false) } else { EXIT_GO };
        self.leave_by(way, pc, exit);
    }

    /// Asks whether something wants attention: the blocks for where it does, and for where nothing does.
    pub(super) fn poll(&mut self) -> (ir::Block, ir::Block) {
        let at = self.state_load(types::I64, frame::REGION_ATTENTION);
        let flags = self.f.ins().load(types::I32, FLAGS, at, 0);
        let flags = self.f.ins().icmp_imm_u(IntCC::NotEqual, flags, 0);
        let (wanted, on) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(wanted);
        self.f.ins().brif(flags, wanted, &[], on, &[]);
        (wanted, on)
    }

    /// Goes along an edge to what is at `offset` from the first page; the block has been counted.
    pub(super) fn follow(&mut self, edge: Edge, offset: i64) {
        let Edge::To { node, closes } = edge else {
            let way = self.end();
            return self.go_out(way, offset);
        };
        if closes {
            let (wanted, on) = self.poll();
            self.begin(wanted);
            self.leave_for(offset, EXIT_LEAVE);
            self.begin(on);
        }
        self.check_page(node, offset);
        self.tell_way(Some(node));
        let head = self.heads[node];
        self.f.ins().jump(head, &[]);
    }

    /// Sees to it that a node's page is mapped as it was when the region was planned; else leaves.
    pub(super) fn check_page(&mut self, node: usize, offset: i64) {
        let number = self.plan.nodes[node].page;
        let page = &self.plan.pages[number];
        let Some(known) = self.known[number] else { return };
        if number == self.plan.nodes[self.node].page {
            return;
        }
        let (look, other, on) = (self.f.create_block(), self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(look);
        self.f.set_cold_block(other);
        let is_known = self.f.use_var(known);
        self.f.ins().brif(is_known, on, &[], look, &[]);
        self.begin(look);
        let va = self.address(page.delta);
        let fetch = self.state_load(types::I64, frame::FETCH);
        let mask = self.f.ins().iconst(types::I64, FETCH_MASK);
        let entry = self.tlb_entry(va, fetch, mask);
        let tag = self.f.ins().load(types::I64, FLAGS, entry, offset_of!(TlbEntry, read) as i32);
        let addend = self.f.ins().load(types::I64, FLAGS, entry, offset_of!(TlbEntry, addend) as i32);
        let context = self.f.ins().load(types::I32, FLAGS, entry, offset_of!(TlbEntry, flags) as i32 + 4);
        let host = self.f.ins().iadd(va, addend);
        let wanted = self.f.ins().load(types::I64, FLAGS, self.places, PAGES_AT + 8 * number as i32);
        let same_tag = self.f.ins().icmp(IntCC::Equal, tag, va);
        let same_host = self.f.ins().icmp(IntCC::Equal, host, wanted);
        let same_context = self.f.ins().icmp_imm_u(IntCC::Equal, context, i64::from(page.context));
        let same = self.f.ins().band(same_tag, same_host);
        let same = self.f.ins().band(same, same_context);
        let yes = self.f.ins().iconst(types::I32, 1);
        self.f.def_var(known, yes);
        self.f.ins().brif(same, on, &[], other, &[]);
        self.begin(other);
        self.leave_for(offset, EXIT_GO);
        self.begin(on);
    }

    pub(super) fn exit_if(&mut self, inst: &Inst) {
        let holds = self.compare(Cc::from_bits(inst.attr), inst.ty, inst.a, inst.b);
        let (out, on) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(out);
        self.f.ins().brif(holds, out, &[], on, &[]);
        self.begin(out);
        let way = self.way_out(self.number + 1);
        let offset = self.delta() + i64::from(inst.imm);
        self.go_out(way, offset);
        self.begin(on);
    }

    pub(super) fn raise_if(&mut self, inst: &Inst) {
        let holds = self.compare(Cc::from_bits(inst.attr), inst.ty, inst.a, inst.b);
        self.bail_out_if(holds);
    }

    /// Leaves the region if the condition holds: tier 1 does the instruction in hand, which can be done again.
    pub(super) fn bail_out_if(&mut self, condition: Value) {
        let (again, on) = (self.again(), self.f.create_block());
        self.f.ins().brif(condition, again, &[], on, &[]);
        self.begin(on);
    }

    /// The way to have tier 1 do the instruction in hand: one for all its operations.
    pub(super) fn again(&mut self) -> ir::Block {
        if let Some((_, block)) = self.bails.filter(|&(number, _)| number == self.number) {
            return block;
        }
        let block = self.f.create_block();
        self.f.set_cold_block(block);
        let offset = self.delta() + i64::from(self.block().marks[self.number].offset);
        let to = To::Again { offset, linked: self.plan.nodes[self.node].page == 0 };
        let held = self.held();
        self.departures.push(Departure { block, held, more: self.number, to });
        self.bails = Some((self.number, block));
        block
    }
}
