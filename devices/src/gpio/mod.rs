//! General-purpose inputs and outputs, and what is connected to them.

pub mod button;
pub mod pl061;
