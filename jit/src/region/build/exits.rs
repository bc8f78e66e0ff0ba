//! The ways out of a region, and from block to block in it.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, Value, types};
use emu_core::ir::{Cc, Class, Inst};
use emu_core::mem::{PAGE_SIZE, TLB_ENTRIES, TlbEntry};

use super::slots::Form;
use super::{FLAGS, Gen};
use crate::frame;
use crate::region::place::{EXIT_GO, EXIT_LEAVE, EXIT_LINKS};
use crate::region::plan::Edge;
use crate::template::asm::Mem;

/// The mask of offsets of entries for fetches, whose number is fixed.
const FETCH_MASK: i64 = ((TLB_ENTRIES - 1) * size_of::<TlbEntry>()) as i64;

impl Gen<'_, '_> {
    /// Writes back what the state does not have yet; `retired`: how many instructions of this block have been.
    pub(super) fn write_back(&mut self, retired: usize) {
        for n in self.dirty.iter() {
            if self.is_late(n) {
                continue;
            }
            let slot = self.slot(n);
            let value = self.f.use_var(slot.var);
            let at = frame::slot(n);
            match slot.form {
                Form::Whole => {
                    let value = if slot.class == Class::Int { self.extended_here(value) } else { value };
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
                Form::LowSingle | Form::LowDouble => {
                    let lanes = if slot.form == Form::LowSingle { types::F32X4 } else { types::F64X2 };
                    let value = self.f.ins().scalar_to_vector(lanes, value);
                    self.state_store(at, value);
                }
            }
        }
        let count = self.retired_and(retired);
        self.state_store(frame::RETIRED, count);
    }

    /// How many instructions have been retired, and these.
    pub(super) fn retired_and(&mut self, more: usize) -> Value {
        let count = self.f.use_var(self.retired);
        let (count, before) = self.sum_with_constant(count).unwrap_or((count, 0));
        match before + more as i64 {
            0 => count,
            all => self.f.ins().iadd_imm_s(count, all),
        }
    }

    pub(super) fn leave(&mut self, exit: u32) {
        self.tell_way(None);
        let exit = self.f.ins().iconst(types::I32, i64::from(exit));
        let out = self.out;
        self.f.ins().jump(out, &[exit.into()]);
    }

    /// Leaves by a jump that can be linked, to what is at `offset` in the first page; everything is written back.
    pub(super) fn link(&mut self, offset: i64, plain: bool) {
        let exit = EXIT_LINKS + self.links.len() as u32;
        self.links.push((offset as i32, plain));
        self.leave(exit);
    }

    /// Leaves the region for the virtual address at `offset` from the first page; everything is written back.
    pub(super) fn leave_for(&mut self, offset: i64, exit: u32) {
        let pc = self.address(offset);
        self.state_store(frame::PC, pc);
        self.leave(exit);
    }

    /// Leaves for what is at `offset` from the first page; from the block in hand, of which everything has been.
    pub(super) fn go_out(&mut self, offset: i64) {
        let in_page = |offset: i64| (0..PAGE_SIZE as i64).contains(&offset);
        let start = self.delta() + i64::from(self.block().marks[0].offset);
        if !in_page(start) || !in_page(offset) {
            return self.leave_for(offset, EXIT_GO);
        }
        if offset <= start {
            // It may close a cycle.
            let wanted = self.poll();
            self.begin(wanted.0);
            self.leave_for(offset, EXIT_LEAVE);
            self.begin(wanted.1);
        }
        self.link(offset, false);
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
        let Edge::To { node, poll, .. } = edge else {
            self.write_back(0);
            return self.go_out(offset);
        };
        if poll {
            let (wanted, on) = self.poll();
            self.begin(wanted);
            self.write_back(0);
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
        let wanted = self.f.ins().load(types::I64, FLAGS, self.hosts, 8 * number as i32);
        let same_tag = self.f.ins().icmp(IntCC::Equal, tag, va);
        let same_host = self.f.ins().icmp(IntCC::Equal, host, wanted);
        let same_context = self.f.ins().icmp_imm_u(IntCC::Equal, context, i64::from(page.context));
        let same = self.f.ins().band(same_tag, same_host);
        let same = self.f.ins().band(same, same_context);
        let yes = self.f.ins().iconst(types::I32, 1);
        self.f.def_var(known, yes);
        self.f.ins().brif(same, on, &[], other, &[]);
        self.begin(other);
        self.write_back(0);
        self.leave_for(offset, EXIT_GO);
        self.begin(on);
    }

    pub(super) fn exit_if(&mut self, inst: &Inst) {
        let holds = self.compare(Cc::from_bits(inst.attr), inst.ty, inst.a, inst.b);
        let (out, on) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(out);
        self.f.ins().brif(holds, out, &[], on, &[]);
        self.begin(out);
        self.write_back(self.number + 1);
        let offset = self.delta() + i64::from(inst.imm);
        self.go_out(offset);
        self.begin(on);
    }

    pub(super) fn raise_if(&mut self, inst: &Inst) {
        let holds = self.compare(Cc::from_bits(inst.attr), inst.ty, inst.a, inst.b);
        self.bail_out_if(holds);
    }

    /// Leaves the region if the condition holds: tier 1 does the instruction in hand, of which nothing has been done.
    pub(super) fn bail_out_if(&mut self, condition: Value) {
        let (out, on) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(out);
        self.f.ins().brif(condition, out, &[], on, &[]);
        self.begin(out);
        let count = self.state_load(types::I64, frame::BAIL_OUTS);
        let count = self.f.ins().iadd_imm_s(count, 1);
        self.state_store(frame::BAIL_OUTS, count);
        self.write_back(self.number);
        let offset = self.delta() + i64::from(self.block().marks[self.number].offset);
        if self.plan.nodes[self.node].page == 0 {
            self.link(offset, true);
        } else {
            self.leave_for(offset, EXIT_GO);
        }
        self.begin(on);
    }
}
