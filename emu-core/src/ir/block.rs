//! Blocks: runs of operations with one entry, and the closed set of ways in which they end.

use super::op::Op;
use super::types::{Cc, Part, Ty, Val};

/// One operation with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// In which type.
    pub ty: Ty,
    /// The fields that the table lists for the operation.
    pub attr: u16,
    /// Where the result goes: a slot or a temporary.
    pub dst: Val,
    /// First source.
    pub a: Val,
    /// Second source.
    pub b: Val,
    /// Third source.
    pub c: Val,
    /// The immediate.
    pub imm: i32,
}

impl Inst {
    /// log2 of the bytes in a lane of an operation on integers.
    pub fn lane_width(&self) -> usize {
        usize::from(self.attr & 3)
    }

    /// Which lanes of an operation on integers take part.
    pub fn part(&self) -> Part {
        Part::from_bits(self.attr >> 2 & 3)
    }

    /// Which lanes of an operation on floating-point numbers take part: half a vector of two is one.
    pub fn float_part(&self) -> Part {
        match Part::from_bits(self.attr >> 6 & 3) {
            Part::Half if self.ty == Ty::F64 => Part::One,
            part => part,
        }
    }

    /// Whether the operands of an operation on integer lanes are signed.
    pub fn is_signed(&self) -> bool {
        self.attr >> 4 & 1 == 0
    }

    /// Whether a fence orders stores before it with loads behind it, which is more than most hosts do by themselves.
    pub fn orders_stores_before_loads(&self) -> bool {
        self.attr & 0b0110 == 0b0110
    }
}

/// Identifies a block: where its code lies, and what lifting depended on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// Where the first instruction lies in memory: an offset into the RAM mapping, which stands for its guest-physical
    /// address one to one.
    pub pa: u64,
    /// The front end's context bits, those of the mode (privilege, floating-point state, static rounding mode, …) together
    /// with those of the page.
    pub ctx: u32,
}

impl BlockKey {
    /// A number of 24 bits for tables, in which neighbours, and the contexts of one place, lie apart.
    #[inline]
    pub fn hash(self) -> usize {
        ((self.pa ^ u64::from(self.ctx) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
    }
}

/// Where a guest instruction begins in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Index of its first operation. An instruction without operations shares it with the next mark.
    pub inst: u16,
    /// Its length in bytes.
    pub len: u8,
    /// Its address, from the start of the page in which the block starts.
    pub offset: i32,
}

/// What an indirect jump is, so that executors can predict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Nothing is known.
    Jump,
    /// A call; it is expected to come back to this offset from the start of the block's page.
    Call(i32),
    /// A return to the latest call.
    Return,
    /// The context bits may have changed with the jump: predictions by address alone are not valid.
    Switch,
}

/// How a block ends. Offsets count from the start of the page in which the block starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Terminal {
    /// Goes on at `target`.
    Jump {
        /// Offset of the next instruction.
        target: i32,
        /// The offset that a call is expected to come back to.
        call: Option<i32>,
    },
    /// Goes on at `taken` if the comparison of `a` with `b` holds, else at `fall`.
    Branch {
        /// The comparison.
        cc: Cc,
        /// Its type.
        ty: Ty,
        /// Left operand.
        a: Val,
        /// Right operand.
        b: Val,
        /// Offset if it holds.
        taken: i32,
        /// Offset if it does not.
        fall: i32,
    },
    /// Goes on at virtual address `target`.
    Indirect {
        /// The address.
        target: Val,
        /// What kind of jump it is.
        hint: Hint,
    },
    /// Goes on at `next`, where the context bits, the translation or the code may have changed.
    Lookup {
        /// Offset of the next instruction.
        next: i32,
    },
    /// Raises the front end's exception `cause` with `value`, at the block's last mark.
    Exception {
        /// The front end's code.
        cause: u32,
        /// What goes with it (trap value, syndrome).
        value: Val,
    },
}

/// A run of guest instructions as operations. Immutable once built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What identifies it.
    pub key: BlockKey,
    /// The operations.
    pub insts: Box<[Inst]>,
    /// The constants that operands name.
    pub consts: Box<[u64]>,
    /// The guest instructions, in order; at least one.
    pub marks: Box<[Mark]>,
    /// How many temporaries there are.
    pub temps: u16,
    /// How it ends.
    pub terminal: Terminal,
    /// Whether the last instruction reaches into the next virtual page, so that the block is valid only where that page
    /// is mapped as it was when the block was lifted.
    pub crosses_page: bool,
}

impl Terminal {
    /// The operands that it reads; none where there are fewer.
    pub fn operands(&self) -> [Val; 2] {
        match *self {
            Self::Branch { a, b, .. } => [a, b],
            Self::Indirect { target: value, .. } | Self::Exception { value, .. } => [value, Val::NONE],
            Self::Jump { .. } | Self::Lookup { .. } => [Val::NONE; 2],
        }
    }
}

impl Block {
    /// How many guest instructions it holds.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether it holds no instruction; a verified block never does.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The last of the operations before `end` that makes this value.
    pub fn made(&self, val: Val, end: usize) -> Option<usize> {
        self.insts[..end].iter().rposition(|inst| inst.dst == val)
    }

    /// The number of the guest instruction that operation `inst` belongs to.
    pub fn mark_index(&self, inst: usize) -> usize {
        self.marks.partition_point(|mark| usize::from(mark.inst) <= inst).saturating_sub(1)
    }

    /// How many bytes of guest code it was lifted from, counted from its first instruction to the end of its last;
    /// blocks are lifted from consecutive instructions.
    pub fn code_len(&self) -> u64 {
        match (self.marks.first(), self.marks.last()) {
            (Some(first), Some(last)) => {
                (i64::from(last.offset) - i64::from(first.offset)) as u64 + u64::from(last.len)
            }
            _ => 0,
        }
    }

    /// The block from instruction `number` on. No temporary that is assigned before may be used after.
    ///
    /// # Panics
    /// There is no such instruction.
    pub fn suffix(&self, number: usize) -> Self {
        let marks = &self.marks[number..];
        let (first, offset) = (marks[0].inst, marks[0].offset - self.marks[0].offset);
        let shift = |mark: &Mark| Mark { inst: mark.inst - first, ..*mark };
        Self {
            key: BlockKey { pa: self.key.pa.wrapping_add_signed(offset.into()), ..self.key },
            insts: self.insts[usize::from(first)..].into(),
            consts: self.consts.clone(),
            marks: marks.iter().map(shift).collect(),
            ..self.clone()
        }
    }

    /// The constant that `val` names; none if it names something else.
    pub fn constant(&self, val: Val) -> Option<u64> {
        match val.kind() {
            super::types::ValKind::Const(n) => self.consts.get(usize::from(n)).copied(),
            _ => None,
        }
    }
}
