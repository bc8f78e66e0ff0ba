//! How large values can be, from the operations that make them: what is added to a base whose segment is known, and is no more than a
//! window has room for beside a segment, need not be looked at.

use emu_core::ir::{Block, Op, Ty, Val};

/// Operations that are looked through at most.
const MOST_DEPTH: u32 = 4;

/// What the value, as it is where operation `at` of the block begins, is at most, above zero or below, if its block says that.
pub(super) fn most(block: &Block, val: Val, at: usize) -> Option<u64> {
    most_within(block, val, at, MOST_DEPTH)
}

fn most_within(block: &Block, val: Val, at: usize, depth: u32) -> Option<u64> {
    if let Some(constant) = block.constant(val) {
        return Some((constant as i64).unsigned_abs());
    }
    let made = block.made(val, at)?;
    let inst = &block.insts[made];
    let depth = depth.checked_sub(1)?;
    let of = |val| most_within(block, val, made, depth);
    // Operations of 32 bits leave nothing above these.
    let narrow = (inst.ty == Ty::I32).then_some(u64::from(u32::MAX));
    match inst.op {
        Op::Zext8 => Some(u8::MAX.into()),
        Op::Zext16 => Some(u16::MAX.into()),
        Op::Zext32 => Some(u32::MAX.into()),
        Op::Sext32 => Some(1 << 31),
        Op::Load => match inst.ty {
            Ty::I8 => Some(u8::MAX.into()),
            Ty::I16 => Some(u16::MAX.into()),
            _ => narrow,
        },
        Op::Set | Op::NzcvTest => Some(1),
        Op::Mov => narrow.or_else(|| of(inst.a)),
        Op::Add if narrow.is_none() => of(inst.a)?.checked_add(of(inst.b)?),
        Op::And => {
            let mask = |val| block.constant(val).filter(|&mask| mask as i64 >= 0);
            mask(inst.b).or(mask(inst.a)).or(narrow)
        }
        Op::Shl if narrow.is_none() => {
            let shift = u32::try_from(block.constant(inst.b)?).ok()?;
            of(inst.a)?.checked_mul(1u64.checked_shl(shift)?)
        }
        Op::Shr => {
            let shift = u32::try_from(block.constant(inst.b)?).ok()?;
            Some(narrow.unwrap_or(u64::MAX.checked_shr(shift)?))
        }
        Op::Extract | Op::Extracts if narrow.is_none() => 1u64.checked_shl(inst.imm as u32 >> 8),
        Op::Add | Op::Sub | Op::Or | Op::Xor | Op::Shl | Op::Sar | Op::Rotr | Op::Mul => narrow,
        Op::Extract | Op::Extracts => narrow,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, BlockKey, MemAttr, Terminal};

    use super::*;

    fn bound(does: impl Fn(&mut BlockBuilder) -> Val) -> Option<u64> {
        let mut builder = BlockBuilder::new();
        builder.mark(0, 4);
        let val = does(&mut builder);
        let block = builder.finish(BlockKey { pa: 0, ctx: 0 }, Terminal::Lookup { next: 0 });
        most(&block, val, block.insts.len())
    }

    #[test]
    fn values_are_as_large_as_what_makes_them_allows() {
        let slot = Val::slot(1);
        assert_eq!(bound(|_| slot), None);
        let scaled = bound(|b| {
            let narrow = b.un(Op::Zext32, Ty::I64, slot);
            let three = b.imm(3);
            b.bin(Op::Shl, Ty::I64, narrow, three)
        });
        assert_eq!(scaled, Some(u64::from(u32::MAX) << 3));
        let by_shifts = bound(|b| {
            let (up, down) = (b.imm(32), b.imm(29));
            let high = b.bin(Op::Shl, Ty::I64, slot, up);
            b.bin(Op::Shr, Ty::I64, high, down)
        });
        assert_eq!(by_shifts, Some(u64::MAX >> 29));
        let masked = |mask: u64| {
            bound(move |b| {
                let mask = b.imm(mask);
                b.bin(Op::And, Ty::I64, slot, mask)
            })
        };
        assert_eq!([masked(0xff), masked(u64::MAX << 4)], [Some(0xff), None]);
        let loaded = |ty| {
            bound(move |b| {
                b.load_to(slot, ty, MemAttr::PLAIN, Val::slot(2), 0);
                slot
            })
        };
        assert_eq!([loaded(Ty::I8), loaded(Ty::I64)], [Some(0xff), None]);
        let sum = |ty| {
            bound(move |b| {
                let one = b.imm(1);
                b.bin(Op::Add, ty, slot, one)
            })
        };
        assert_eq!([sum(Ty::I32), sum(Ty::I64)], [Some(u64::from(u32::MAX)), None]);
        let far = bound(|b| {
            let narrow = b.un(Op::Zext32, Ty::I64, slot);
            let by = b.imm(33);
            b.bin(Op::Shl, Ty::I64, narrow, by)
        });
        assert_eq!(far, None, "more than 64 bits");
    }
}
