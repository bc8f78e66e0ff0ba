//! Compiles decode tables (`*.dec`) to Rust; used by build scripts only.
//!
//! A table lists the instructions of an instruction set, one on a line, bit by bit in the order of the
//! manual:
//!
//! ```text
//! %width 32                        bits in an instruction
//! %base I                          this name in the feature column asks for nothing
//! %field rd 5                      a field and its width
//! %field rd' 3 + 8                 its value is the bits plus eight; arguments are called without the prime
//! %field rm 3 not 5 6              with these values an instruction is reserved
//! %immediate imm signed            a field written in parts: imm[4:1|11]
//! %format R rd rs1 rs2 "{x:rd},{x:rs1},{x:rs2}"   arguments, and operands in assembly language
//! %suffix s Ty::F32                from here on, `name.s` is lifted by `name` with this additional argument;
//! %suffix                          ... until here
//!
//! # A comment. The next kind of line begins a section of the report.
//! == RV32I Base Integer Instruction Set
//! add R 0000000 rs2 rs1 000 rd 0110011 I
//! ```
//!
//! A line of an instruction holds its name, its format, its bits from the highest down, the features that it
//! needs (`F`, `Zfa&D`, `Zfh|Zfhmin`; `&` binds tighter), and then, each optional:
//! - `if rd!=0 rd%2=0 mask()`: conditions, without which the encoding is reserved; the last is `checks::mask(word)` of the
//!   front end;
//! - `-> addi rd 2 imm`: the instruction of the other table that it is short for, with the arguments of that
//!   one's format;
//! - `=> load Ty::I8 true`: the lift method, if it is not called as the instruction, and its arguments after the fields.
//!
//! Bits are given as `0` and `1`, fields by name, bits that do not matter as `-`. Two lines that match the
//! same word are an error, unless they are in one group, lines between `{` and `}`; of these the first one
//! wins that matches, meets its conditions and has its features.
//!
//! [`compile`] makes of a table: an enum of its instructions, a decoder, the argument structures, and a
//! static description of each line; [`compile_dispatch`] makes the function that calls an instruction's lift
//! method with its arguments. The code refers to the types of the front ends' `decode` module.

mod emit;
mod parse;
mod tree;

pub use emit::{compile, compile_dispatch};
pub use parse::{Error, Table};

#[cfg(test)]
mod tests;
