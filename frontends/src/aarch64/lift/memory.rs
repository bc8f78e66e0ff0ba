//! Loads and stores (DDI 0487, C4.1.94 "Loads and Stores"), but for exclusive ones.
//!
//! A base register is written back after the accesses, so that an instruction that faults can be run again.

use emu_core::ir::{AmoOp, Cc, MemAttr, Op, Ty, Val, View};

use super::super::decode::args::{
    Atomic, Cas, Casp, Ls, LsLit, LsPair, LsPairPost, LsPairPre, LsPost, LsPre, LsReg, LsUimm, Ordered,
    OrderedImm,
};
use super::super::syndrome::{ALIGNMENT_FAULT, WNR, class, syndrome};
use super::{Done, Lifter};

/// What a load or store of a general register moves.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    ty: Ty,
    /// Sign-extended to this; else zero-extended.
    extend: Option<Ty>,
}

#[rustfmt::skip]
impl Unit {
    pub(super) const B: Self = Self { ty: Ty::I8, extend: None };
    pub(super) const H: Self = Self { ty: Ty::I16, extend: None };
    pub(super) const W: Self = Self { ty: Ty::I32, extend: None };
    pub(super) const X: Self = Self { ty: Ty::I64, extend: None };
    pub(super) const SBW: Self = Self { ty: Ty::I8, extend: Some(Ty::I32) };
    pub(super) const SBX: Self = Self { ty: Ty::I8, extend: Some(Ty::I64) };
    pub(super) const SHW: Self = Self { ty: Ty::I16, extend: Some(Ty::I32) };
    pub(super) const SHX: Self = Self { ty: Ty::I16, extend: Some(Ty::I64) };
    pub(super) const SWX: Self = Self { ty: Ty::I32, extend: Some(Ty::I64) };
}

/// The order that an exclusive access asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Plain,
    Acquire,
    Release,
}

impl Order {
    /// The attribute of such an access.
    pub(super) fn attr(self) -> MemAttr {
        MemAttr { acquire: self == Self::Acquire, release: self == Self::Release, ..MemAttr::PLAIN }
    }
}

/// An address: a base and a constant offset.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub base: Val,
    pub offset: i32,
}

/// What a register is: general with its unit, or floating-point.
#[derive(Clone, Copy)]
enum Kind {
    General(Unit),
    Float(Ty),
}

impl Kind {
    fn ty(self) -> Ty {
        match self {
            Self::General(unit) => unit.ty,
            Self::Float(ty) => ty,
        }
    }
}

/// Whether an access reads or writes memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Load,
    Store,
}

/// The size in bytes as an exponent.
fn scale(ty: Ty) -> u8 {
    ty.bytes().trailing_zeros() as u8
}

