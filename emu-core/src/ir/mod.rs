//! The intermediate representation: what a guest instruction means, in terms that no instruction set owns.
//!
//! A front end lifts a run of guest instructions into one [`Block`]; the interpreter executes it and the compilers
//! translate it. The operations are declared once, in [`op`], and everything about them (text form, verifier, effect
//! class) derives from that table.
//!
//! # Values
//!
//! An operand ([`Val`]) is a guest register *slot*, a block-local *temporary*, or a constant. Slots live in
//! [`crate::exec::CpuState`] and each front end says what its slots are called and which [`Class`] they have.
//! A temporary is assigned exactly once. Integer operations come in 32 and 64 bits: the 32-bit form reads the low half
//! of its operands and writes a zero-extended result. Floating-point values are bit patterns in 64-bit containers of
//! their own class; 128-bit vectors take two consecutive slots.
//!
//! # Precise exceptions
//!
//! Operations take effect in order. When one raises an exception, every slot holds what the operations before it wrote,
//! and [`Mark`]s tell which guest instruction it belongs to. So a lifter writes an instruction's destination after
//! everything in that instruction that can fail.
//!
//! # Position independence
//!
//! A block is keyed by where its code lies in physical memory and by the state that lifting depended on, never by its
//! virtual address. Whatever depends on the program counter is relative to the virtual address of the page the block
//! starts in, which executors keep at hand ([`Op::Pc`], branch targets, marks).

mod block;
mod builder;
pub mod op;
mod text;
mod types;
mod verify;

pub use block::{Block, BlockKey, Hint, Inst, Mark, Terminal};
pub use builder::BlockBuilder;
pub use op::{Effect, Op};
pub use text::{ParseError, parse};
pub use types::{
    AesStep, AmoOp, BulkAttr, Cc, Class, Estimate, FMinMax, FpAttr, Halving, MemAttr, NzcvCond, Part,
    Reduction, Sgnj, ShaStep, Shuffle, Signs, SlotInfo, ToInt, Ty, Val, ValKind, VecCc, VecKind, VecUnary,
    View,
};
pub use verify::{VerifyError, verify};
