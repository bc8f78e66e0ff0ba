//! Real-time clocks.

pub mod goldfish;