impl Lifter<'_> {
    /// The base register `n`, which must be aligned if it is the stack pointer.
    pub(super) fn base(&mut self, n: u8) -> Val {
        let base = self.xsp(n);
        if n == 31 && self.guest.ctx.sp_align && !self.guest.sp_aligned {
            let (mask, zero) = (self.builder.imm(15), self.builder.imm(0));
            let low = self.builder.bin(Op::And, Ty::I64, base, mask);
            self.builder.raise_if(Cc::Ne, Ty::I64, [low, zero], syndrome(class::SP_ALIGNMENT, 0), zero);
            self.guest.sp_aligned = true;
        }
        base
    }

    /// Raises an alignment fault unless `base + offset` is a multiple of `bytes`.
    pub(super) fn must_be_aligned(&mut self, base: Val, offset: i32, bytes: usize, write: bool) {
        if bytes == 1 {
            return;
        }
        let (mask, zero) = (self.builder.imm(bytes as u64 - 1), self.builder.imm(0));
        let address = if offset == 0 {
            base
        } else {
            let offset = self.imm(offset);
            self.builder.bin(Op::Add, Ty::I64, base, offset)
        };
        let low = self.builder.bin(Op::And, Ty::I64, address, mask);
        let cause = syndrome(class::DATA_ABORT, ALIGNMENT_FAULT | if write { WNR } else { 0 });
        self.builder.raise_if(Cc::Ne, Ty::I64, [low, zero], cause, address);
    }

    pub(super) fn check(&mut self, place: Place, bytes: usize, write: bool) {
        if self.guest.ctx.align {
            self.must_be_aligned(place.base, place.offset, bytes, write);
        }
    }

    fn load(&mut self, rt: u8, unit: Unit, attr: MemAttr, place: Place) {
        self.check(place, unit.ty.bytes(), false);
        let attr = MemAttr { signed: unit.extend.is_some(), ..attr };
        if unit.extend == Some(Ty::I32) {
            let value = self.builder.temp();
            self.builder.load_to(value, unit.ty, attr, place.base, place.offset);
            return self.set_x(rt, Ty::I32, value);
        }
        let dst = self.x_dst(rt);
        self.builder.load_to(dst, unit.ty, attr, place.base, place.offset);
    }

    fn store(&mut self, rt: u8, unit: Unit, attr: MemAttr, place: Place) {
        self.check(place, unit.ty.bytes(), true);
        let value = self.x(rt);
        self.builder.store(unit.ty, attr, place.base, place.offset, value);
    }

    /// A narrow value is in the low bits, the rest of the register zero.
    fn load_fp(&mut self, rt: u8, ty: Ty, place: Place) {
        self.check(place, ty.bytes(), false);
        let dst = self.v(rt);
        if ty == Ty::V128 {
            return self.builder.load_to(dst, ty, MemAttr::PLAIN, place.base, place.offset);
        }
        let value = self.builder.temp();
        self.builder.load_to(value, ty, MemAttr::PLAIN, place.base, place.offset);
        if ty == Ty::I8 {
            const LOWEST: u16 = 2 << 2;
            self.builder.op(Op::Vdup, Ty::None, LOWEST, dst, [value, Val::NONE, Val::NONE], 0);
        } else {
            self.builder.un_to(dst, Op::Vfromlow, ty, value);
        }
    }

    fn store_fp(&mut self, rt: u8, ty: Ty, place: Place) {
        self.check(place, ty.bytes(), true);
        let v = self.v(rt);
        let value = match ty {
            Ty::I8 => {
                let byte = self.builder.temp();
                self.builder.op(Op::Vget, Ty::None, 0, byte, [v, Val::NONE, Val::NONE], 0);
                byte
            }
            // The low bits of the vector.
            _ => v,
        };
        self.builder.store(ty, MemAttr::PLAIN, place.base, place.offset, value);
    }

    fn access(&mut self, access: Access, rt: u8, kind: Kind, place: Place) {
        match (access, kind) {
            (Access::Load, Kind::General(unit)) => self.load(rt, unit, MemAttr::PLAIN, place),
            (Access::Store, Kind::General(unit)) => self.store(rt, unit, MemAttr::PLAIN, place),
            (Access::Load, Kind::Float(ty)) => self.load_fp(rt, ty, place),
            (Access::Store, Kind::Float(ty)) => self.store_fp(rt, ty, place),
        }
    }

    /// Base register `n` += `by`
    pub(super) fn write_back(&mut self, n: u8, by: i32) {
        let (base, offset) = (self.xsp(n), self.imm(by));
        let keeps = self.guest.sp_aligned && by % 16 == 0;
        let dst = self.xsp_to(n);
        self.bin_to(dst, Op::Add, Ty::I64, base, offset);
        self.guest.sp_aligned |= keeps && n == 31;
    }

    /// An access to `base + offset`, then the base += `by`.
    fn single(&mut self, access: Access, kind: Kind, rt: u8, rn: u8, offset: i32, by: Option<i32>) {
        let base = self.base(rn);
        let rt = kept(access, kind, rt, rn, by);
        self.access(access, rt, kind, Place { base, offset });
        if let Some(by) = by {
            self.write_back(rn, by);
        }
    }

    /// The same for two registers.
    fn pair(&mut self, access: Access, kind: Kind, [rt, rt2, rn]: [u8; 3], offset: i32, by: Option<i32>) {
        let base = self.base(rn);
        let [rt, rt2] = [rt, rt2].map(|rt| kept(access, kind, rt, rn, by));
        let first = Place { base, offset };
        let second = Place { base, offset: offset + kind.ty().bytes() as i32 };
        match (access, kind) {
            // The base must outlive both accesses.
            (Access::Load, Kind::General(unit)) if rt == rn && rt != 31 => {
                self.check(first, unit.ty.bytes(), false);
                let (value, attr) =
                    (self.builder.temp(), MemAttr { signed: unit.extend.is_some(), ..MemAttr::PLAIN });
                self.builder.load_to(value, unit.ty, attr, first.base, first.offset);
                self.load(rt2, unit, MemAttr::PLAIN, second);
                self.set_x(rt, Ty::I64, value);
            }
            _ => {
                self.access(access, rt, kind, first);
                self.access(access, rt2, kind, second);
            }
        }
        if let Some(by) = by {
            self.write_back(rn, by);
        }
    }

    /// The index of a register offset, extended and perhaps scaled.
    fn indexed(&mut self, a: LsReg, ty: Ty) -> Place {
        let base = self.base(a.rn);
        let shift = if a.s != 0 { scale(ty) } else { 0 };
        let index = self.extended(Ty::I64, a.rm, a.index, shift);
        Place { base: self.builder.same(Op::Add, Ty::I64, base, index), offset: 0 }
    }

    fn literal(&mut self, imm: i32) -> Place {
        let (base, offset) = (self.builder.temp(), self.target(imm));
        self.builder.pc_to(base, offset);
        Place { base, offset: 0 }
    }

    pub(super) fn load_literal(&mut self, a: LsLit, unit: Unit) {
        let place = self.literal(a.imm);
        self.load(a.rt, unit, MemAttr::PLAIN, place);
    }

    pub(super) fn load_literal_fp(&mut self, a: LsLit, ty: Ty) -> Done {
        self.fp_on()?;
        let place = self.literal(a.imm);
        self.load_fp(a.rt, ty, place);
        Ok(())
    }

    pub(super) fn load_unprivileged(&mut self, a: Ls, unit: Unit) {
        let place = Place { base: self.base(a.rn), offset: a.imm };
        self.load(a.rt, unit, MemAttr { view: View::Unprivileged, ..MemAttr::PLAIN }, place);
    }

    pub(super) fn store_unprivileged(&mut self, a: Ls, unit: Unit) {
        let place = Place { base: self.base(a.rn), offset: a.imm };
        self.store(a.rt, unit, MemAttr { view: View::Unprivileged, ..MemAttr::PLAIN }, place);
    }

    /// Prefetches do nothing.
    pub(super) fn prefetch<A>(&mut self, _: A) {}

    fn ordered_load(&mut self, rt: u8, rn: u8, imm: i32, unit: Unit) {
        let place = Place { base: self.base(rn), offset: imm };
        self.must_be_aligned(place.base, imm, unit.ty.bytes(), false);
        self.load(rt, unit, Order::Acquire.attr(), place);
    }

    fn ordered_store(&mut self, rt: u8, rn: u8, imm: i32, unit: Unit) {
        let place = Place { base: self.base(rn), offset: imm };
        self.must_be_aligned(place.base, imm, unit.ty.bytes(), true);
        self.store(rt, unit, Order::Release.attr(), place);
    }

    pub(super) fn load_acquire(&mut self, a: Ordered, ty: Ty) {
        self.ordered_load(a.rt, a.rn, 0, Unit { ty, extend: None });
    }

    /// The weaker order of `LDAPR` is that of every acquire here.
    pub(super) fn load_acquire_pc(&mut self, a: Ordered, ty: Ty) {
        self.load_acquire(a, ty);
    }

    pub(super) fn store_release(&mut self, a: Ordered, ty: Ty) {
        self.ordered_store(a.rt, a.rn, 0, Unit { ty, extend: None });
    }

    pub(super) fn load_acquire_unscaled(&mut self, a: OrderedImm, unit: Unit) {
        self.ordered_load(a.rt, a.rn, a.imm, unit);
    }

    pub(super) fn store_release_unscaled(&mut self, a: OrderedImm, unit: Unit) {
        self.ordered_store(a.rt, a.rn, a.imm, unit);
    }

    /// A load of 64 bits from `address`.
    pub(super) fn load_from(&mut self, rt: u8, address: Val) {
        self.load(rt, Unit::X, MemAttr::PLAIN, Place { base: address, offset: 0 });
    }

    /// Always an acquire, even if nothing is loaded (`LDADDA` to the zero register): the stronger order.
    pub(super) fn atomic(&mut self, a: Atomic, op: AmoOp, ty: Ty) {
        let (base, operand) = (self.base(a.rn), self.x(a.rs));
        let dst = self.x_to(a.rt).unwrap_or(Val::NONE);
        self.builder.amo_to(dst, op, ty, both(a.a, a.l), base, operand);
    }

    pub(super) fn cas(&mut self, a: Cas, ty: Ty) {
        let (base, expected, new) = (self.base(a.rn), self.x(a.rs), self.x(a.rt));
        let dst = self.x_dst(a.rs);
        self.builder.op(Op::Cas, ty, both(a.a, a.l).bits(), dst, [base, expected, new], 0);
    }

    /// The even register of each pair holds the low half.
    pub(super) fn casp(&mut self, a: Casp, ty: Ty) {
        let base = self.base(a.rn);
        let [expected, new] = [a.rs, a.rt].map(|even| {
            let [low, high] = [even, even + 1].map(|n| self.x(n));
            self.join(ty, low, high)
        });
        let (op, op_ty) = if ty == Ty::I64 { (Op::Cas128, Ty::None) } else { (Op::Cas, Ty::I64) };
        let old = self.builder.temp();
        self.builder.op(op, op_ty, both(a.a, a.l).bits(), old, [base, expected, new], 0);
        self.split(ty, old, [a.rs, a.rs + 1]);
    }

    /// Two values of this type as one of twice the size.
    pub(super) fn join(&mut self, ty: Ty, low: Val, high: Val) -> Val {
        if ty == Ty::I64 {
            return self.builder.bin(Op::Vpair, Ty::None, low, high);
        }
        let dst = self.builder.temp();
        self.builder.op(Op::Insert, Ty::I64, 0, dst, [low, high, Val::NONE], 32 | 32 << 8);
        dst
    }

    /// Puts the halves of such a value into two registers.
    pub(super) fn split(&mut self, ty: Ty, pair: Val, to: [u8; 2]) {
        for (half, n) in to.into_iter().enumerate() {
            let Some(dst) = self.x_to(n) else { continue };
            if ty == Ty::I64 {
                const LANES_64: u16 = 3;
                self.builder.op(Op::Vget, Ty::None, LANES_64, dst, [pair, Val::NONE, Val::NONE], half as i32);
            } else {
                let field = (32 * half as i32) | 32 << 8;
                self.builder.op(Op::Extract, Ty::I64, 0, dst, [pair, Val::NONE, Val::NONE], field);
            }
        }
    }
}

