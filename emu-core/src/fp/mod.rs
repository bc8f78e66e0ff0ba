//! Software floating point, exact in value and flags, in integer arithmetic only.
//!
//! Every operation is a method of [`Env`], which holds what an instruction set or its control register leaves
//! open (rounding, NaN choice, when a result counts as tiny, flushing of subnormals). Operands and results
//! are raw encodings; a [`Format`] names how to read them; exceptions accumulate in a [`Flags`]:
//!
//! ```
//! use emu_core::fp::{Env, F32, Flags, Round};
//!
//! let mut flags = Flags::NONE;
//! let third = Env::new(Round::Up).div::<F32>(1.0f32.to_bits(), 3.0f32.to_bits(), &mut flags);
//! assert_eq!((third, flags), (0x3eaa_aaab, Flags::INEXACT));
//! ```
//!
//! One implementation serves all formats: unpack to a sign, an exponent and a 64-bit significand, work with
//! enough extra bits and a sticky one, round and pack once. No operation uses the host's floating-point unit,
//! so neither its mode nor its sticky flags matter or change; none panics, whatever the operands.
//!
//! Definitions are those of IEEE 754-2019; where it leaves a choice, the field of [`Env`] that makes it says
//! which architecture wants what. NaN boxing of narrow values in wide registers is the caller's.

mod arith;
mod compare;
mod convert;
mod env;
mod estimate;
mod format;
mod immediate;
mod unpacked;

pub use convert::Int;
pub use env::{Env, Flags, NanMode, NanToInt, Round, Tininess};
pub use estimate::{reciprocal_root_u32, reciprocal_u32};
pub use format::{BF16, F16, F32, F64, Format};
pub use immediate::load_immediate;
