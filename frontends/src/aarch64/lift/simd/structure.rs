//! Loads and stores of structures (C7, `LD1` to `ST4`).
//!
//! The base register is written back after all accesses.

use emu_core::ir::{MemAttr, Op, Shuffle, Ty, Val};

use super::super::super::decode::args;
use super::super::Lifter;
use super::super::memory::{Access, Place};
use super::{E64, HALF};

/// What such an instruction names: first register, base, and what is added to the base if it is written back (31: what has
/// been transferred).
#[derive(Clone, Copy)]
struct Transfer {
    rt: u8,
    rn: u8,
    post: Option<u8>,
}

/// The shape of the registers of a structure: element width and half.
#[derive(Clone, Copy)]
struct Shape {
    size: u16,
    half: u16,
}

const ELEMENTS: [Ty; 4] = [Ty::I8, Ty::I16, Ty::I32, Ty::I64];

impl Shape {
    fn new(size: u8, q: u8) -> Self {
        Self { size: size.into(), half: if q == 0 { HALF } else { 0 } }
    }

    /// Bytes in a register.
    fn bytes(self) -> i32 {
        if self.half != 0 { 8 } else { 16 }
    }
}

impl Lifter<'_> {
    fn element_place(&mut self, t: Transfer, size: u8, write: bool) -> Place {
        let base = self.base(t.rn);
        let place = Place { base, offset: 0 };
        self.check(place, 1 << size, write);
        place
    }

    fn advance(&mut self, t: Transfer, bytes: i32) {
        match t.post {
            None => {}
            Some(31) => self.write_back(t.rn, bytes),
            Some(rm) => {
                let (base, by) = (self.xsp(t.rn), self.x(rm));
                let dst = self.xsp_to(t.rn);
                self.builder.bin_to(dst, Op::Add, Ty::I64, base, by);
            }
        }
    }

    /// `dst` = 16 bytes, or 8 with zeros above.
    fn load_vector_to(&mut self, dst: Val, place: Place, bytes: i32) {
        if bytes == 16 {
            return self.builder.load_to(dst, Ty::V128, MemAttr::PLAIN, place.base, place.offset);
        }
        let value = self.builder.temp();
        self.builder.load_to(value, Ty::F64, MemAttr::PLAIN, place.base, place.offset);
        self.builder.un_to(dst, Op::Vfromlow, Ty::F64, value);
    }

    fn store_vector(&mut self, place: Place, bytes: i32, value: Val) {
        let ty = if bytes == 16 { Ty::V128 } else { Ty::F64 };
        self.builder.store(ty, MemAttr::PLAIN, place.base, place.offset, value);
    }

    pub(in super::super) fn multiple(&mut self, a: args::Multiple, access: Access, count: u8, structure: u8) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: None };
        self.transfer(t, Shape::new(a.size, a.q), access, [count, structure]);
    }

    pub(in super::super) fn multiple_post(
        &mut self,
        a: args::MultiplePost,
        access: Access,
        count: u8,
        structure: u8,
    ) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: Some(a.rm) };
        self.transfer(t, Shape::new(a.size, a.q), access, [count, structure]);
    }

    /// `count` registers, in structures of as many elements; or one after the other.
    fn transfer(&mut self, t: Transfer, shape: Shape, access: Access, [count, structure]: [u8; 2]) {
        let place = self.element_place(t, shape.size as u8, access == Access::Store);
        let bytes = shape.bytes();
        let at = |n: usize| Place { offset: place.offset + bytes * n as i32, ..place };
        let registers: Vec<Val> = (0..count).map(|n| self.v((t.rt + n) % 32)).collect();
        match access {
            Access::Load => {
                let whole = structure == 1;
                let to = |n: &Val| if whole { *n } else { self.builder.temp() };
                let loaded: Vec<Val> = registers.iter().map(to).collect();
                for (n, to) in loaded.iter().enumerate() {
                    self.load_vector_to(*to, at(n), bytes);
                }
                self.take_apart(structure, shape, &loaded, &registers);
            }
            Access::Store => {
                let stored = self.put_together(structure, shape, &registers);
                for (n, value) in stored.into_iter().enumerate() {
                    self.store_vector(at(n), bytes, value);
                }
            }
        }
        self.advance(t, bytes * i32::from(count));
    }

    /// The registers = the elements of structures that are `memory`.
    fn take_apart(&mut self, structure: u8, shape: Shape, memory: &[Val], registers: &[Val]) {
        let attr = shape.size | shape.half;
        match (structure, memory) {
            (2, &[a, b]) => {
                for (kind, to) in [Shuffle::Uzp1, Shuffle::Uzp2].into_iter().zip(registers) {
                    self.vec_to(*to, Op::Vshuffle, attr | (kind as u16) << 4, &[a, b], 0);
                }
            }
            (3, _) => {
                for (k, to) in registers.iter().enumerate() {
                    let size = 1 << shape.size;
                    let place = |i: usize| (i / size * 3 + k) * size + i % size;
                    self.gather(*to, shape, memory, place);
                }
            }
            (4, &[a, b, c, d]) => {
                for (n, first) in [Shuffle::Uzp1, Shuffle::Uzp2].into_iter().enumerate() {
                    // Elements n and n + 2 of each structure.
                    let (low, high) = (self.shuffle(first, attr, a, b), self.shuffle(first, attr, c, d));
                    for (second, to) in [(Shuffle::Uzp1, n), (Shuffle::Uzp2, n + 2)] {
                        let variant = attr | (second as u16) << 4;
                        self.vec_to(registers[to], Op::Vshuffle, variant, &[low, high], 0);
                    }
                }
            }
            // They are there already.
            _ => {}
        }
    }

    /// What memory gets of structures whose elements are in the registers.
    fn put_together(&mut self, structure: u8, shape: Shape, registers: &[Val]) -> Vec<Val> {
        const ZIPS: [Shuffle; 2] = [Shuffle::Zip1, Shuffle::Zip2];
        let attr = shape.size | shape.half;
        match (structure, registers) {
            (2, &[a, b]) => ZIPS.map(|kind| self.shuffle(kind, attr, a, b)).into(),
            (3, _) => {
                let (size, lanes) = (1 << shape.size, shape.bytes() as usize);
                let from = |i: usize| {
                    let (element, byte) = (i / size, i % size);
                    element % 3 * lanes + element / 3 * size + byte
                };
                let mut stored = Vec::new();
                for n in 0..3 {
                    let to = self.builder.temp();
                    self.gather(to, shape, registers, |i| from(n * lanes + i));
                    stored.push(to);
                }
                stored
            }
            (4, &[a, b, c, d]) => {
                let mut stored = Vec::new();
                for first in ZIPS {
                    let (even, odd) = (self.shuffle(first, attr, a, c), self.shuffle(first, attr, b, d));
                    stored.extend(ZIPS.map(|second| self.shuffle(second, attr, even, odd)));
                }
                stored
            }
            _ => registers.to_vec(),
        }
    }

    /// `to` = bytes of `sources`, one after the other; `place` says which.
    fn gather(&mut self, to: Val, shape: Shape, sources: &[Val], place: impl Fn(usize) -> usize) {
        let bytes = shape.bytes() as usize;
        let mut tables = Vec::new();
        for (n, source) in sources.iter().enumerate() {
            let mut indices = [0xff; 16];
            for (i, index) in indices.iter_mut().enumerate().take(bytes) {
                let at = place(i);
                if at / bytes == n {
                    *index = (at % bytes) as u8;
                }
            }
            let halves = [&indices[..8], &indices[8..]].map(|half| {
                let value = half.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                self.builder.imm(value)
            });
            tables.push((*source, self.vec(Op::Vpair, 0, &halves), 0));
        }
        self.look_up(to, shape.half, &tables);
    }

    pub(in super::super) fn one_lane(&mut self, a: args::Lane, access: Access, size: u8) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: None };
        self.transfer_lane(t, access, size, [2 * a.n + a.r + 1, a.lane]);
    }

    pub(in super::super) fn one_lane_post(&mut self, a: args::LanePost, access: Access, size: u8) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: Some(a.rm) };
        self.transfer_lane(t, access, size, [2 * a.n + a.r + 1, a.lane]);
    }

    /// One lane of `count` registers.
    fn transfer_lane(&mut self, t: Transfer, access: Access, size: u8, [count, lane]: [u8; 2]) {
        let (place, ty) = (self.element_place(t, size, access == Access::Store), ELEMENTS[usize::from(size)]);
        let bytes = 1i32 << size;
        let (size, lane) = (u16::from(size), i32::from(lane));
        let registers: Vec<Val> = (0..count).map(|n| self.v((t.rt + n) % 32)).collect();
        match access {
            Access::Load => {
                let loaded = self.load_elements(place, ty, registers.len());
                for (to, value) in registers.into_iter().zip(loaded) {
                    self.vec_to(to, Op::Vset, size, &[to, value], lane);
                }
            }
            Access::Store => {
                for (n, from) in registers.into_iter().enumerate() {
                    let value = self.vec_imm(Op::Vget, size, &[from], lane);
                    let offset = bytes * n as i32;
                    self.builder.store(ty, MemAttr::PLAIN, place.base, offset, value);
                }
            }
        }
        self.advance(t, bytes * i32::from(count));
    }

    fn load_elements(&mut self, place: Place, ty: Ty, count: usize) -> Vec<Val> {
        let mut loaded = Vec::new();
        for n in 0..count {
            let value = self.builder.temp();
            let offset = (ty.bytes() * n) as i32;
            self.builder.load_to(value, ty, MemAttr::PLAIN, place.base, offset);
            loaded.push(value);
        }
        loaded
    }

    pub(in super::super) fn replicate(&mut self, a: args::Replicate) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: None };
        self.replicate_lanes(t, Shape::new(a.size, a.q), 2 * a.n + a.r + 1);
    }

    pub(in super::super) fn replicate_post(&mut self, a: args::ReplicatePost) {
        let t = Transfer { rt: a.rt, rn: a.rn, post: Some(a.rm) };
        self.replicate_lanes(t, Shape::new(a.size, a.q), 2 * a.n + a.r + 1);
    }

    fn replicate_lanes(&mut self, t: Transfer, shape: Shape, count: u8) {
        let place = self.element_place(t, shape.size as u8, false);
        let loaded = self.load_elements(place, ELEMENTS[usize::from(shape.size & E64)], count.into());
        for (n, value) in (0..count).zip(loaded) {
            self.set_v((t.rt + n) % 32, Op::Vdup, shape.size | shape.half, &[value]);
        }
        self.advance(t, (count as i32) << shape.size);
    }
}