/// The register that a load goes to: none if that is the base and is written back, which wins.
fn kept(access: Access, kind: Kind, rt: u8, rn: u8, by: Option<i32>) -> u8 {
    let loses = by.is_some() && access == Access::Load && matches!(kind, Kind::General(_)) && rt == rn;
    if loses { 31 } else { rt }
}

/// The attribute of an access that is an acquire, a release, or both.
fn both(acquire: u8, release: u8) -> MemAttr {
    MemAttr { acquire: acquire != 0, release: release != 0, ..MemAttr::PLAIN }
}

/// The methods of an addressing mode: of loads and stores, of general and of floating-point registers.
macro_rules! addressing {
    ($($args:ident |$this:ident, $access:ident, $kind:ident, $a:ident| $body:block
       $load:ident $store:ident $load_fp:ident $store_fp:ident;)*) => {
        impl Lifter<'_> {$(
            pub(super) fn $load(&mut self, a: $args, unit: Unit) {
                (|$this: &mut Self, $access: Access, $kind: Kind, $a: $args| $body)(self, Access::Load, Kind::General(unit), a);
            }

            pub(super) fn $store(&mut self, a: $args, unit: Unit) {
                (|$this: &mut Self, $access: Access, $kind: Kind, $a: $args| $body)(self, Access::Store, Kind::General(unit), a);
            }

            pub(super) fn $load_fp(&mut self, a: $args, ty: Ty) -> Done {
                self.fp_on()?;
                (|$this: &mut Self, $access: Access, $kind: Kind, $a: $args| $body)(self, Access::Load, Kind::Float(ty), a);
                Ok(())
            }

            pub(super) fn $store_fp(&mut self, a: $args, ty: Ty) -> Done {
                self.fp_on()?;
                (|$this: &mut Self, $access: Access, $kind: Kind, $a: $args| $body)(self, Access::Store, Kind::Float(ty), a);
                Ok(())
            }
        )*}
    };
}

