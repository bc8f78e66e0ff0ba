//! Operations on ranges of memory: copying and filling.
//!
//! The number of bytes that is left is signed: negative, and addresses are those of the ends of the ranges, if work goes upward;
//! positive, and addresses are those of the beginnings, if it goes downward. So what is left says all about how far it has come,
//! and a range that faults in its middle is gone on with after the fault.

use super::access::Place;
use super::exit::Stop;
use super::isa::{Access, Isa};
use super::vcpu::Vcpu;
use crate::ir::{BulkAttr, View};
use crate::mem::PAGE_SIZE;

/// Bytes that one operation moves at most: that long, interrupts wait.
pub const MOST_BULK: u64 = 256 << 10;

/// Bytes from `va` to the end of its page.
fn to_end(va: u64) -> u64 {
    PAGE_SIZE - va % PAGE_SIZE
}

/// Bytes from the start of the page that ends at or after `end`, up to there.
fn from_start(end: u64) -> u64 {
    end.wrapping_sub(1) % PAGE_SIZE + 1
}

impl<I: Isa> Vcpu<I> {
    /// [`crate::ir::Op::Copy`]: what is left then. It faults only if nothing has been copied.
    pub fn copy(&mut self, attr: BulkAttr, to: u64, from: u64, left: u64) -> Result<u64, Stop> {
        let upward = (left as i64) < 0;
        in_parts(left, |rest, most| {
            if upward {
                let (to, from) = (to.wrapping_sub(rest), from.wrapping_sub(rest));
                let len = most.min(to_end(to)).min(to_end(from));
                self.copy_part(attr, [to, from], [to, from], len)
            } else {
                let ends = [to, from].map(|va| va.wrapping_add(rest));
                let len = ends.into_iter().map(from_start).fold(most, u64::min);
                self.copy_part(
                    attr,
                    ends.map(|end| end.wrapping_sub(len)),
                    ends.map(|end| end.wrapping_sub(1)),
                    len,
                )
            }
        })
    }

    /// [`crate::ir::Op::Fill`]: what is left then. It faults only if nothing has been filled.
    pub fn fill(&mut self, attr: BulkAttr, to: u64, byte: u8, left: u64) -> Result<u64, Stop> {
        if left as i64 >= 0 {
            return Ok(0);
        }
        in_parts(left, |rest, most| {
            let to = to.wrapping_sub(rest);
            let len = most.min(to_end(to));
            match self.range(attr.to, to, len, Access::Write)? {
                Some(place) => {
                    self.bus.ram().fill(place, len as usize, byte);
                    Ok(len)
                }
                None => self.store_unit(attr.to, to, byte).map(|()| 1),
            }
        })
    }

    /// Copies `len` bytes within a page each, from the second address to the first; how many it has copied. What is no memory
    /// is accessed byte by byte, at the `first` addresses.
    fn copy_part(
        &mut self,
        attr: BulkAttr,
        [to, from]: [u64; 2],
        first: [u64; 2],
        len: u64,
    ) -> Result<u64, Stop> {
        let source = self.range(attr.from, from, len, Access::Read)?;
        let place = self.range(attr.to, to, len, Access::Write)?;
        if let (Some(place), Some(source)) = (place, source) {
            self.bus.ram().copy(place, source, len as usize);
            return Ok(len);
        }
        let byte = self.load_unit::<u8>(attr.from, first[1])?;
        self.store_unit(attr.to, first[0], byte)?;
        Ok(1)
    }

    /// The RAM offset of a range within a page, which is about to be accessed; nothing if it is no memory.
    fn range(&mut self, view: View, va: u64, len: u64, access: Access) -> Result<Option<usize>, Stop> {
        let len = len as usize;
        if let Some(offset) = self.mmu.lookup(view, va, len, access) {
            return Ok(Some(offset));
        }
        let Place::Ram(offset) = self.place(view, va, len, access)? else { return Ok(None) };
        if access == Access::Write {
            self.bus.ram().code_pages().note_write(offset, len);
        }
        Ok(Some(offset))
    }
}

/// Does what is left in parts: `part` is given how many bytes that is without its sign, and how many it may do, and returns
/// how many it has done.
fn in_parts(left: u64, mut part: impl FnMut(u64, u64) -> Result<u64, Stop>) -> Result<u64, Stop> {
    let all = (left as i64).unsigned_abs();
    let end = all.saturating_sub(MOST_BULK);
    let mut rest = all;
    while rest > end {
        match part(rest, rest - end) {
            Ok(done) => rest -= done,
            Err(stop) if rest == all => return Err(stop),
            // It faults again when what is left is gone on with.
            Err(_) => break,
        }
    }
    Ok(if (left as i64) < 0 { rest.wrapping_neg() } else { rest })
}