addressing! {
    Ls |this, access, kind, a| { this.single(access, kind, a.rt, a.rn, a.imm, None) }
        load_offset store_offset load_offset_fp store_offset_fp;
    LsUimm |this, access, kind, a| { this.single(access, kind, a.rt, a.rn, a.uimm.into(), None) }
        load_unsigned store_unsigned load_unsigned_fp store_unsigned_fp;
    LsPost |this, access, kind, a| { this.single(access, kind, a.rt, a.rn, 0, Some(a.imm)) }
        load_post store_post load_post_fp store_post_fp;
    LsPre |this, access, kind, a| { this.single(access, kind, a.rt, a.rn, a.imm, Some(a.imm)) }
        load_pre store_pre load_pre_fp store_pre_fp;
    LsReg |this, access, kind, a| {
        let place = this.indexed(a, kind.ty());
        this.access(access, a.rt, kind, place);
    }
        load_register store_register load_register_fp store_register_fp;
    LsPair |this, access, kind, a| { this.pair(access, kind, [a.rt, a.rt2, a.rn], a.imm, None) }
        load_pair_offset store_pair_offset load_pair_offset_fp store_pair_offset_fp;
    LsPairPost |this, access, kind, a| { this.pair(access, kind, [a.rt, a.rt2, a.rn], 0, Some(a.imm)) }
        load_pair_post store_pair_post load_pair_post_fp store_pair_post_fp;
    LsPairPre |this, access, kind, a| { this.pair(access, kind, [a.rt, a.rt2, a.rn], a.imm, Some(a.imm)) }
        load_pair_pre store_pair_pre load_pair_pre_fp store_pair_pre_fp;
}
